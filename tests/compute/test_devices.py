"""Which device computes, what is said where one is missing, and whether its float32 products are exact."""

import importlib.metadata
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb_embeddings.compute import devices
from akidb_embeddings.compute.devices import has_exact_products, select_backend
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.hub.cache import get_cache_dir
from tests.conftest import run_python


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("AKIDB_BACKEND", raising=False)
    monkeypatch.delenv("MLX_ENABLE_TF32", raising=False)
    cached = (select_backend, devices._warn_of_missing_gpu, devices._tell_of_compilation)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def machine(monkeypatch: pytest.MonkeyPatch, *, gpu: bool, metal: bool = False, cuda: bool = False) -> None:
    """A machine with a GPU or without, and an MLX that was built for Metal or CUDA."""
    monkeypatch.setattr(mx, "is_available", lambda device: gpu or device == mx.cpu)
    monkeypatch.setattr(mx.metal, "is_available", lambda: metal)
    monkeypatch.setattr(mx.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(devices, "device_info", lambda device: {"device_name": "Apple M5" if metal else "NVIDIA H200"})


@pytest.mark.parametrize(
    ("gpu", "metal", "cuda", "name"),
    [
        (True, True, False, "metal"),
        (True, False, True, "cuda"),
        (False, False, True, "cpu"),
        (False, False, False, "cpu"),
    ],
)
def test_a_gpu_that_is_there_comes_before_the_cpu(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, metal: bool, cuda: bool, name: str
) -> None:
    machine(monkeypatch, gpu=gpu, metal=metal, cuda=cuda)
    assert select_backend().name == name


def test_cuda_without_a_gpu_computes_on_the_cpu_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """``mx.cuda.is_available`` is true in every build with CUDA."""
    machine(monkeypatch, gpu=False, cuda=True)
    with caplog.at_level(logging.WARNING):
        assert [select_backend(memory).name for memory in ("fast", "compact")] == ["cpu", "cpu"]
    assert [record.message.split(",")[0] for record in caplog.records] == ["MLX is installed with CUDA"]


def test_the_environment_may_ask_for_the_cpu(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    machine(monkeypatch, gpu=True, metal=True)
    monkeypatch.setenv("AKIDB_BACKEND", "cpu")
    assert select_backend().name == "cpu"
    machine(monkeypatch, gpu=False, cuda=True)
    select_backend.cache_clear()
    assert select_backend().name == "cpu"
    assert not caplog.records
    monkeypatch.setenv("AKIDB_BACKEND", "tpu")
    with pytest.raises(ConfigurationError, match="'tpu'; allowed: 'auto', 'cpu', 'cuda', 'metal'"):
        select_backend("compact")


@pytest.mark.parametrize(
    ("choice", "cuda", "missing"),
    [
        ("metal", False, "no Apple GPU"),
        ("cuda", False, r"this MLX has no CUDA: .*pip install -e '/.*\[cuda13\]'"),
        ("cuda", True, "no NVIDIA GPU: check that nvidia-smi"),
    ],
)
def test_a_device_that_is_asked_for_and_not_there(
    monkeypatch: pytest.MonkeyPatch, choice: str, cuda: bool, missing: str
) -> None:
    machine(monkeypatch, gpu=False, cuda=cuda)
    monkeypatch.setenv("AKIDB_BACKEND", choice)
    with pytest.raises(ConfigurationError, match=missing) as caught:
        select_backend()
    assert caught.value.field == "AKIDB_BACKEND"


@pytest.mark.parametrize(("metal", "choice"), [(True, "metal"), (False, "cuda")])
def test_a_device_that_is_asked_for_and_there(monkeypatch: pytest.MonkeyPatch, metal: bool, choice: str) -> None:
    machine(monkeypatch, gpu=True, metal=metal, cuda=not metal)
    monkeypatch.setenv("AKIDB_BACKEND", choice)
    assert select_backend().name == choice


def test_strict_forbids_rounded_products_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpu=True, cuda=True)
    values: list[str | None] = []

    def has_exact_products(device: mx.Device) -> bool:
        values.append(os.environ.get("MLX_ENABLE_TF32"))
        return True

    monkeypatch.setattr(devices, "has_exact_products", has_exact_products)
    chosen = select_backend(compute="strict")
    assert values == ["0"]
    assert chosen.dtype == mx.float32


def test_strict_after_rounded_products_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpu=True, cuda=True)
    monkeypatch.setattr(devices, "has_exact_products", lambda device: False)
    for before in (None, "1"):
        if before:
            monkeypatch.setenv("MLX_ENABLE_TF32", before)
        with pytest.raises(ConfigurationError, match="MLX_ENABLE_TF32=0") as caught:
            select_backend(compute="strict")
        assert caught.value.field == "compute"
        assert os.environ.get("MLX_ENABLE_TF32") == before, "other programs would compute so, unasked"


def test_strict_changes_nothing_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpu=False)
    assert select_backend(compute="strict") == select_backend()
    assert "MLX_ENABLE_TF32" not in os.environ


def test_a_cpus_products_are_exact() -> None:
    assert has_exact_products(mx.Device(mx.cpu))


def test_the_first_run_says_that_kernels_are_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine(monkeypatch, gpu=True, cuda=True)
    monkeypatch.setenv("MLX_PTX_CACHE_DIR", str(tmp_path / "kernels"))
    select_backend()
    assert "compiled and stored in" in caplog.text
    caplog.clear()
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "gelu.ptx").touch()
    for function in (select_backend, devices._tell_of_compilation):
        function.cache_clear()
    select_backend()
    assert not caplog.records


def test_variables_of_mlx_are_set_before_it_computes_unless_the_user_set_them() -> None:
    code = (
        "import os; os.environ['MLX_CUDA_GRAPH_CACHE_SIZE'] = '7'; import akidb_embeddings.compute.runtime;"
        "print(os.environ['MLX_CUDA_GRAPH_CACHE_SIZE'], os.environ['MLX_CUDA_SDPA_CACHE_SIZE'],"
        "os.environ['MLX_PTX_CACHE_DIR'])"
    )
    graphs, plans, folder = run_python(code).split()
    assert (graphs, plans) == ("7", "2048")
    assert Path(folder).is_relative_to(get_cache_dir())
    assert Path(folder).name == importlib.metadata.version("mlx")
