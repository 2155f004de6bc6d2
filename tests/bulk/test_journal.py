"""Parts that are whole or not there, and jobs that go on only as the same."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.bulk.disk import locked
from akidb_embeddings.bulk.journal import Counts, Journal, open_journal
from akidb_embeddings.errors import InputError
from tests.bulk.jobs import JOB


def finish(journal: Journal, content: bytes, end: bool = False) -> None:
    part = journal.begin_part()
    part.write({"lines": content, "rejects.jsonl": b""})
    journal.finish_part(part, Counts(rows=10, vectors=10, tokens=len(content)), None if end else journal.rows_done + 10)


def publish(journal: Journal, content: str) -> None:
    with journal.assembly() as folder:
        (folder / "out").write_text(content, encoding="utf-8")
        journal.publish({"": folder / "out"}, {})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_finished_parts_are_found_again_and_the_unfinished_one_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with open_journal(out, JOB) as journal:
        assert (journal.rows_done, journal.complete) == (0, False)
        finish(journal, b"first")
        finish(journal, b"second")
        (journal.folder / "open").mkdir()
        (journal.folder / "open" / "lines").write_bytes(b"lost")
    with open_journal(out, JOB) as journal:
        assert [(part / "lines").read_bytes() for part in journal.parts] == [b"first", b"second"]
        assert (journal.rows_done, journal.complete) == (20, False)
        assert journal.counts == Counts(rows=20, vectors=20, tokens=11)
        assert not (journal.folder / "open").exists()
        finish(journal, b"third", end=True)
    with open_journal(out, JOB) as journal:
        assert journal.complete


def test_a_part_after_a_missing_one_does_not_count(tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        for content in (b"a", b"b", b"c"):
            finish(journal, content)
        (journal.parts[1] / "counts.json").unlink()
    with open_journal(tmp_path / "out", JOB) as journal:
        assert journal.rows_done == 10
        finish(journal, b"again")
        assert (journal.parts[1] / "lines").read_bytes() == b"again"


def test_a_finished_job_leaves_its_output_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with open_journal(out, JOB) as journal:
        finish(journal, b"x", end=True)
        publish(journal, "whole")
    assert names(tmp_path) == ["out.jsonl", "out.jsonl.json"]
    assert json.loads((tmp_path / "out.jsonl.json").read_bytes())["job"]["fingerprint"] == "space-1"
    with open_journal(out, JOB) as journal:
        assert journal.finished
        assert journal.counts == Counts(rows=10, vectors=10, tokens=1)
    assert names(tmp_path) == ["out.jsonl", "out.jsonl.json"]


def test_a_job_that_finished_no_part_leaves_nothing(tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        journal.begin_part()
    assert names(tmp_path) == []


def test_an_end_between_the_names_of_the_output_and_of_its_description_is_made_good(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_journal(out, JOB) as journal:
        finish(journal, b"x", end=True)
    out.write_text("whole", encoding="utf-8")
    with open_journal(out, JOB) as journal:
        assert (journal.complete, journal.finished) == (True, False)
        publish(journal, "whole")
    assert names(tmp_path) == ["out", "out.json"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fingerprint": "space-2"}, "fingerprint space-1 there, space-2 now"),
        ({"precision": "int8"}, "fingerprint space-1 there, space-1 now; precision float32 there, int8 now"),
        ({"input": {"name": "texts.jsonl", "size": 8}}, "input size 7 there, 8 now"),
        ({"input": {"name": "texts.jsonl"}}, "input size 7 there, null now"),
        ({"part_rows": 11}, "part_rows 10 there, 11 now"),
    ],
)
@pytest.mark.parametrize("is_finished", [False, True])
def test_another_job_is_refused_and_what_differs_is_named(
    change: dict[str, Any], told: str, is_finished: bool, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    with open_journal(out, JOB) as journal:
        finish(journal, b"x", end=True)
        if is_finished:
            publish(journal, "precious")
    before = names(tmp_path)
    with pytest.raises(InputError, match=told) as refusal, open_journal(out, JOB | change):
        pass
    assert str(refusal.value).startswith(f"{out}{'' if is_finished else '.parts'} is of another job: fingerprint")
    assert "--overwrite" in str(refusal.value)
    assert names(tmp_path) == before
    with open_journal(out, JOB) as journal:
        assert journal.finished == is_finished
        assert journal.counts.rows == 10


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match="exists and is no output of this command"), open_journal(out, JOB):
        pass
    assert names(tmp_path) == ["out.jsonl"]
    assert out.read_text(encoding="utf-8") == "precious"


def test_overwriting_keeps_the_old_output_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with open_journal(out, JOB) as journal:
        finish(journal, b"x", end=True)
        publish(journal, "old")
    (tmp_path / "out.jsonl.rejects.jsonl").write_text("{}\n", encoding="utf-8")
    other = JOB | {"fingerprint": "space-2"}
    with open_journal(out, other, overwrite=True) as journal:
        finish(journal, b"new")
        assert out.read_text(encoding="utf-8") == "old"
    with pytest.raises(InputError, match="is of another job"), open_journal(out, other):
        pass
    with open_journal(out, other, overwrite=True) as journal:
        assert journal.rows_done == 10
        publish(journal, "new")
    assert out.read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["out.jsonl", "out.jsonl.json"]


def test_a_new_output_never_stands_beside_the_description_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with open_journal(out, JOB) as journal:
        finish(journal, b"x", end=True)
        publish(journal, "old")
    monkeypatch.setattr("akidb_embeddings.bulk.journal.flush_folder", lambda path: 1 / (path != tmp_path))
    with open_journal(out, JOB | {"fingerprint": "space-2"}, overwrite=True) as journal:
        finish(journal, b"x", end=True)
        with pytest.raises(ZeroDivisionError):
            publish(journal, "new")
    assert out.read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["out", "out.parts"]


def test_overwriting_throws_the_parts_of_another_job_away(tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        finish(journal, b"old")
    with open_journal(tmp_path / "out", JOB | {"fingerprint": "space-2"}, overwrite=True) as journal:
        assert journal.rows_done == 0


def test_a_job_that_is_finished_leaves_the_parts_of_another_one(tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        finish(journal, b"x", end=True)
        publish(journal, "old")
    other = JOB | {"fingerprint": "space-2"}
    with open_journal(tmp_path / "out", other, overwrite=True) as journal:
        finish(journal, b"hours of work")
    with open_journal(tmp_path / "out", JOB) as journal:
        assert journal.finished
    with open_journal(tmp_path / "out", other, overwrite=True) as journal:
        assert journal.rows_done == 10


def test_parts_that_were_being_removed_are_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed within the removal, the old job must not take what is left for its parts."""
    with open_journal(tmp_path / "out", JOB) as journal:
        finish(journal, b"a")
        finish(journal, b"b")

    def gutted(path: Path, *arguments: object, **options: object) -> None:
        (path / "lines").unlink(missing_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", gutted)
    with pytest.raises(KeyboardInterrupt), open_journal(tmp_path / "out", JOB | {"fingerprint": "2"}, overwrite=True):
        pass
    monkeypatch.undo()
    with open_journal(tmp_path / "out", JOB) as journal:
        assert journal.parts == []


def test_a_description_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text('{"precious": 1}', encoding="utf-8")
    with pytest.raises(InputError, match=r"out\.json exists and is no output of"), open_journal(tmp_path / "out", JOB):
        pass
    assert names(tmp_path) == ["out.json"]


def test_two_processes_do_not_write_the_same_output(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from akidb_embeddings.bulk.journal import open_journal\n"
        f"with open_journal(pathlib.Path(sys.argv[1]), {JOB!r}): print('in', flush=True); sys.stdin.read()"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        with pytest.raises(InputError, match=f"another process is writing {out}"), open_journal(out, JOB):
            pass
        process.kill()
    with open_journal(out, JOB) as journal:  # the system lets go of what a dead process had
        finish(journal, b"x")


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "lock"
    flock, seen = fcntl.flock, []

    def removed_meanwhile(stream: Any, flags: int) -> None:
        seen.append(stream)
        if len(seen) == 1:
            path.unlink()
        flock(stream, flags)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with locked(path, tmp_path / "out"):
        assert path.exists()
        assert len(seen) == 2
