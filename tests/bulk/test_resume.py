"""Jobs that go on only as the same, for one process at a time, and never over what is somebody else's."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.bulk.disk import exclusive_lock
from akidb_embeddings.bulk.journal import RowCounts
from akidb_embeddings.bulk.resume import open_journal
from akidb_embeddings.errors import InputError
from tests.bulk.jobs import JOB, finish_part, names, publish, rows, run_job

SIDES = ("out.ids.jsonl", "out.rejects.jsonl")


def test_an_end_between_the_names_of_the_output_and_of_its_description_is_made_good(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_journal(out, JOB) as journal:
        finish_part(journal, b"x", end=True)
    out.write_text("whole", encoding="utf-8")
    with open_journal(out, JOB) as journal:
        assert (journal.complete, journal.finished) == (True, False)
        publish(journal, "whole")
    assert names(tmp_path) == ["out", "out.json"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fingerprint": "space-2"}, r"affects vectors \(fingerprint space-1 there, space-2 now\)\. Give another"),
        ({"precision": "int8"}, r"What differs: --precision \(float32 there, int8 now\)\. Give another"),
        (
            {"input": {"name": "texts.jsonl", "size": 8}},
            r"differs: the input's size in bytes \(7 there, 8 now\)\. Give",
        ),
        ({"input": {"name": "texts.jsonl"}}, r"the input's size in bytes \(7 there, unknown now\)\. Give"),
        ({"part_rows": 11}, r"AKIDB_BULK_PART_ROWS \(10 there, 11 now\)\. Give"),
    ],
)
@pytest.mark.parametrize("is_finished", [False, True])
def test_another_job_is_refused_and_what_differs_is_named(
    change: dict[str, Any], told: str, is_finished: bool, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    with open_journal(out, JOB) as journal:
        finish_part(journal, b"x", end=True)
        if is_finished:
            publish(journal, "precious")
    before = names(tmp_path)
    with pytest.raises(InputError, match=told) as refusal, open_journal(out, JOB | change):
        pass
    assert str(refusal.value).startswith(
        f"{out}{'' if is_finished else '.parts'} belongs to another job. What differs: "
    )
    assert "--overwrite" in str(refusal.value)
    assert ("The same command as before resumes that job." in str(refusal.value)) != is_finished
    assert names(tmp_path) == before
    with open_journal(out, JOB) as journal:
        assert journal.finished == is_finished
        assert journal.counts.rows == 10


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match="exists and is not an output of this command"), open_journal(out, JOB):
        pass
    assert names(tmp_path) == ["out.jsonl"]
    assert out.read_text(encoding="utf-8") == "precious"


def test_overwriting_keeps_the_old_output_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with open_journal(out, JOB) as journal:
        finish_part(journal, b"x", end=True)
        publish(journal, "old")
    (tmp_path / "out.jsonl.rejects.jsonl").write_text("{}\n", encoding="utf-8")
    other = JOB | {"fingerprint": "space-2"}
    with open_journal(out, other, overwrite=True) as journal:
        finish_part(journal, b"new")
        assert out.read_text(encoding="utf-8") == "old"
    with open_journal(out, other) as journal:  # the leave to replace it was given
        assert journal.rows_done == 10
        publish(journal, "new")
    assert out.read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["out.jsonl", "out.jsonl.json"]


@pytest.mark.parametrize("name", ["out", "out.json", *SIDES])
def test_leave_to_overwrite_is_for_what_was_there_when_it_was_given(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("1", encoding="utf-8")
    with open_journal(tmp_path / "out", JOB, overwrite=True) as journal:
        finish_part(journal, b"new")
    (tmp_path / name).write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match=f"{name} exists and is not an output"), open_journal(tmp_path / "out", JOB):
        pass
    assert (tmp_path / name).read_text(encoding="utf-8") == "precious"
    with open_journal(tmp_path / "out", JOB, overwrite=True) as journal:
        assert journal.rows_done == 10


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("own", [{}, {"ids.jsonl": "{}\n"}])
def test_a_file_of_somebody_else_beside_the_output_is_refused(name: str, own: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_journal(out, JOB) as journal:  # what an output tells of is its own, even if it is removed
        finish_part(journal, b"x", end=True)
        publish(journal, "old", own)
    out.unlink()
    (tmp_path / name).write_text("precious", encoding="utf-8")
    before = names(tmp_path)
    with pytest.raises(InputError, match=f"{name} exists and is not an output of this command.*--overwrite to replace"):
        run_job(rows(9), out)
    assert names(tmp_path) == before
    assert (tmp_path / name).read_text(encoding="utf-8") == "precious"
    with open_journal(out, JOB, overwrite=True) as journal:
        finish_part(journal, b"x", end=True)
    run_job(rows(9), out)  # the leave to replace it was given
    assert names(tmp_path) == ["out", "out.json"]


@pytest.mark.parametrize("has_sizes", [True, False])
def test_what_an_earlier_run_left_beside_the_output_is_replaced(has_sizes: bool, tmp_path: Path) -> None:
    out, job = tmp_path / "out", JOB | {"out_format": "npy"}
    with open_journal(out, job) as journal:
        part = journal.begin_part()
        part.write({"rejects.jsonl": b"{}\n"})
        journal.finish_part(part, RowCounts(rows=10, vectors=10, rejects=1), None)
        publish(journal, "old", {"ids.jsonl": "{}\n", "rejects.jsonl": "{}\n"})
    description = json.loads((tmp_path / "out.json").read_bytes())
    if not has_sizes:  # as in an earlier version
        del description["sizes"]
    (tmp_path / "out.json").write_text(json.dumps(description), encoding="utf-8")
    out.unlink()
    with open_journal(out, job) as journal:
        finish_part(journal, b"new")
    with open_journal(out, job) as journal:
        assert journal.rows_done == 10
        publish(journal, "new")
    assert names(tmp_path) == ["out", "out.json"]


@pytest.mark.parametrize("moved", [["out.rejects.jsonl"], [*SIDES], [*SIDES, "out"]])
def test_an_end_between_the_names_of_the_files_is_made_good(moved: list[str], tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        finish_part(journal, b"x", end=True)
    for name in moved:
        (tmp_path / name).write_text("new", encoding="utf-8")
    with open_journal(tmp_path / "out", JOB) as journal:
        assert journal.complete
        publish(journal, "new", {"ids.jsonl": "new"})
    assert names(tmp_path) == ["out", "out.ids.jsonl", "out.json"]


@pytest.mark.parametrize("name", SIDES)
def test_a_file_that_came_while_the_job_was_interrupted_is_refused(name: str, tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        finish_part(journal, b"x")
    (tmp_path / name).write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match=f"{name} exists and is not an output"), open_journal(tmp_path / "out", JOB):
        pass
    (tmp_path / name).unlink()
    with open_journal(tmp_path / "out", JOB) as journal:
        assert journal.rows_done == 10


def test_a_file_with_the_name_of_an_incomplete_description_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.json.partial").write_text("precious", encoding="utf-8")
    run_job(rows(9), tmp_path / "out")
    assert (tmp_path / "out.json.partial").read_text(encoding="utf-8") == "precious"
    assert names(tmp_path) == ["out", "out.json", "out.json.partial"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("out", "", "out has 0 bytes now, not 5"),
        ("out", "whole and more", "out has 14 bytes now, not 5"),
        ("out.ids.jsonl", None, "out.ids.jsonl is missing"),
        ("out.ids.jsonl", "", "out.ids.jsonl has 0 bytes now, not 3"),
        ("out.rejects.jsonl", None, "out.rejects.jsonl is missing"),
    ],
)
def test_a_finished_output_that_is_damaged_is_told_of(
    name: str, content: str | None, told: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sides = {"ids.jsonl": "{}\n", "rejects.jsonl": "{}\n"}
    with open_journal(out, JOB) as journal:
        finish_part(journal, b"x", end=True)
        publish(journal, "whole", sides)
    with open_journal(out, JOB) as journal:
        assert journal.finished
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    before = names(tmp_path)
    with pytest.raises(InputError, match=f"{told}. Restore it, or give --overwrite to compute"), open_journal(out, JOB):
        pass
    assert names(tmp_path) == before
    with open_journal(out, JOB, overwrite=True) as journal:
        assert not journal.finished
        finish_part(journal, b"x", end=True)
    with open_journal(out, JOB) as journal:  # the leave to replace it was given
        assert (journal.complete, journal.finished) == (True, False)
        publish(journal, "whole", sides)
    with open_journal(out, JOB) as journal:
        assert journal.finished


def test_a_description_of_an_earlier_version_has_no_sizes(tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        finish_part(journal, b"x", end=True)
        publish(journal, "whole")
    description = json.loads((tmp_path / "out.json").read_bytes())
    assert description.pop("sizes") == {"": 5}
    (tmp_path / "out.json").write_text(json.dumps(description), encoding="utf-8")
    with open_journal(tmp_path / "out", JOB) as journal:
        assert journal.finished


def test_a_pipe_that_may_replace_another_job_s_output_is_gone_on_with(tmp_path: Path) -> None:
    """``overwrite`` would begin anew; without it, the job that it began goes on."""
    with open_journal(tmp_path / "out", JOB) as journal:
        finish_part(journal, b"x", end=True)
        publish(journal, "old")
    pipe = JOB | {"fingerprint": "space-2", "input": {"name": "-"}}
    with open_journal(tmp_path / "out", pipe, overwrite=True) as journal:
        finish_part(journal, b"first")
    with open_journal(tmp_path / "out", pipe) as journal:
        assert journal.rows_done == 10
        finish_part(journal, b"last", end=True)
        publish(journal, "new")
    assert names(tmp_path) == ["out", "out.json"]
    assert (tmp_path / "out").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("name", ["notes.txt", "part-00000.parquet", "sub/x"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_somebody_else_is_refused_and_kept(name: str, overwrite: bool, tmp_path: Path) -> None:
    path = tmp_path / "out.parts" / name
    path.parent.mkdir(parents=True)
    path.write_text("precious", encoding="utf-8")
    (tmp_path / "out").write_text("precious", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(InputError, match=f"holds '{name.split('/', maxsplit=1)[0]}', which is not from this command"),
        open_journal(tmp_path / "out", JOB, overwrite=overwrite),
    ):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """The output could not be moved from another disk, and a link would stay behind."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out.parts").symlink_to("elsewhere")
    with pytest.raises(InputError, match=r"out\.parts is a link"), open_journal(tmp_path / "out", JOB):
        pass
    assert names(tmp_path) == ["elsewhere", "out.parts"]


