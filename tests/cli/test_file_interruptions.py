"""``akidb-embed file`` interrupted, killed, out of disk, or fed anew: it says so, and the same command goes on."""

import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.bulk import resume
from akidb_embeddings.cli import main
from tests.bulk.inputs import table
from tests.bulk.jobs import every_file, json_lines
from tests.bulk.kill import kill_and_compare, start, write_input
from tests.cli.tools import PROCESS, TINY, feed
from tests.conftest import LONG, eventually


def test_standard_input_that_is_fed_again_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resume, "PART_ROWS", 10)
    lines = [b"text %d\n" % number for number in range(45)]
    command = ["file", "-", "--out", "out.jsonl", *TINY]
    feed(monkeypatch, b"".join(lines[:25]) + b"\xff\n")
    assert main([*command, "--strict"]) == 1
    assert "The first 20 rows are kept in out.jsonl.parts; the same command resumes after" in capsys.readouterr().err
    feed(monkeypatch, b"")  # what was to feed it failed
    assert main(command) == 2
    assert "The first 20 rows are kept in out.jsonl.parts; the same command resumes after" in capsys.readouterr().err
    feed(monkeypatch, b"".join(lines))
    assert main(command) == 0
    assert "continuing after 20 rows" in capsys.readouterr().err
    resumed = Path("out.jsonl").read_bytes()
    Path("out.jsonl").unlink()
    feed(monkeypatch, b"".join(lines))
    assert main(command) == 0
    assert Path("out.jsonl").read_bytes() == resumed
    assert [line["id"] for line in json_lines(Path("out.jsonl"))] == [str(number) for number in range(45)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("form", "options"), [("parquet", ()), ("npy", ("--passages", "24", "--overlap", "2", "--precision", "int8"))]
)
def test_killed_at_random_moments_it_ends_with_the_bytes_of_an_undisturbed_run(
    form: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "kill").mkdir()
    finished = kill_and_compare(tmp_path / "kill", 6, 2000, form, TINY[1], options=options)
    assert finished == sorted(finished)
    assert finished[-1] > 0


@pytest.mark.long
def test_a_full_disk_is_told_of_and_the_same_command_goes_on(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.npy"
    write_input(source, 300)
    command = [*PROCESS, "file", str(source), "--id-field", "id", "--out", str(out), *TINY]
    environment = os.environ | {"AKIDB_BULK_PART_ROWS": "50"}

    def limited(size: int) -> "subprocess.CompletedProcess[str]":
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        return subprocess.run(
            command, env=environment, preexec_fn=limit, capture_output=True, text=True, timeout=60, check=False
        )

    first = limited(5000)  # less than a part's vectors
    assert first.returncode == 1
    assert "cannot be written: File too large" in first.stderr
    assert "Nothing is finished yet" in first.stderr
    assert not list(tmp_path.glob("out*"))
    second = limited(20000)  # enough for parts, and not for the whole
    assert second.returncode == 1
    assert "All rows are embedded and kept in" in second.stderr
    assert not list(tmp_path.glob("*.parts/final"))
    assert sorted(every_file(tmp_path)) == ["in.jsonl"]
    third = limited(1 << 20)
    assert third.returncode == 3
    assert len(np.load(out)) + len(json_lines(tmp_path / "out.npy.rejects.jsonl")) == 300
    assert not list(tmp_path.glob("*.parts"))


def test_a_table_from_standard_input_has_a_heading_every_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resume, "PART_ROWS", 10)
    lines = [b"id,text\n", *(b"k%d,text %d\n" % (number, number) for number in range(25))]
    command = ["file", "-", "--format", "csv", "--id-field", "id", "--out", "out.jsonl", *TINY]
    feed(monkeypatch, b"".join(lines[:13]) + b"too,many,columns\n")
    assert main([*command, "--strict"]) == 1
    feed(monkeypatch, b"".join(lines))
    assert main(command) == 0
    assert "continuing after 10 rows" in capsys.readouterr().err
    assert [line["id"] for line in json_lines(Path("out.jsonl"))] == [f"k{number}" for number in range(25)]
    feed(monkeypatch, b"")
    assert main(command) == 2  # nothing is there that could be the same
    feed(monkeypatch, b"".join(lines))
    assert main(command) == 0
    assert "warning: out.jsonl is finished already" in (told := capsys.readouterr().err)
    assert "what is on standard input was NOT embedded" in told
    feed(monkeypatch, b"id,text\n" + b"new,text\n" * 15 + b"too,many,columns\n")
    assert main([*command, "--overwrite", "--strict"]) == 1
    assert "The first 10 rows are kept in out.jsonl.parts; the same command without --over" in capsys.readouterr().err
    feed(monkeypatch, b"id,text\n" + b"new,text\n" * 15)
    assert main(command) == 0
    assert [line["id"] for line in json_lines(Path("out.jsonl"))] == ["new"] * 15
    feed(monkeypatch, b"id,text\nother,text\n")
    assert main([*command, "--overwrite"]) == 0
    assert [line["id"] for line in json_lines(Path("out.jsonl"))] == ["other"]


