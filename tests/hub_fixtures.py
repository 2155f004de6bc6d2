"""What the tests of finding and downloading models share: a home without models, and a hub with one."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb_embeddings.hub import cache, resolve
from akidb_embeddings.hub import names as registry_names
from akidb_embeddings.registry import MODELS, Spec
from tests.hub_server import Files, HubServer, commit_of, isolate, safetensors, tiny_model, write_files

# huggingface_hub 0.x leaves its sockets to the garbage collector, which then complains.
SOCKETS_ARE_LEFT = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

REPO = "org/name"
KNOWN = next(name for name, spec in MODELS.items() if not spec.bundled and spec.revision is None)
BUNDLED = "minilm-l6-v2"
BIG = tiny_model(**{"model.safetensors": safetensors(50_000)})


@pytest.fixture(name="home", autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the test's own home; no model is bundled unless a test says so."""
    monkeypatch.setattr(resolve, "BUNDLE_ROOT", tmp_path / "bundled")
    return isolate(monkeypatch, tmp_path / "home")


@pytest.fixture(name="server")
def own_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Return a hub of the test's own, which HF_ENDPOINT names and which has the repository ``org/name``."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))  # huggingface_hub waits for seconds
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add(REPO)
        yield server


def snapshot(repo: str, files: Files, *, branch: str = "main", commit: str = "") -> Path:
    """Put a snapshot into the Hugging Face cache, as links to its blobs."""
    root = cache.hugging_face_cache() / f"models--{repo.replace('/', '--')}"
    write_files(root, {f"refs/{branch}": (commit or commit_of(files)).encode()})
    folder = root / "snapshots" / (commit or commit_of(files))
    for name, content in files.items():
        write_files(root / "blobs", {name.replace("/", "-"): content})
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(root / "blobs" / name.replace("/", "-"))
    return folder


def use_registry(monkeypatch: pytest.MonkeyPatch, *specs: Spec) -> None:
    """Let these be the known models."""
    for module in (registry_names, resolve):
        monkeypatch.setattr(module, "SPECS", {spec.name: spec for spec in specs})


def names(folder: Path) -> list[str]:
    """Return the names of all files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
