"""Which backend a machine gets, and what it means."""

import pytest

from akidb_embeddings.compute import backend, runtime
from akidb_embeddings.compute.backend import WeightStorage, cpu, cuda, metal, select_backend
from akidb_embeddings.compute.kernels import FUSED, POLYNOMIAL
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.errors import ConfigurationError

DEVICE = mx.Device(mx.cpu)


@pytest.fixture(autouse=True)
def _forget() -> None:
    select_backend.cache_clear()


@pytest.mark.parametrize(("metal_there", "cuda_there", "name"), [(1, 0, "metal"), (0, 1, "cuda"), (0, 0, "cpu")])
def test_a_gpu_comes_before_the_cpu(
    monkeypatch: pytest.MonkeyPatch, metal_there: int, cuda_there: int, name: str
) -> None:
    monkeypatch.delenv("AKIDB_BACKEND", raising=False)
    monkeypatch.setattr(mx.metal, "is_available", lambda: bool(metal_there))
    monkeypatch.setattr(mx.cuda, "is_available", lambda: bool(cuda_there))
    assert select_backend().name == name
    select_backend.cache_clear()


def test_the_environment_may_ask_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setenv("AKIDB_BACKEND", "cpu")
    assert select_backend().name == "cpu"
    select_backend.cache_clear()
    monkeypatch.setenv("AKIDB_BACKEND", "tpu")
    with pytest.raises(ConfigurationError, match="'tpu'; allowed: 'auto', 'cpu'"):
        select_backend()


def test_accelerators_keep_weights_packed_and_compute_in_float16() -> None:
    for chosen in (metal(DEVICE), cuda(DEVICE)):
        assert (chosen.storage, chosen.dtype, chosen.kernels) == (WeightStorage.PACKED, mx.float16, FUSED)
        assert chosen.safe_dtype == mx.float32  # EmbeddingGemma overflows float16


def test_cpu_computes_in_float32_with_a_stream_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "available_cores", lambda: 3)
    assert (cpu().dtype, cpu().kernels, cpu().streams) == (mx.float32, POLYNOMIAL, 3)
    assert cpu("fast").storage is WeightStorage.EXPANDED
    assert cpu("compact").storage is WeightStorage.PER_LAYER


def test_cores_are_shared_between_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(backend, "available_cores", lambda: 4)
    monkeypatch.setattr(type(runtime.BLAS), "set_threads", lambda _, count: threads.append(count))
    for micro_batches in (1, 2, 4, 8):
        cpu().share_cores(micro_batches)
    metal(DEVICE).share_cores(1)
    assert threads == [4, 2, 1, 1]


@pytest.mark.parametrize(("value", "cores"), [("1", 1), ("0", None), ("", None), ("many", None), ("99999", None)])
@pytest.mark.parametrize("name", ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"])
def test_the_usual_variables_limit_the_cores(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, cores: int | None
) -> None:
    for each in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(each, raising=False)
    every = backend.available_cores()
    monkeypatch.setenv(name, value)
    assert backend.available_cores() == (cores or every)


def test_matmul_speed_is_a_speed() -> None:
    assert 0.1 < backend.measure_matmul(64) < 1e5