@pytest.mark.long
def test_a_pipe_with_a_name_is_read_once_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    command = [*PROCESS, "file", str(tmp_path / "pipe.csv"), "--out", str(tmp_path / "out.npy"), *TINY]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        (tmp_path / "pipe.csv").write_text("text\none\ntwo\n", encoding="utf-8")
        assert process.wait(LONG) == 0
    assert np.load(tmp_path / "out.npy").shape == (2, 32)
    with (
        subprocess.Popen([*command, "--overwrite"], stderr=subprocess.PIPE) as process,
        open(tmp_path / "pipe.csv", "w", encoding="utf-8") as silent,
    ):
        silent.write("text\none\n")
        silent.flush()
        assert eventually(lambda: list(tmp_path.glob("*.parts/job.json")))
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=LONG)[1]
    assert process.returncode == 130
    assert b"interrupted" in told


@pytest.mark.parametrize("form", ["jsonl", "csv", "lines", "folder", "parquet"])
def test_an_input_that_changes_meanwhile_is_told_of(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(f"in.{form}")
    if form == "folder":
        source.mkdir()
        changed = source / "a.txt"
        changed.write_text("one", encoding="utf-8")
    elif form == "parquet":
        changed = table(source, text=["one", "two"])
    else:
        changed = source
        source.write_text({"jsonl": '{"text": "one"}\n'}.get(form, "text\none\n"), encoding="utf-8")
    encode = EmbeddingService.encode

    def changing(self: EmbeddingService, *arguments: Any, **options: Any) -> Any:
        os.utime(changed, (1, 1))
        return encode(self, *arguments, **options)

    command = ["file", str(source), "--format", form, *TINY]
    assert main([*command, "--out", "calm.npy"]) == 0
    assert "changed meanwhile" not in capsys.readouterr().err
    monkeypatch.setattr(EmbeddingService, "encode", changing)
    assert main([*command, "--out", "out.npy"]) == 0
    assert f"warning: in.{form} changed meanwhile" in capsys.readouterr().err


@pytest.mark.long
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.npy"
    write_input(source, 5000)
    with start(source, out, "minilm-l6-v2") as process:
        assert eventually(lambda: list(tmp_path.glob("*.parts/part-000001")))
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=LONG)[1].decode()
    assert process.returncode == 130
    kept = len(list(tmp_path.glob("*.parts/part-*")))
    assert (
        f"interrupted. The first {50 * kept:,} rows are kept in {out}.parts; the same command resumes after them"
        in told
    )
    assert "Traceback" not in told


@pytest.mark.long
def test_ctrl_c_ends_it_also_while_it_waits_for_standard_input(tmp_path: Path) -> None:
    command = [*PROCESS, "file", "-", "--format", "lines", "--out", str(tmp_path / "out.npy"), *TINY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert eventually(lambda: list(tmp_path.glob("*.parts/job.json")))
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        told = process.stderr.read().decode()
        assert process.wait(LONG) == 130
    assert told == "akidb-embed: interrupted. Nothing is finished yet; the same command starts from the beginning.\n"
