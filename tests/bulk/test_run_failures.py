"""A job and what goes wrong: texts that become rejects, errors that end it, and disks that fill up."""

import errno
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings.bulk.journal import Journal, PartWriter
from akidb_embeddings.bulk.resume import open_journal
from akidb_embeddings.bulk.rows import Row
from akidb_embeddings.bulk.run import RejectPolicy
from akidb_embeddings.errors import EmbeddingError, InputError, NonFiniteVectorError, WorkerError
from akidb_embeddings.service.result import EmbeddingResult
from tests.bulk.jobs import JOB, breaking, embed, json_lines, mixed, rows, run_job, vectors


def test_texts_that_cannot_be_embedded_become_rejects_and_the_others_do_not_notice(tmp_path: Path) -> None:
    calls: list[list[str]] = []

    def choosy(texts: list[str]) -> EmbeddingResult:
        calls.append(texts)
        for index, text in enumerate(texts):
            if text == "empty":
                raise InputError(field="texts", index=index, reason="is '', which gives no tokens.")
            if text == "huge":
                raise InputError(field="vectors", index=index, reason="has a value beyond float16's 65504.")
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
    assert rejects[0]["reason"] == "the text is '', which gives no tokens."
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


@pytest.mark.parametrize(
    "error", [InputError("The prompt has a lone surrogate."), InputError(field="texts", index=99, reason="is odd.")]
)
def test_an_error_that_is_no_text_s_fault_ends_the_run(error: InputError, tmp_path: Path) -> None:
    def fail(texts: list[str]) -> EmbeddingResult:
        raise error

    with pytest.raises(InputError, match=str(error).replace("[", r"\[").replace("]", r"\]")):
        run_job(rows(5), tmp_path / "out", embed=fail)


def test_an_input_that_ends_within_what_is_done_does_not_end_the_job(tmp_path: Path) -> None:
    """An empty pipe, most likely: what was to feed it failed."""
    with pytest.raises(InputError, match="damaged"):
        run_job(breaking(list(rows(25))), tmp_path / "out")
    for count in (0, 20):
        with pytest.raises(InputError, match="The input ends within the 20 rows that are done"):
            run_job(rows(count), tmp_path / "out")
    run_job(rows(25), tmp_path / "out")
    run_job(rows(25), tmp_path / "whole")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


def test_texts_that_are_too_long_become_rejects_where_that_is_the_rule(tmp_path: Path) -> None:
    items = [
        Row(0, "a", "short"),
        Row(1, "b", "one two three four five six seven"),
        Row(2, "c", "x " * 9, 40, 58),
        Row(3, "d", "short, too"),
    ]
    run_job(items, tmp_path / "out.jsonl", policy=RejectPolicy(limit=8))
    found = json_lines(tmp_path / "out.jsonl")
    assert [(line["id"], line["tokens"], line["truncated"]) for line in found] == [("a", 3, False), ("d", 4, False)]
    np.testing.assert_allclose([line["embedding"] for line in found], vectors(["short", "short, too"]))
    reason = "the text has more than 8 tokens with its prompt, and truncate is 'error'"
    assert [(line["id"], line["reason"]) for line in json_lines(tmp_path / "out.jsonl.rejects.jsonl")] == [
        ("b", reason),
        ("c", f"characters 40 to 58: {reason}"),
    ]
    with pytest.raises(InputError, match=f"the only row cannot be embedded; row 1: {reason}"):
        run_job(items[1:2], tmp_path / "none.jsonl", policy=RejectPolicy(limit=8))
    assert not list(tmp_path.glob("none*"))


def test_strict_stops_at_the_first_reject_also_at_one_of_an_earlier_run(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(WorkerError, match=r"line 4: no field 'text'\. --strict ends the run here"):
        run_job(mixed(30), out, policy=RejectPolicy(strict=True))
    with pytest.raises(InputError, match="damaged"):
        run_job(breaking(mixed(25)), out)
    with open_journal(out, JOB) as journal:
        assert journal.rows_done == 20
    with pytest.raises(WorkerError, match="line 4: no field 'text'"):
        run_job(mixed(30), out, policy=RejectPolicy(strict=True))
    run_job(mixed(30), out)
    assert len(json_lines(out)) + len(json_lines(tmp_path / "out.jsonl.rejects.jsonl")) == 30


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    write = PartWriter.write

    def full(self: PartWriter, pieces: dict[str, bytes]) -> None:
        if b"id-33" in pieces.get("lines.jsonl", b""):
            raise OSError(errno.ENOSPC, "No space left on device", str(self.folder))
        write(self, pieces)

    monkeypatch.setattr(PartWriter, "write", full)
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
