"""The cache's layout, manifests, checks of files, and removal."""

from pathlib import Path

import pytest

from akidb_embeddings.checkpoint.integrity import missing_files
from akidb_embeddings.errors import EmbeddingError, ModelNotFoundError
from akidb_embeddings.hub import cache
from tests.hub_server import Files, isolate, tiny_model, write_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the test's own home."""
    return isolate(monkeypatch, tmp_path / "home")


def cached_model(name: str = "org/name", requested: str | None = None, files: Files | None = None) -> Path:
    """Put a model into the cache as a download does."""
    files = files or tiny_model()
    folder = write_files(cache.model_folder(name, requested), files)
    sizes = {file: len(content) for file, content in files.items()}
    cache.Manifest(name, name, requested, COMMIT, sizes, "2025-01-01T00:00:00+00:00").write(folder)
    return folder


def test_cache_dir_follows_argument_then_variables_then_home(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.get_cache_dir() == isolated / ".cache/akidb"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache.get_cache_dir() == Path("/xdg/akidb")
    monkeypatch.setenv("AKIDB_CACHE_DIR", "~/own")
    assert cache.get_cache_dir() == isolated / "own"
    assert cache.get_cache_dir("~/given") == isolated / "given"
    assert cache.get_cache_dir(Path("relative")) == isolated / "relative"


def test_empty_variables_are_unset(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AKIDB_CACHE_DIR", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, "")
    assert cache.get_cache_dir() == isolated / ".cache/akidb"
    assert cache.hugging_face_cache() == isolated / ".cache/huggingface/hub"


def test_hugging_face_cache_follows_its_variables(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache.hugging_face_cache() == Path("/xdg/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "$HOME/hf")
    assert cache.hugging_face_cache() == isolated / "hf/hub"
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", "/old")
    assert cache.hugging_face_cache() == Path("/old")
    monkeypatch.setenv("HF_HUB_CACHE", "~/hub")
    assert cache.hugging_face_cache() == isolated / "hub"


@pytest.mark.parametrize("revision", ["refs/pr/1", "../../x", "..", "a\\b", "/etc"])
def test_a_revision_never_makes_a_path(revision: str) -> None:
    folder = cache.model_folder("org/name", revision, "/cache")
    assert folder.parent == Path("/cache/models")
    assert folder.resolve() == folder
    assert folder.name.startswith("org--name@")


def test_revisions_do_not_share_a_folder() -> None:
    revisions = [None, "a/b", "a-b", "a--b", "a%2Fb"]
    assert len({cache.model_folder("org/name", revision) for revision in revisions}) == len(revisions)


def test_snapshot_folder_follows_branches_and_commits_only() -> None:
    root = cache.hugging_face_cache() / "models--org--name"
    write_files(root, {"refs/main": COMMIT.encode(), "refs/refs/pr/1": COMMIT.encode()})
    write_files(root.parent, {"secret": COMMIT.encode()})
    for known in (None, "main", "refs/pr/1", COMMIT):
        assert cache.snapshot_folder("org/name", known) == root / "snapshots" / COMMIT
    for unknown in ("dev", "../../secret", str(root.parent / "secret")):
        assert cache.snapshot_folder("org/name", unknown) != root / "snapshots" / COMMIT


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": 1}', '{"repo": "org/name", "made_by": "convert"}'])
def test_a_manifest_that_is_not_ours_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / cache.MANIFEST).write_text(text)
    assert cache.read_manifest(tmp_path) is None


def test_clearing_one_model_takes_its_revisions_and_leaves_the_others() -> None:
    one, revised, other = cached_model(), cached_model(requested="v1"), cached_model("org/name2")
    unfinished = write_files(cache.partial_folder(one) / COMMIT, {"model.safetensors": bytes(1000)})
    expected = 1000 + sum(cache.folder_size(folder, follow_symlinks=False) for folder in (one, revised))
    assert cache.clear_cache("org/name") == expected
    assert not one.exists()
    assert not revised.exists()
    assert not unfinished.exists()
    assert [folder for folder, _ in cache.cached_folders()] == [other]


def test_clearing_everything_leaves_what_is_not_ours() -> None:
    ours = cached_model()
    size = cache.folder_size(ours, follow_symlinks=False)
    foreign = write_files(ours.parent / "foreign", tiny_model())
    partial = write_files(cache.partial_folder(foreign), {"a": bytes(7)})
    assert cache.clear_cache() == 7 + size
    assert not ours.exists()
    assert not partial.exists()
    assert foreign.is_dir()
    assert cache.clear_cache() == 0


def test_clearing_never_follows_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    cached_model().rename(outside)
    models = cache.get_cache_dir() / "models"
    (models / "org--name").symlink_to(outside)
    (models / "org--name2").symlink_to(tmp_path)
    (models / ".partial").symlink_to(outside)
    inner = cached_model("org/inner")
    (inner / "link").symlink_to(outside)
    cache.clear_cache()
    assert not inner.exists()
    assert not (models / "org--name").is_symlink()
    assert sorted(path.name for path in outside.iterdir()) == sorted([*tiny_model(), cache.MANIFEST])


def test_clearing_removes_a_link_among_the_unfinished(tmp_path: Path) -> None:
    folder = cached_model()
    outside = write_files(tmp_path / "outside", {"precious": b"x"})
    cache.partial_folder(folder).parent.mkdir()
    cache.partial_folder(folder).symlink_to(outside)
    size = cache.folder_size(folder, follow_symlinks=False)
    assert cache.clear_cache() == size
    assert not folder.exists()
    assert [path.name for path in outside.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["nothing", "org/other", "..", "../..", "", "/"])
def test_clearing_an_unknown_name_is_an_error(name: str) -> None:
    folder = cached_model()
    with pytest.raises(ModelNotFoundError, match="nothing was removed"):
        cache.clear_cache(name)
    assert folder.is_dir()


def test_clearing_a_known_model_that_is_not_cached_frees_nothing() -> None:
    assert cache.clear_cache("minilm-l6-v2") == 0


def test_clearing_does_not_disturb_a_download() -> None:
    folder = cached_model()
    with cache.folder_lock(folder, wait=True), pytest.raises(EmbeddingError, match="being downloaded"):
        cache.clear_cache("org/name")
    assert folder.is_dir()


def test_a_failed_replacement_puts_the_old_model_back(tmp_path: Path) -> None:
    folder = cached_model()
    with pytest.raises(FileNotFoundError):
        cache.publish(tmp_path / "missing", folder)
    assert missing_files(folder) == []
