"""A job from rows to its output: what becomes of every row, also if it is interrupted."""

import functools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.bulk import OUTPUT_FORMATS, chunks
from akidb_embeddings.bulk import run as module
from akidb_embeddings.bulk.chunks import make_chunks
from akidb_embeddings.bulk.journal import JobDescription, RowCounts
from akidb_embeddings.bulk.resume import open_journal
from akidb_embeddings.bulk.rows import Reject, Row, RowOrReject
from akidb_embeddings.errors import InputError, WorkerError
from akidb_embeddings.service.result import EmbeddingResult
from tests.bulk.jobs import (
    JOB,
    StopError,
    breaking,
    embed,
    every_file,
    json_lines,
    mixed,
    output,
    rows,
    run_job,
    vectors,
)
from tests.cli.tools import TINY


def test_every_row_is_in_the_output_or_among_the_rejects_in_the_input_s_order(tmp_path: Path) -> None:
    journal = run_job(mixed(95), tmp_path / "out.jsonl")
    found = json_lines(tmp_path / "out.jsonl")
    good = [row for row in mixed(95) if isinstance(row, Row)]
    assert [line["id"] for line in found] == [row.id for row in good]
    np.testing.assert_allclose([line["embedding"] for line in found], vectors([row.text for row in good]))
    rejects = json_lines(tmp_path / "out.jsonl.rejects.jsonl")
    assert [reject["number"] for reject in rejects] == list(range(3, 95, 7))
    assert rejects[0] == {"number": 3, "line": 4, "id": None, "reason": "no field 'text'"}
    cut = sum(line["truncated"] for line in found)
    assert journal.counts == RowCounts(len(good), len(good), len(rejects), cut, sum(line["tokens"] for line in found))
    assert cut > 0
    assert sorted(every_file(tmp_path)) == ["out.jsonl", "out.jsonl.json", "out.jsonl.rejects.jsonl"]


def test_without_rejects_there_is_no_file_of_them(tmp_path: Path) -> None:
    run_job(rows(5), tmp_path / "out.jsonl")
    assert sorted(every_file(tmp_path)) == ["out.jsonl", "out.jsonl.json"]


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
@pytest.mark.parametrize("ends", [(0,), (4, 9, 10, 11), (35, 40, 41, 94)])
def test_a_run_that_is_interrupted_gives_the_same_bytes(
    form: str, ends: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 4)
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    run_job(mixed(95), tmp_path / "whole" / "out", output(form))

    def until(end: int) -> Iterator[RowOrReject]:
        for item in mixed(95):
            if item.number >= end:
                raise StopError
            yield item

    for end in ends:
        with pytest.raises(StopError):
            run_job(until(end), tmp_path / "broken" / "out", output(form))
    run_job(mixed(95), tmp_path / "broken" / "out", output(form))
    assert every_file(tmp_path / "broken") == every_file(tmp_path / "whole")


def test_parts_that_are_finished_are_not_embedded_again(tmp_path: Path) -> None:
    seen: list[str] = []
    fails = True

    def counted(texts: list[str]) -> EmbeddingResult:
        if "text number 41" in texts and fails:
            raise WorkerError("stop here")
        seen.extend(texts)
        return embed(texts)

    out = tmp_path / "out.jsonl"
    with pytest.raises(WorkerError, match="stop here"):
        run_job(rows(60), out, embed=counted)
    with open_journal(out, JOB) as journal:
        assert journal.rows_done == 40
    seen.clear()
    fails = False
    run_job(rows(60), out, embed=counted)
    assert sorted(seen) == [row.text for row in rows(60, begin=40)]


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_an_empty_input_gives_an_empty_output(form: str, tmp_path: Path) -> None:
    assert run_job([], tmp_path / "out", output(form)).counts == RowCounts()
    assert (tmp_path / "out").exists()


def test_a_part_of_which_every_row_is_rejected_is_a_part(tmp_path: Path) -> None:
    items: list[RowOrReject] = [Reject(n, n + 1, None, "bad") for n in range(25)]
    items += [Row(n, str(n), "good") for n in range(45, 47)]  # and nothing at all of rows 25 to 44
    run_job(items, tmp_path / "out.jsonl")
    assert [line["id"] for line in json_lines(tmp_path / "out.jsonl")] == ["45", "46"]
    assert len(json_lines(tmp_path / "out.jsonl.rejects.jsonl")) == 25