def test_names_that_are_not_valid_utf8_are_as_good_as_others(tmp_path: Path) -> None:
    job = JOB | {"input": {"name": "caf\udce9 ü.jsonl", "size": 7}}
    with open_journal(tmp_path / "out", job) as journal:
        finish_part(journal, b"x", end=True)
        publish(journal, "whole")
    with open_journal(tmp_path / "out", job) as journal:
        assert journal.finished
    assert r"caf\udce9 ü.jsonl" in (tmp_path / "out.json").read_text(encoding="utf-8")


def test_overwriting_throws_the_parts_of_another_job_away(tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        finish_part(journal, b"old")
    with open_journal(tmp_path / "out", JOB | {"fingerprint": "space-2"}, overwrite=True) as journal:
        assert journal.rows_done == 0


def test_a_job_that_is_finished_leaves_the_parts_of_another_one(tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        finish_part(journal, b"x", end=True)
        publish(journal, "old")
    other = JOB | {"fingerprint": "space-2"}
    with open_journal(tmp_path / "out", other, overwrite=True) as journal:
        finish_part(journal, b"hours of work")
    with open_journal(tmp_path / "out", JOB) as journal:
        assert journal.finished
    with open_journal(tmp_path / "out", other, overwrite=True) as journal:
        assert journal.rows_done == 10


def test_parts_that_were_being_removed_are_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed within the removal, the old job must not take what is left for its parts."""
    with open_journal(tmp_path / "out", JOB) as journal:
        finish_part(journal, b"a")
        finish_part(journal, b"b")

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
    with (
        pytest.raises(InputError, match=r"out\.json exists and is not an output of"),
        open_journal(tmp_path / "out", JOB),
    ):
        pass
    assert names(tmp_path) == ["out.json"]


def test_two_processes_do_not_write_the_same_output(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from akidb_embeddings.bulk.resume import open_journal\n"
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
        finish_part(journal, b"x")


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "lock"
    flock, seen = fcntl.flock, []

    def removed_meanwhile(stream: Any, flags: int) -> None:
        seen.append(stream)
        if len(seen) == 1:
            path.unlink()
        flock(stream, flags)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with exclusive_lock(path, tmp_path / "out"):
        assert path.exists()
        assert len(seen) == 2
