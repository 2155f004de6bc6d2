"""Weights and micro-batches that fit a GPU's memory."""

import logging

import pytest

from akidb_embeddings.compute.backend import WeightStorage, cpu, cuda
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.sizing import Demand, demand_of, fit

CUDA = cuda(mx.Device(mx.cpu))
QWEN3 = Demand(weights=595_776_512, hidden_size=1024, quantized=595_000_000)
QWEN3_8B = Demand(weights=7_600_000_000, hidden_size=4096, quantized=7_600_000_000)
GIB = 1 << 30


@pytest.mark.parametrize(
    ("demand", "free", "storage", "tokens"),
    [
        (QWEN3, 139, WeightStorage.EXPANDED, 65536),
        (QWEN3, 24, WeightStorage.EXPANDED, 32768),
        (QWEN3, 8, WeightStorage.EXPANDED, 16384),
        (QWEN3_8B, 139, WeightStorage.EXPANDED, 65536),
        (QWEN3_8B, 24, WeightStorage.EXPANDED, 4096),
        (QWEN3_8B, 20, WeightStorage.PACKED, 8192),
        (QWEN3, 0, WeightStorage.PACKED, 2048),
    ],
)
def test_weights_stay_packed_and_micro_batches_small_where_memory_is_short(
    demand: Demand, free: int, storage: WeightStorage, tokens: int
) -> None:
    fitted, dtype = fit(CUDA, demand, mx.float16, free * GIB)
    assert dtype == mx.float16
    assert (fitted.storage, fitted.tokens_per_batch) == (storage, tokens)


def test_what_does_not_fit_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fit(CUDA, QWEN3_8B, mx.bfloat16, 16 * GIB)
    assert "15.2 of 17.2 GB" in caplog.text


def test_float32_needs_twice_as_much() -> None:
    assert fit(CUDA, QWEN3, mx.float32, 24 * GIB)[0].tokens_per_batch == 16384


@pytest.mark.parametrize(
    ("free", "storage", "dtype"),
    [
        (139, WeightStorage.EXPANDED, mx.float32),
        (40, WeightStorage.EXPANDED, mx.bfloat16),
        (16, WeightStorage.PACKED, mx.bfloat16),
    ],
)
def test_a_model_that_overflows_float16_is_computed_in_bfloat16_before_its_weights_stay_packed(
    free: int, storage: WeightStorage, dtype: mx.Dtype, caplog: pytest.LogCaptureFixture
) -> None:
    fitted, chosen = fit(CUDA, QWEN3_8B, mx.float32, free * GIB)
    assert (fitted.storage, chosen) == (storage, dtype)
    assert ("computed in bfloat16, which is less exact" in caplog.text) == (dtype != mx.float32)
    assert ("stay as stored" in caplog.text) == (storage is WeightStorage.PACKED)


def test_strict_stays_in_float32() -> None:
    fitted, dtype = fit(cuda(mx.Device(mx.cpu), strict=True), QWEN3_8B, mx.float32, 40 * GIB)
    assert (fitted.storage, dtype) == (WeightStorage.PACKED, mx.float32)


def test_unknown_memory_changes_nothing() -> None:
    assert fit(CUDA, QWEN3, mx.float16, None) == (CUDA, mx.float16)
    assert fit(cpu(), QWEN3, mx.float32, GIB) == (cpu(), mx.float32)


def test_quantized_weights_are_counted_as_what_they_stand_for() -> None:
    shapes = [("a.weight", (64, 16)), ("a.scales", (64, 2)), ("a.biases", (64, 2)), ("norm.weight", (128,))]
    assert demand_of(shapes, 4, 16) == Demand(64 * 128 + 128, 16, 64 * 128, 4)
    assert demand_of([("a.weight", (64, 16))], 4, 16) == Demand(64 * 16, 16, 0, 4)


def test_weights_that_are_not_quantized_cannot_stay_packed(caplog: pytest.LogCaptureFixture) -> None:
    """They are in the compute dtype either way, so what is left for micro-batches is less."""
    plain = QWEN3_8B._replace(quantized=0)
    fitted, dtype = fit(CUDA, plain, mx.float32, 20 * GIB)
    assert (fitted.storage, dtype) == (WeightStorage.EXPANDED, mx.bfloat16)
    assert fitted.cache_limit + plain.weights * 2 <= 20 * GIB
    [told] = [record.getMessage() for record in caplog.records]
    assert "computed in bfloat16" in told
    assert "15.2 GB that they take now the memory may not suffice" in told


@pytest.mark.parametrize("free", [16, 20, 24, 40])
def test_compact_has_room_for_no_smaller_micro_batches_than_what_falls_back_to_it(free: int) -> None:
    fast, compact = (
        fit(cuda(mx.Device(mx.cpu), memory), QWEN3_8B, mx.float16, free * GIB)[0] for memory in ("fast", "compact")
    )
    assert compact.storage is WeightStorage.PACKED
    assert compact.tokens_per_batch >= min(8192, fast.tokens_per_batch)


def test_compact_is_counted_as_stored() -> None:
    assert fit(cuda(mx.Device(mx.cpu), "compact"), QWEN3_8B, mx.float16, 20 * GIB)[0].tokens_per_batch == 8192
