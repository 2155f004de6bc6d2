"""What each backend means."""

import pytest

from akidb_embeddings.compute import backend
from akidb_embeddings.compute.backend import WeightStorage, cpu, cuda, metal
from akidb_embeddings.compute.polynomial import POLYNOMIAL
from akidb_embeddings.compute.runtime import mx

DEVICE = mx.Device(mx.cpu)


def test_accelerators_compute_in_float16_and_metal_keeps_weights_packed() -> None:
    for chosen in (metal(DEVICE), cuda(DEVICE)):
        assert chosen.dtype == mx.float16
        assert chosen.kernels is not POLYNOMIAL
    assert metal(DEVICE).storage is WeightStorage.PACKED


def test_cuda_expands_weights_unless_memory_is_compact() -> None:
    """Products of packed weights did not finish on an H200, where the same forwards with expanded ones were fast."""
    assert cuda(DEVICE).storage is WeightStorage.EXPANDED
    assert cuda(DEVICE, "compact").storage is WeightStorage.PACKED
    assert cuda(DEVICE, "compact").tokens_per_batch < cuda(DEVICE).tokens_per_batch


def test_what_overflows_float16_is_computed_in_float32() -> None:
    """bfloat16 moves vectors by more than the goldens allow; only a CUDA GPU that has no room for float32 uses it."""
    for chosen in (metal(DEVICE), cuda(DEVICE)):
        assert (chosen.compute_dtype(True), chosen.compute_dtype(False)) == (mx.float16, mx.float32)
    assert (metal(DEVICE).small_dtype, cuda(DEVICE).small_dtype) == (None, mx.bfloat16)


def test_strict_is_float32_throughout() -> None:
    for chosen in (metal(DEVICE, strict=True), cuda(DEVICE, strict=True)):
        assert (chosen.dtype, chosen.small_dtype) == (mx.float32, None)


def test_micro_batches_of_gpus_are_limited_in_tokens_alone() -> None:
    """With 32 texts of median length, 5,000 of a GPU's tokens would be used."""
    assert cpu().obeys_batch_size
    for chosen in (metal(DEVICE), cuda(DEVICE)):
        assert not chosen.obeys_batch_size
        assert chosen.window_scale > 1
        assert (chosen.ahead, chosen.streams) == (1, 1)


def test_cpu_computes_in_float32_with_a_stream_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "available_cores", lambda: 3)
    assert (cpu().dtype, cpu().kernels, cpu().streams) == (mx.float32, POLYNOMIAL, 3)
    assert (cpu().ahead, cpu().window_scale, cpu().few_shapes) == (0, 1, False)
    assert cpu("fast").storage is WeightStorage.EXPANDED
    assert cpu("compact").storage is WeightStorage.PER_LAYER
