"""``akidb-embed file --ray``: the same job on a cluster, whatever dies."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingConfig
from akidb_embeddings.bulk import chunks, resume
from akidb_embeddings.bulk import run as bulk
from akidb_embeddings.bulk.outputs import Layout, make_output
from akidb_embeddings.bulk.progress import Progress
from akidb_embeddings.bulk.resume import open_journal
from akidb_embeddings.bulk.rows import Row
from akidb_embeddings.bulk.run import embed_remaining
from akidb_embeddings.bulk.writing import assemble_output
from akidb_embeddings.cli import main
from akidb_embeddings.distributed import Pool
from tests.bulk.jobs import JOB, every_file, json_lines, metadata
from tests.bulk.kill import write_input
from tests.cli.tools import TINY
from tests.fixtures import cosines
from tests.ray.conftest import workers

ROWS = 600
FIELDS = ("--id-field", "id")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rows for several parts, and several chunks in each, with broken ones among them."""
    monkeypatch.setattr(resume, "PART_ROWS", 100)
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 16)
    write_input(tmp_path / "in.jsonl", ROWS)
    return tmp_path / "in.jsonl"


def embed(source: Path, name: str, *options: str) -> int:
    return main(["file", str(source), *FIELDS, "--out", str(source.parent / name), *TINY, *options])


def test_two_nodes_give_what_one_process_gives(
    two_nodes: Any, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--truncate", "error", "--max-tokens", "40", "--prompt-text", "say: ")
    assert embed(source, "here.jsonl", *options) == 3
    assert embed(source, "there.jsonl", *options, "--ray", "auto", "--actor-cpus", "1") == 3
    assert "embedding with 2 Ray actors, 1 CPUs each" in capsys.readouterr().err
    here, there = json_lines(source.parent / "here.jsonl"), json_lines(source.parent / "there.jsonl")
    assert len(here) > ROWS / 2
    for field in ("id", "tokens", "truncated", "fingerprint"):
        assert [line[field] for line in there] == [line[field] for line in here]
    ours, theirs = (np.array([line["embedding"] for line in lines]) for lines in (here, there))
    assert cosines(ours, theirs).min() >= 0.99999
    rejects = [(source.parent / f"{name}.jsonl.rejects.jsonl").read_bytes() for name in ("here", "there")]
    assert rejects[0] == rejects[1]
    assert b"more than 40 tokens" in rejects[0]


@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_passages_and_precision_are_those_asked_for(two_nodes: Any, source: Path, form: str) -> None:
    options = ("--passages", "24", "--overlap", "2", "--precision", "int8")
    files = []
    for ray_options in ((), ("--ray", "auto")):
        assert embed(source, f"out.{form}", *options, *ray_options, "--overwrite") == 3
        files.append(every_file(source.parent))
        (source.parent / f"out.{form}").unlink()
    assert files[0].keys() == files[1].keys()
    # A value next to a half may be rounded to either side.
    different = [name for name in files[0] if files[0][name] != files[1][name]]
    assert set(different) <= {f"out.{form}"}
    assert len(files[0][f"out.{form}"]) == len(files[1][f"out.{form}"])


def test_an_actor_killed_in_mid_run_loses_nothing(
    two_nodes: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embed(source, "whole.npy", "--ray", "auto") == 3
    killed = list[int]()

    def kill() -> None:
        victim = workers()[0]
        victim.kill()
        killed.append(victim.pid)

    monkeypatch.setattr(bulk, "_embedded_chunk", _then_at(10, bulk._embedded_chunk, kill))
    assert embed(source, "killed.npy", "--ray", "auto") == 3
    assert len(killed) == 1
    files = every_file(source.parent)
    for ending in ("", ".ids.jsonl", ".rejects.jsonl"):
        assert files[f"killed.npy{ending}"] == files[f"whole.npy{ending}"]


def test_what_actors_refuse_is_rejected_and_the_others_are_not_lost(two_nodes: Any, tmp_path: Path) -> None:
    """Texts that no reader would let through: the actors' errors come back in their turn, and say which it was."""
    items = [Row(n, str(n), "lone \ud800" if n in (7, 8, 57) else f"text {n}") for n in range(95)]
    with Pool("auto", EmbeddingConfig(model_name=TINY[1])) as pool, open_journal(tmp_path / "out", JOB) as journal:
        made = make_output("jsonl", Layout(metadata(dimension=pool.dimension)))
        progress = Progress(None)
        embed_remaining(items, pool.outcomes, made, journal, progress)
        assemble_output(made, journal, progress)
    assert [reject["id"] for reject in json_lines(tmp_path / "out.rejects.jsonl")] == ["7", "8", "57"]
    assert [line["id"] for line in json_lines(tmp_path / "out")] == [str(n) for n in range(95) if n not in (7, 8, 57)]


def test_a_job_of_one_machine_goes_on_with_ray(
    two_nodes: Any, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(source, "whole.npy") == 3
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "_embedded_chunk", _then_at(20, bulk._embedded_chunk, _interrupt))
        assert embed(source, "both.npy") == 130
    assert embed(source, "both.npy", "--ray", "auto") == 3
    assert "continuing after" in capsys.readouterr().err
    whole, both = (np.load(source.parent / name) for name in ("whole.npy", "both.npy"))
    assert whole.shape == both.shape
    assert cosines(whole, both).min() >= 0.99999


def _then_at(call: int, function: Any, act: Callable[[], object]) -> Any:
    """The function, which acts at one of its calls."""
    calls = itertools.count(1)

    def acting(*arguments: Any) -> Any:
        if next(calls) == call:
            act()
        return function(*arguments)

    return acting


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_other_vectors_on_the_cluster_are_refused(
    two_nodes: Any, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Pool, "fingerprint", "another")
    assert embed(source, "out.npy", "--ray", "auto") == 2
    told = capsys.readouterr().err
    assert "another" in told
    assert "Give every node the same files and versions" in told
