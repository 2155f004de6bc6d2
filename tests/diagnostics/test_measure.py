"""The measurement runs what it says it runs. How long that takes is no matter for a test."""

import dataclasses
import math
import sys
from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.compute import backend, devices, runtime
from akidb_embeddings.diagnostics import measure
from akidb_embeddings.diagnostics.measure import Measurement, PlainMeasurement
from akidb_embeddings.errors import WorkerError
from akidb_embeddings.registry import BUNDLED
from tests.hub_server import isolate

on_linux_cpu = pytest.mark.skipif(
    sys.platform != "linux" or devices.select_backend().name != "cpu", reason="the comparison is for Linux CPUs"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AKIDB_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return isolate(monkeypatch, tmp_path / "home")


@pytest.mark.long
@on_linux_cpu
def test_plain_mlx_runs_beside_ours_and_gives_the_same_vectors(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "embedding_config.yaml").write_text("embedding: {dimensions: 4}", encoding="utf-8")
    (home / "mlx.py").touch()  # what lies in the working folder is not taken for MLX
    monkeypatch.setenv("LD_PRELOAD", runtime.BLAS.path or "")
    found = measure.measure(texts=4, tokens=16, plain_texts=2)
    assert (found.texts, found.tokens, found.reason) == (4, 16, "")
    assert 8 <= found.query_tokens <= 16
    assert found.seconds > 0
    assert found.query_seconds > 0
    assert found.plain is not None
    assert found.plain.texts == 2
    assert found.plain.seconds > 0
    assert found.plain.gflops > 0
    assert found.plain.openblas == ()
    assert found.plain.difference < 1e-5
    assert found.plain_seconds == 2 * found.plain.seconds
    assert found.ratio == found.plain_seconds / found.seconds


def test_every_text_has_the_tokens_asked_for() -> None:
    with EmbeddingService(BUNDLED) as service:
        result = service.encode([measure._LONG_TEXT])
    assert (result.token_counts, result.truncated) == ([256], [True])  # more than the model takes


@on_linux_cpu
def test_a_library_that_is_loaded_is_seen() -> None:
    assert runtime.BLAS.path, "the set-up installs an OpenBLAS; without it the rest proves nothing"
    assert str(Path(runtime.BLAS.path).resolve()) in measure._mapped_libraries("libscipy_openblas.")
    assert measure._mapped_libraries("libnothing-of-the-sort") == []


@pytest.mark.long
@on_linux_cpu
def test_a_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 3\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(WorkerError, match="runs plain MLX failed: no such module"):
        measure.measure(texts=1, tokens=8, plain_texts=1)


@pytest.mark.long
@on_linux_cpu
@pytest.mark.parametrize("program", ["#!/bin/sh\necho nonsense\n", "#!/bin/sh\nexec sleep 60\n"])
def test_a_process_that_answers_nothing_of_use(program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text(program, encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    monkeypatch.setattr(measure, "_PLAIN_TIMEOUT", 0.5)
    with pytest.raises(WorkerError, match="runs plain MLX failed: "):
        measure.measure(texts=1, tokens=8, plain_texts=1)


def test_on_a_gpu_there_is_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = dataclasses.replace(backend.cpu(), name="metal")
    monkeypatch.setattr(devices, "select_backend", lambda: gpu)
    assert (
        measure._no_comparison_reason() == "no comparison with plain mlx[cpu]: this machine computes on its GPU (metal)"
    )


def test_on_another_system_there_is_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "select_backend", backend.cpu)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert measure._no_comparison_reason() == "no comparison with plain mlx[cpu]: only on Linux it has a slow BLAS"


def test_ratio_scales_by_the_number_of_texts() -> None:
    plain = PlainMeasurement(texts=4, seconds=5.0, gflops=2.3, openblas=(), difference=1e-7)
    found = Measurement(32, 128, 1.0, 12, 0.01, plain, "")
    assert (found.plain_seconds, found.ratio) == (40.0, 40.0)
    assert math.isnan(dataclasses.replace(found, plain=None).ratio)
