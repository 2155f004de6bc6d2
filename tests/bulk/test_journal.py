"""Parts that are whole or not there, and an output that is put together of them."""

import json
from pathlib import Path

import pytest

from akidb_embeddings.bulk.journal import RowCounts
from akidb_embeddings.bulk.resume import open_journal
from tests.bulk.jobs import JOB, finish_part, names, publish


def test_finished_parts_are_found_again_and_the_unfinished_one_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with open_journal(out, JOB) as journal:
        assert (journal.rows_done, journal.complete) == (0, False)
        finish_part(journal, b"first")
        finish_part(journal, b"second")
        (journal.folder / "open").mkdir()
        (journal.folder / "open" / "lines").write_bytes(b"lost")
    with open_journal(out, JOB) as journal:
        assert [(part / "lines").read_bytes() for part in journal.parts] == [b"first", b"second"]
        assert (journal.rows_done, journal.complete) == (20, False)
        assert journal.counts == RowCounts(rows=20, vectors=20, tokens=11)
        assert not (journal.folder / "open").exists()
        finish_part(journal, b"third", end=True)
    with open_journal(out, JOB) as journal:
        assert journal.complete


def test_a_part_after_a_missing_one_does_not_count(tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        for content in (b"a", b"b", b"c"):
            finish_part(journal, content)
        (journal.parts[1] / "counts.json").unlink()
    with open_journal(tmp_path / "out", JOB) as journal:
        assert journal.rows_done == 10
        finish_part(journal, b"again")
        assert (journal.parts[1] / "lines").read_bytes() == b"again"


@pytest.mark.parametrize("content", [None, b"short"])
def test_a_part_with_a_file_that_is_not_whole_does_not_count(content: bytes | None, tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        finish_part(journal, b"a")
        finish_part(journal, b"longer")
        (journal.parts[1] / "lines").unlink()
        if content is not None:
            (journal.parts[1] / "lines").write_bytes(content)
    with open_journal(tmp_path / "out", JOB) as journal:
        assert journal.rows_done == 10
        assert [part.name for part in journal.parts] == ["part-000000"]


def test_a_new_output_never_stands_beside_the_description_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with open_journal(out, JOB) as journal:
        finish_part(journal, b"x", end=True)
        publish(journal, "old")
    monkeypatch.setattr("akidb_embeddings.bulk.journal.flush_folder", lambda path: 1 / (path != tmp_path))
    with open_journal(out, JOB | {"fingerprint": "space-2"}, overwrite=True) as journal:
        finish_part(journal, b"x", end=True)
        with pytest.raises(ZeroDivisionError):
            publish(journal, "new")
    assert out.read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["out", "out.parts"]


def test_a_job_that_finished_no_part_leaves_nothing(tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        journal.begin_part()
    assert names(tmp_path) == []


def test_a_finished_job_leaves_its_output_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with open_journal(out, JOB) as journal:
        finish_part(journal, b"x", end=True)
        publish(journal, "whole")
    assert names(tmp_path) == ["out.jsonl", "out.jsonl.json"]
    description = json.loads((tmp_path / "out.jsonl.json").read_bytes())
    assert (description["job"]["fingerprint"], description["sizes"]) == ("space-1", {"": 5})
    with open_journal(out, JOB) as journal:
        assert journal.finished
        assert journal.counts == RowCounts(rows=10, vectors=10, tokens=1)
    assert names(tmp_path) == ["out.jsonl", "out.jsonl.json"]
