"""What the doctor finds on a healthy machine, and that each thing that can be wrong is found and named."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import types
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from akidb_embeddings import __version__
from akidb_embeddings.compute import backend, cores, devices, runtime
from akidb_embeddings.compute.blas import Blas
from akidb_embeddings.compute.layers import Packed
from akidb_embeddings.diagnostics import doctor, measure, verify
from akidb_embeddings.diagnostics.doctor import examine
from akidb_embeddings.diagnostics.findings import Finding
from akidb_embeddings.engine.statistics import Statistics
from akidb_embeddings.hub import cache
from tests.conftest import REPOSITORY
from tests.fixtures import BUNDLED, adapter_path, model_path
from tests.hub_server import isolate

ASK_QUERIES = doctor._ask_queries

NAMES = [
    *("platform", "versions", "device", "products", "BLAS", "cores", "configuration", "model", "cache", "embedding"),
    *("threads", "memory"),
]


def statistics(threads: int = 2, drops: int = 0) -> Statistics:
    return Statistics(
        running=True,
        waiting_tokens=0,
        waiting_seconds=0.0,
        rounds=6,
        texts=6,
        tokens=60,
        compute_seconds=0.1,
        failures=0,
        restarts=0,
        idle_seconds=0.0,
        lone_threads=threads,
        thread_drops=drops,
    )


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs beside the tests, threads did not wait for cores."""
    monkeypatch.setattr(doctor, "_ask_queries", statistics)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AKIDB_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return isolate(monkeypatch, tmp_path / "home")


def write_config(**values: object) -> None:
    lines = "".join(f"  {name}: {value}\n" for name, value in values.items())
    Path("embedding_config.yaml").write_text(f"embedding:\n{lines}", encoding="utf-8")


def find(name: str) -> Finding:
    return next(check for check in examine() if check.name == name)


@pytest.mark.long
def test_a_healthy_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "matmul_speed", lambda: 99.0)
    write_config(model_name="minilm-l6-v2", dimensions=64, untrained_dimensions="true")
    checks = {check.name: check for check in examine()}
    assert list(checks) == NAMES
    assert {check.status for check in checks.values()} == {"ok"}
    assert f"akidb-embeddings {__version__}, mlx {importlib.metadata.version('mlx')}" in checks["versions"].text
    assert checks["device"].text.startswith(f"{devices.select_backend().name}: ")
    assert checks["BLAS"].text.endswith("99 GFLOP/s") or "GPU" in checks["BLAS"].text
    assert (
        checks["configuration"].text
        == f"model_name, dimensions, untrained_dimensions from {home}/embedding_config.yaml"
    )
    assert checks["model"].text == "minilm-l6-v2 (bundled): 64 dimensions, mean pooling"
    assert checks["cache"].text.startswith(f"{home}/.cache/akidb, 0 MB in 0 models, ")
    assert "differs from its published similarities by 0.00" in checks["embedding"].text


def test_defaults_and_a_model_that_is_not_here_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("configuration") == Finding("configuration", "ok", "all defaults")
    model = find("model")
    assert (model.status, model.remedy) == ("warn", "akidb-embed download qwen3-0.6b-4bit")
    assert model.text == "qwen3-0.6b-4bit is not on this machine, a download of 335 MB"
    write_config(model_name="org/name", revision="v2", auto_download="false")
    model = find("model")
    assert model.text == "org/name is not on this machine; auto_download is off"
    assert model.remedy == "akidb-embed download org/name --revision v2"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find("model").text == "org/name is not on this machine; HF_HUB_OFFLINE=1"


def test_an_adapter_is_part_of_the_model(tmp_path: Path) -> None:
    base, adapter = model_path("tiny-bert"), adapter_path("tiny-bert-lora")
    write_config(model_name=base, adapter=adapter)
    assert find("model").text == f"{base} (folder): 32 dimensions, mean pooling, with the adapter {adapter}"
    write_config(model_name=base, adapter="org/adapter", adapter_revision="v1")
    model = find("model")
    assert (model.status, model.text) == ("warn", "org/adapter is not on this machine")
    assert model.remedy == "akidb-embed download org/adapter --revision v1"
    write_config(model_name=base, adapter=base)
    assert find("model").status == "fail"


@pytest.mark.long
def test_an_invalid_configuration_fails_once() -> None:
    write_config(poling="cls")
    checks = {check.name: check for check in examine()}
    assert [name for name, check in checks.items() if check.status == "fail"] == ["configuration"]
    assert "unknown key 'poling'" in checks["configuration"].text
    assert "embedding" in checks