def test_chunks_depend_on_nothing_but_their_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 4)
    monkeypatch.setattr(chunks, "CHUNK_CHARACTERS", 60)
    items = [*mixed(30), Row(30, "x", "y" * 100), Row(31, "z", "z")]
    whole = list(make_chunks(items, JOB, lambda: None))
    assert max(len(chunk.rows) for chunk in whole) <= 4
    assert all(len(chunk.rows) == 1 or sum(len(row.text) for row in chunk.rows) <= 60 for chunk in whole)
    assert [chunk.next_row for chunk in whole if chunk.next_row] == [10, 20, 30]
    for skipped in (10, 20, 30):
        begin = 1 + [chunk.next_row for chunk in whole].index(skipped)
        assert list(make_chunks(items[skipped:], JOB, lambda: None, skipped)) == whole[begin:]


def test_chunks_of_a_device_with_larger_windows_are_as_much_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, 512 texts fill one micro-batch, of which a quarter would be padding."""
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 2)
    monkeypatch.setattr(chunks, "CHUNK_CHARACTERS", 30)
    items = [Row(n, str(n), "x" * 10) for n in range(10)]

    def sizes(job: JobDescription, scale: int) -> list[int]:
        return [len(chunk.rows) for chunk in make_chunks(items, job, lambda: None, scale=scale)]

    assert sizes(JOB, 1) == [2, 2, 2, 2, 2]
    assert sizes(JOB, 2) == [4, 4, 2]
    assert sizes(JOB | {"part_rows": 3}, 2) == [3, 3, 3, 1]


def test_parts_end_before_they_have_too_much_text_and_never_within_a_row() -> None:
    passages = [Row(n // 3, str(n // 3), "x" * 10, n) for n in range(30)]
    job = JOB | {"part_rows": 7, "part_characters": 55}
    whole = list(make_chunks(passages, job, lambda: None))
    assert [chunk.next_row for chunk in whole] == [2, 4, 6, 8, None]  # two rows of three passages have 60 characters
    assert list(make_chunks(passages[12:], job, lambda: None, 4)) == whole[2:]
    short = [Row(n, str(n), "x") for n in (0, 1, 2, 3, 9, 10, 20)]  # numbers that are missing count
    assert [chunk.next_row for chunk in make_chunks(short, job, lambda: None)] == [9, 20, None]


def test_passages_of_a_row_count_as_one_row(tmp_path: Path) -> None:
    passages = [Row(n // 3, str(n // 3), f"passage {n}", n, n + 1) for n in range(30)]
    journal = run_job(passages, tmp_path / "out.jsonl", output(offsets=True), job=JOB | {"part_rows": 3})
    assert (journal.counts.rows, journal.counts.vectors) == (10, 30)
    assert [line["begin"] for line in json_lines(tmp_path / "out.jsonl")] == list(range(30))


@pytest.mark.long
def test_the_service_s_vectors_have_the_same_bits_whatever_came_before(tmp_path: Path) -> None:
    """Real texts of all lengths through the real engine, interrupted at a part's end and not, two chunks at once."""
    generator = np.random.default_rng(5)
    items = [Row(n, str(n), "word " * int(generator.integers(1, 60))) for n in range(700)]
    job = JOB | {"part_rows": 300}
    with EmbeddingService(TINY[1]) as service:
        embed = functools.partial(service.encode, alone=True)
        run_job(items, tmp_path / "whole.jsonl", embed=embed, job=job)
        for _ in range(2):
            with pytest.raises(InputError, match="damaged"):
                run_job(breaking([*items[:650]]), tmp_path / "broken.jsonl", embed=embed, job=job)
        run_job(items, tmp_path / "broken.jsonl", embed=embed, job=job)
    assert (tmp_path / "whole.jsonl").read_bytes() == (tmp_path / "broken.jsonl").read_bytes()


@pytest.mark.parametrize("in_flight", [1, 3])
def test_chunks_in_flight_at_once_come_back_in_order(
    in_flight: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 2)
    monkeypatch.setattr(module, "_CHUNKS_AT_ONCE", in_flight)
    inside, most, lock = 0, 0, threading.Lock()

    def slow(texts: list[str]) -> EmbeddingResult:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02 if "number 0" in texts[0] or "number 4" in texts[0] else 0.002)
        with lock:
            inside -= 1
        return embed(texts)

    run_job(rows(45), tmp_path / "out.jsonl", embed=slow)
    assert [line["id"] for line in json_lines(tmp_path / "out.jsonl")] == [row.id for row in rows(45)]
    assert most == in_flight
