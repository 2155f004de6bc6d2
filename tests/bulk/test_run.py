"""A job from rows to its output: what becomes of every row, whatever interrupts it."""

import errno
import functools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.bulk import chunks as chunks_module
from akidb_embeddings.bulk import run as module
from akidb_embeddings.bulk.ahead import WritingBehind, in_order, reading_ahead
from akidb_embeddings.bulk.chunks import chunks
from akidb_embeddings.bulk.journal import Counts, Journal, OpenPart, open_journal
from akidb_embeddings.bulk.outputs import FORMATS
from akidb_embeddings.bulk.progress import Progress
from akidb_embeddings.bulk.rows import Item, Reject, Row
from akidb_embeddings.bulk.run import Rules
from akidb_embeddings.errors import EmbeddingError, InputError, NonFiniteVectorError, WorkerError
from akidb_embeddings.service import EmbeddingResult
from tests.bulk.jobs import JOB, embed, every_file, json_lines, output, rows, run_job, vectors
from tests.cli.tools import TINY
from tests.conftest import LONG, background, eventually


class StopError(Exception):
    """What ends a run in these tests."""


def mixed(count: int) -> list[Item]:
    """Every seventh row a reject, every eleventh a text that is too long."""
    return [
        Reject(row.number, row.number + 1, None, "no field 'text'")
        if row.number % 7 == 3
        else Row(row.number, row.id, row.text + (" and so on and on" if row.number % 11 == 5 else ""))
        for row in rows(count)
    ]


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
    assert journal.counts == Counts(len(good), len(good), len(rejects), cut, sum(line["tokens"] for line in found))
    assert cut > 0
    assert sorted(every_file(tmp_path)) == ["out.jsonl", "out.jsonl.json", "out.jsonl.rejects.jsonl"]


def test_without_rejects_there_is_no_file_of_them(tmp_path: Path) -> None:
    run_job(rows(5), tmp_path / "out.jsonl")
    assert sorted(every_file(tmp_path)) == ["out.jsonl", "out.jsonl.json"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("ends", [(0,), (4, 9, 10, 11), (35, 40, 41, 94)])
def test_a_run_that_is_interrupted_gives_the_same_bytes(
    form: str, ends: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks_module, "CHUNK_ROWS", 4)
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    run_job(mixed(95), tmp_path / "whole" / "out", output(form))

    def until(end: int) -> Iterator[Item]:
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


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_input_gives_an_empty_output(form: str, tmp_path: Path) -> None:
    assert run_job([], tmp_path / "out", output(form)).counts == Counts()
    assert (tmp_path / "out").exists()


def test_a_part_of_which_every_row_is_rejected_is_a_part(tmp_path: Path) -> None:
    items: list[Item] = [Reject(n, n + 1, None, "bad") for n in range(25)]
    items += [Row(n, str(n), "good") for n in range(45, 47)]  # and nothing at all of rows 25 to 44
    run_job(items, tmp_path / "out.jsonl")
    assert [line["id"] for line in json_lines(tmp_path / "out.jsonl")] == ["45", "46"]
    assert len(json_lines(tmp_path / "out.jsonl.rejects.jsonl")) == 25


def test_chunks_depend_on_nothing_but_their_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks_module, "CHUNK_ROWS", 4)
    monkeypatch.setattr(chunks_module, "CHUNK_CHARACTERS", 60)
    items = [*mixed(30), Row(30, "x", "y" * 100), Row(31, "z", "z")]
    whole = list(chunks(items, JOB, lambda: None))
    assert max(len(chunk.rows) for chunk in whole) <= 4
    assert all(len(chunk.rows) == 1 or sum(len(row.text) for row in chunk.rows) <= 60 for chunk in whole)
    assert [chunk.next_row for chunk in whole if chunk.next_row] == [10, 20, 30]
    for skipped in (10, 20, 30):
        begin = 1 + [chunk.next_row for chunk in whole].index(skipped)
        assert list(chunks(items[skipped:], JOB, lambda: None, skipped)) == whole[begin:]


