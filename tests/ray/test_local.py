"""A cluster that a pool starts for itself, and what becomes of it; and where none can be."""

import sys
from pathlib import Path

import pytest

from akidb_embeddings.cli import main
from tests.bulk.jobs import every_file
from tests.bulk.kill import start, write_input
from tests.cli.tools import TINY
from tests.conftest import eventually, run_python
from tests.ray.conftest import workers


def test_local_is_a_cluster_that_ends_with_the_pool() -> None:
    code = """
import psutil, ray
from akidb_embeddings.distributed import Pool
from tests.ray.conftest import CONFIG
with Pool("local", CONFIG, cpus=1, actors=2) as pool:
    print([result.vectors.shape for result in pool.map([["one", "two"], ["three"]])])
assert not ray.is_initialized()
assert not [p.name() for p in psutil.Process().children(recursive=True) if "raylet" in p.name()]
"""
    assert run_python(code, seconds=60) == "[(2, 384), (1, 384)]\n"


def test_an_address_without_a_cluster_is_told() -> None:
    code = """
from akidb_embeddings import ConfigurationError
from akidb_embeddings.distributed import Pool
from tests.ray.conftest import CONFIG
try:
    Pool("127.0.0.1:1", CONFIG)
except ConfigurationError as error:
    print(str(error)[:45])
"""
    assert run_python(code, seconds=60) == "The Ray cluster '127.0.0.1:1' cannot be joine\n"


def test_killed_with_its_cluster_the_same_command_gives_the_same_bytes(tmp_path: Path) -> None:
    """A cluster of its own, which ends with the process, also where that is killed."""
    source = tmp_path / "in.jsonl"
    write_input(source, 4000)
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    options = (TINY[1], "--ray", "local")
    with start(source, folders[0] / "out.npy", *options) as process:
        assert process.wait(90) == 3
    with start(source, folders[1] / "out.npy", *options) as process:
        assert eventually(lambda: list(folders[1].glob("*.parts/part-000002")), 90)
        process.kill()
    assert eventually(lambda: not workers())
    with start(source, folders[1] / "out.npy", *options) as process:
        told = process.communicate(timeout=90)[1].decode()
        assert process.returncode == 3, told
    assert "continuing after" in told
    assert every_file(folders[0]) == every_file(folders[1])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--ray", "127.0.0.1:1"), "The Ray cluster '127.0.0.1:1' cannot be joined"),
        (("--actor-cpus", "2"), "--actor-cpus is 2; it is for --ray ADDRESS"),
        (("--ray", "local", "--actor-cpus", "0"), "--actor-cpus is 0; it is for --ray ADDRESS, and at least 1"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    options: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_input(tmp_path / "in.jsonl", 5)
    assert main(["file", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.npy"), *TINY, *options]) == 2
    assert told in capsys.readouterr().err
    assert list(every_file(tmp_path)) == ["in.jsonl"]


def test_without_ray_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_input(tmp_path / "in.jsonl", 5)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["file", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.npy"), *TINY, "--ray", "local"]) == 2
    assert "[ray]'" in capsys.readouterr().err