@pytest.mark.long
def test_a_named_configuration_is_examined(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("embedding: {model_name: minilm-l6-v2}", encoding="utf-8")
    checks = {check.name: check for check in examine(tmp_path / "own.yaml")}
    assert checks["configuration"].text == f"model_name from {tmp_path / 'own.yaml'}"
    assert checks["model"].status == "ok"


def test_a_configuration_that_the_model_cannot_follow_fails() -> None:
    write_config(model_name="minilm-l6-v2", dimensions=512)
    check = find("model")
    assert check.status == "fail"
    assert "dimensions is 512; this model gives 384 at most" in check.text


@pytest.mark.long
def test_a_configured_reranker_is_examined(home: Path) -> None:
    assert "reranker" not in {check.name for check in examine()}
    path = model_path("tiny-xlm-roberta-reranker")
    file = Path("embedding_config.yaml")
    file.write_text(f"embedding: {{model_name: minilm-l6-v2}}\nrerank: {{model_name: {path}, max_tokens: 99}}")
    checks = {check.name: check for check in examine()}
    assert list(checks) == [*NAMES[:8], "reranker", *NAMES[8:]]
    assert checks["configuration"].text == f"model_name, rerank: model_name, rerank: max_tokens from {home / file}"
    assert checks["reranker"] == Finding("reranker", "ok", f"{path} (folder): at most 99 tokens, scores by sigmoid")
    file.write_text("rerank: {model_name: bge-reranker-base}")
    assert find("reranker").text == "bge-reranker-base is not on this machine, a download of 1134 MB"
    for settings, words in (
        (f"model_name: {path}, max_tokens: 5000", "max_tokens is 5000; the limit of"),
        (f"model_name: {path}, instruction: find", "instruction is 'find', but this xlm-roberta model takes none"),
        ("model_name: minilm-l6-v2", "'minilm-l6-v2', an embedding model: it does not score pairs"),
    ):
        file.write_text(f"rerank: {{{settings}}}")
        assert (find("reranker").status, words in find("reranker").text) == ("fail", True)
    file.write_text("rerank: {model: x}")
    assert (find("configuration").status, "unknown key 'model'" in find("configuration").text) == ("fail", True)


def test_a_damaged_model_fails_and_its_cache_warns(home: Path) -> None:
    folder = home / ".cache/akidb/models/org--name"
    shutil.copytree(BUNDLED, folder)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    cache.Manifest("org/name", "org/name", None, "0" * 40, sizes, "").write(folder)
    write_config(model_name="org/name")
    assert find("model").status == "ok"
    assert find("cache").text.startswith(f"{home}/.cache/akidb, 26 MB in 1 models, ")
    os.truncate(folder / "model.safetensors", 1000)
    assert find("model").status == "fail"
    assert "model.safetensors is damaged" in find("model").text
    assert (find("cache").status, "damaged: org/name" in find("cache").text) == ("warn", True)


def test_a_slow_blas_is_a_warning_with_its_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "select_backend", backend.cpu)
    monkeypatch.setattr(measure, "matmul_speed", lambda: 2.3)
    monkeypatch.setattr(runtime, "BLAS", Blas(None, "nothing found; install one"))
    check = doctor._make_finding("BLAS", doctor._blas)
    assert (check.status, check.remedy) == ("warn", "nothing found; install one")
    assert check.text.startswith("MLX's own, 2.3 GFLOP/s instead of about 100: embedding takes 20 times as long")