def test_parts_end_before_they_have_too_much_text_and_never_within_a_row() -> None:
    passages = [Row(n // 3, str(n // 3), "x" * 10, n) for n in range(30)]
    job = JOB | {"part_rows": 7, "part_characters": 55}
    whole = list(chunks(passages, job, lambda: None))
    assert [chunk.next_row for chunk in whole] == [2, 4, 6, 8, None]  # two rows of three passages have 60 characters
    assert list(chunks(passages[12:], job, lambda: None, 4)) == whole[2:]
    short = [Row(n, str(n), "x") for n in (0, 1, 2, 3, 9, 10, 20)]  # numbers that are missing count
    assert [chunk.next_row for chunk in chunks(short, job, lambda: None)] == [9, 20, None]


def test_texts_that_cannot_be_embedded_become_rejects_and_the_others_do_not_notice(tmp_path: Path) -> None:
    calls: list[list[str]] = []

    def choosy(texts: list[str]) -> EmbeddingResult:
        calls.append(texts)
        for index, text in enumerate(texts):
            if text == "empty":
                raise InputError(f"texts[{index}] is '', and that gives no tokens.")
            if text == "huge":
                raise InputError(f"vectors[{index}] has a value beyond float16's 65504.")
            if text == "nan":
                raise NonFiniteVectorError(index, 7)
        return embed(texts)

    texts = ["a", "empty", "texts[0]", "nan", "b", "huge"]
    items = [Row(n, f"id-{n}", text, line=n + 1) for n, text in enumerate(texts)]
    run_job(items, tmp_path / "out.jsonl", embed=choosy)
    assert [line["id"] for line in json_lines(tmp_path / "out.jsonl")] == ["id-0", "id-2", "id-4"]
    assert calls[-1] == ["a", "texts[0]", "b"]
    rejects = json_lines(tmp_path / "out.jsonl.rejects.jsonl")
    assert [(line["number"], line["line"], line["id"]) for line in rejects] == [
        (1, 2, "id-1"),
        (3, 4, "id-3"),
        (5, 6, "id-5"),
    ]
    assert rejects[0]["reason"] == "the text is '', and that gives no tokens."
    assert rejects[1]["reason"].startswith("The model gave NaN or infinity for the text (7 tokens)")
    assert rejects[2]["reason"].startswith("the text has a value beyond float16's")


def test_a_model_that_gives_nothing_but_nan_ends_the_run(tmp_path: Path) -> None:
    calls = []

    def spoilt(texts: list[str]) -> EmbeddingResult:
        calls.append(texts)
        raise NonFiniteVectorError(0, 5)

    with pytest.raises(NonFiniteVectorError):
        run_job(rows(200), tmp_path / "out", embed=spoilt, job=JOB | {"part_rows": 200})
    assert len(calls) == 17


@pytest.mark.parametrize("error", [InputError("The prompt has a lone surrogate."), InputError("texts[99] is odd.")])
def test_an_error_that_is_no_text_s_fault_ends_the_run(error: InputError, tmp_path: Path) -> None:
    def fail(texts: list[str]) -> EmbeddingResult:
        raise error

    with pytest.raises(InputError, match=str(error).replace("[", r"\[").replace("]", r"\]")):
        run_job(rows(5), tmp_path / "out", embed=fail)


def test_texts_that_are_too_long_become_rejects_where_that_is_the_rule(tmp_path: Path) -> None:
    items = [
        Row(0, "a", "short"),
        Row(1, "b", "one two three four five six seven"),
        Row(2, "c", "x " * 9, 40, 58),
        Row(3, "d", "short, too"),
    ]
    run_job(items, tmp_path / "out.jsonl", rules=Rules(limit=8))
    found = json_lines(tmp_path / "out.jsonl")
    assert [(line["id"], line["tokens"], line["truncated"]) for line in found] == [("a", 3, False), ("d", 4, False)]
    np.testing.assert_allclose([line["embedding"] for line in found], vectors(["short", "short, too"]))
    reason = "the text has more than 8 tokens with its prompt, and truncate is 'error'"
    assert [(line["id"], line["reason"]) for line in json_lines(tmp_path / "out.jsonl.rejects.jsonl")] == [
        ("b", reason),
        ("c", f"characters 40 to 58: {reason}"),
    ]
    items = items[1:2]
    run_job(items, tmp_path / "none.jsonl", rules=Rules(limit=8))
    assert (tmp_path / "none.jsonl").read_bytes() == b""


def test_strict_stops_at_the_first_reject_also_at_one_of_an_earlier_run(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(WorkerError, match=r"line 4: no field 'text'\. --strict ends the run there"):
        run_job(mixed(30), out, rules=Rules(strict=True))
    with pytest.raises(InputError, match="damaged"):
        run_job(_breaking(mixed(25)), out)
    with open_journal(out, JOB) as journal:
        assert journal.rows_done == 20
    with pytest.raises(WorkerError, match="line 4: no field 'text'"):
        run_job(mixed(30), out, rules=Rules(strict=True))
    run_job(mixed(30), out)
    assert len(json_lines(out)) + len(json_lines(tmp_path / "out.jsonl.rejects.jsonl")) == 30


def _breaking(items: list[Item]) -> Iterator[Item]:
    yield from items
    raise InputError("the input is damaged")


def test_passages_of_a_row_count_as_one_row(tmp_path: Path) -> None:
    passages = [Row(n // 3, str(n // 3), f"passage {n}", n, n + 1) for n in range(30)]
    journal = run_job(passages, tmp_path / "out.jsonl", output(offsets=True), job=JOB | {"part_rows": 3})
    assert (journal.counts.rows, journal.counts.vectors) == (10, 30)
    assert [line["begin"] for line in json_lines(tmp_path / "out.jsonl")] == list(range(30))


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    write = OpenPart.write

    def full(self: OpenPart, pieces: dict[str, bytes]) -> None:
        if b"id-33" in pieces.get("lines.jsonl", b""):
            raise OSError(errno.ENOSPC, "No space left on device", str(self.folder))
        write(self, pieces)

    monkeypatch.setattr(OpenPart, "write", full)
    with pytest.raises(EmbeddingError, match=r"out.jsonl.parts.* cannot be written: No space left on device"):
        run_job(rows(60), out)
    assert not out.exists()
    assert not (tmp_path / "out.jsonl.parts" / "open").exists()
    monkeypatch.undo()
    run_job(rows(60), out, then=lambda journal: None)
    assert [line["id"] for line in json_lines(out)] == [row.id for row in rows(60)]


def test_a_disk_that_fills_up_at_the_very_end_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Journal, *arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "publish", full)
    with pytest.raises(EmbeddingError, match="No space left on device"):
        run_job(rows(25), tmp_path / "out.jsonl")
    monkeypatch.undo()

    def refuse(texts: list[str]) -> EmbeddingResult:
        raise AssertionError("all is embedded")

    run_job(rows(25), tmp_path / "out.jsonl", embed=refuse)
    assert len(json_lines(tmp_path / "out.jsonl")) == 25


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
                run_job(_breaking([*items[:650]]), tmp_path / "broken.jsonl", embed=embed, job=job)
        run_job(items, tmp_path / "broken.jsonl", embed=embed, job=job)
    assert (tmp_path / "whole.jsonl").read_bytes() == (tmp_path / "broken.jsonl").read_bytes()


@pytest.mark.parametrize("in_flight", [1, 3])
def test_chunks_in_flight_at_once_come_back_in_order(
    in_flight: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks_module, "CHUNK_ROWS", 2)
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


def test_no_more_is_read_than_is_soon_embedded() -> None:
    taken = []

    def endless() -> Iterator[int]:
        for number in range(10**9):
            taken.append(number)
            yield number

    with reading_ahead(endless(), 3) as items:
        assert next(items) == 0
        assert eventually(lambda: len(taken) >= 4)
        time.sleep(0.05)
        assert len(taken) <= 6
    assert eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "akidb-read"])


def test_an_error_of_the_items_comes_after_what_was_made_of_those_before_it() -> None:
    def breaking() -> Iterator[int]:
        yield from range(3)
        raise StopError

    made = in_order(str, breaking(), 5)
    assert [next(made) for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(StopError):
        next(made)


def test_what_goes_wrong_on_another_thread_is_raised_on_this_one() -> None:
    def breaking() -> Iterator[int]:
        yield 1
        raise StopError

    with reading_ahead(breaking(), 3) as items, pytest.raises(StopError):
        assert list(items) == [1]

    done: list[str] = []
    gate = threading.Event()

    def fail() -> None:
        gate.wait(LONG)
        raise StopError

    with WritingBehind(2) as writing:
        writing.call(fail)
        writing.call(lambda: done.append("after a failure"))
        gate.set()
        with pytest.raises(StopError):
            writing.finish()
    assert done == []
    assert list(in_order(str, range(5), 2)) == ["0", "1", "2", "3", "4"]


def test_writing_does_not_get_further_behind_than_it_may() -> None:
    gate, done = threading.Event(), []
    with WritingBehind(2) as writing:

        def calls() -> None:
            for number in range(5):
                writing.call(lambda: gate.wait(LONG))
                done.append(number)

        caller = background(calls)
        assert eventually(lambda: len(done) >= 2)
        time.sleep(0.05)
        assert len(done) == 2
        gate.set()
        caller.result(LONG)


def test_a_line_tells_how_far_it_is_and_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [100.0], list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(1000, said.append)
    progress.begin_at(200)
    now[0] += 4
    progress.update(400, 4000, 300)
    assert said == []
    now[0] += 6
    progress.update(600, 6000, 600)
    assert said == ["1,000 texts (60% of the input), 100 texts/s, 1,000 tokens/s, 0:00:10 left"]
    assert progress.peak > 10e6
    unknown: Any = Progress(None, said.append)
    now[0] += 10
    unknown.update(5, 50, None)
    assert said[1] == "5 texts, 0 texts/s, 5 tokens/s"