def test_a_gpu_needs_no_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "select_backend", lambda: types.SimpleNamespace(name="metal"))
    check = doctor._make_finding("BLAS", doctor._blas)
    assert check == Finding("BLAS", "ok", "not needed: matrix products run on the GPU")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU in the place of a GPU."""
    monkeypatch.setattr(devices, "select_backend", lambda: backend.cuda(runtime.mx.Device(runtime.mx.cpu)))


def test_right_products_of_a_gpu_pass_and_float32_is_explained(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    check = doctor._make_finding("products", doctor._products)
    assert check.status == "ok"
    assert check.text.startswith("the GPU's, plain and packed, match the CPU's within 0.0")
    assert check.text.endswith("float32 is exact")
    monkeypatch.setattr(devices, "has_exact_products", lambda device: False)
    assert "float32 is TF32: factors are rounded" in doctor._make_finding("products", doctor._products).text


def test_wrong_products_of_a_gpu_fail(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = Packed.multiply
    monkeypatch.setattr(Packed, "multiply", lambda matrix, x: multiply(matrix, x[::-1]))
    check = doctor._make_finding("products", doctor._products)
    assert check.status == "fail"
    assert "16 rows are wrong (packed in 4 bits: off by " in check.text
    assert "plain" not in check.text
    assert "AKIDB_BACKEND=cpu" in check.remedy


def test_a_cpu_has_nothing_to_compare() -> None:
    assert find("products") == Finding("products", "ok", "computed in float32, exactly")


@pytest.mark.long
def test_vectors_that_are_wrong_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "tolerance", lambda bits: 1e-4)
    check = find("embedding")
    assert (check.status, check.remedy) == ("fail", "akidb-embed verify minilm-l6-v2")


@pytest.mark.long
def test_what_breaks_is_a_failure_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("cores gone")

    monkeypatch.setattr(doctor, "_cores", broken)
    checks = list(examine())
    assert [check.name for check in checks] == NAMES
    assert Finding("cores", "fail", "ZeroDivisionError: cores gone") in checks
    assert [check.name for check in checks if check.status == "fail"] == ["cores"]


def test_mlx_that_cannot_be_imported_fails_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "akidb_embeddings.compute.devices", None)
    check = find("device")
    assert check.status == "fail"
    assert check.text.startswith("MLX cannot be imported: ")
    assert "pip install" in check.remedy


RUN = "from akidb_embeddings.cli import main; raise SystemExit(main(['doctor']))"
# What can be wrong with an installation, and a word that only the finding of it has.
FAULTS = {
    "MLX has no library": (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'mlx.core': raise ImportError('libmlx.so: cannot open shared object file')\n"
        f"sys.meta_path.insert(0, Finder())\n{RUN}",
        {},
        "libmlx.so",
        {"device"},
    ),
    "MLX is missing": (
        "import importlib.metadata, sys; real = importlib.metadata.version\n"
        "def version(name):\n"
        "    if name == 'mlx': raise importlib.metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        f"importlib.metadata.version = version; sys.modules['mlx'] = sys.modules['mlx.core'] = None\n{RUN}",
        {},
        "mlx missing",
        {"versions"},
    ),
    "tokenizers are missing": (
        "import importlib.metadata, sys; real = importlib.metadata.version\n"
        "def version(name):\n"
        "    if name == 'tokenizers': raise importlib.metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        f"importlib.metadata.version = version; sys.modules['tokenizers'] = None\n{RUN}",
        {},
        "tokenizers missing",
        {"versions"},
    ),
    "another device is chosen": (RUN, {"AKIDB_BACKEND": "gpu"}, "AKIDB_BACKEND is 'gpu'", {"device"}),
    "another BLAS is chosen": (RUN, {"AKIDB_BLAS": "fast"}, "AKIDB_BLAS is 'fast'", {"device"}),
    "OpenBLAS is missing": (
        "import importlib.metadata; real = importlib.metadata.files\n"
        "def files(name):\n"
        "    if name == 'scipy-openblas32': raise importlib.metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        f"importlib.metadata.files = files\n{RUN}",
        {},
        "scipy-openblas32 is not installed",
        set(),
    ),
    "the configuration is wrong": (RUN, {"AKIDB_CONFIG": "wrong.yaml"}, "unknown key 'poling'", {"configuration"}),
}


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MLX brings a backend and a BLAS of its own")
@pytest.mark.parametrize("fault", FAULTS)
def test_one_cause_is_told_once(fault: str) -> None:
    """In a process of its own, as the command line shows it: findings and warnings."""
    code, environment, words, failed = FAULTS[fault]
    Path("wrong.yaml").write_text("embedding: {poling: cls}", encoding="utf-8")
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path} | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout.count(words) == 1, done.stdout
    assert {line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAIL")} == failed, done.stdout
    assert done.stdout.count("pip install") <= 1
    assert "Traceback" not in done.stdout
    assert done.returncode == bool(failed)


def test_a_missing_package_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "tokenizers":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    check = find("versions")
    assert check.status == "fail"
    assert check.text.startswith("tokenizers missing; installed are mlx 1.0, ")


def test_a_cache_that_cannot_be_written_is_a_warning(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch(0o755)
    write_config(cache_dir=tmp_path / "file")
    check = find("cache")
    assert check.status == "warn"
    assert "; not writable" in check.text
    write_config(cache_dir=home / "deep" / "down")
    assert find("cache").status == "ok"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert find("cache").remedy == f"allow writing to {home}, or set AKIDB_CACHE_DIR"


@pytest.mark.long
def test_little_disk_and_little_memory_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 1, 5e8))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=8e9, available=2e8))
    assert find("cache").status == "warn"
    memory = find("memory")
    assert memory.status == "warn"
    assert memory.text.startswith("8.0 GB, 0.2 GB available, ")


@pytest.mark.long
def test_the_threads_of_a_query_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setattr(cores, "available_cores", lambda: 2)
    assert find("threads") == Finding("threads", "ok", "a query is computed by 2 of 2 possible threads")
    monkeypatch.setattr(doctor, "_ask_queries", lambda: statistics(1, drops=1))
    found = find("threads")
    assert (found.status, found.text[:45]) == ("warn", "a query is computed by 1 of 2 possible thread")
    assert "other programs keep the cores busy (load " in found.text
    monkeypatch.setattr(doctor, "_ask_queries", lambda: statistics(0))
    assert find("threads").text == "not needed: a GPU computes"
    monkeypatch.setattr(doctor, "_ask_queries", lambda: statistics(1))
    monkeypatch.setattr(cores, "available_cores", lambda: 1)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert find("threads").text == "a query is computed by 1 of 1 possible threads, as OPENBLAS_NUM_THREADS says"


def test_a_control_group_that_limits_the_cores_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cpu_quota", lambda: 1.5)
    assert find("cores").text.endswith("of which a control group allows 1.5")


def test_real_queries_are_asked() -> None:
    asked = ASK_QUERIES()
    assert asked.texts >= 6
    assert 0 <= asked.lone_threads <= cores.available_cores()
