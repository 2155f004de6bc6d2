"""``akidb-embed file`` refuses what cannot be, and leaves every file as it was."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.cli import main
from tests.bulk.jobs import every_file
from tests.cli.tools import BUNDLED, FIELDS, PROCESS, TINY, run
from tests.conftest import LONG, eventually


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--overlap", "4"], "--overlap is for --passages"),
        (["--passages", "300"], "--passages is 300; the model sees 256 tokens"),
        (["--passages", "5"], "--passages is 5 tokens, of which prompt and special tokens leave 3 for text"),
        (["--with-text"], "--with-text is for JSON lines"),
        (["--out", "out.txt"], "does not end in .parquet, .npy, .jsonl"),
        (["--out", "missing/out.npy"], "the folder missing does not exist. Create it: mkdir -p 'missing'"),
        (["--out", "folder.npy"], "--out folder.npy is a folder; give a file in it"),
        (["--out", "in.jsonl"], "--out in.jsonl would write to in.jsonl, which is the input"),
        (["--format", "parquet"], "in.jsonl"),
        (["--out", "theirs.npy"], "theirs.npy exists and is not an output of this command"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    options: list[str], told: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder.npy").mkdir()
    Path("theirs.npy").write_text("precious", encoding="utf-8")
    assert main(["file", str(source), "--out", "out.npy", *options, *BUNDLED]) == 2
    assert told in capsys.readouterr().err
    assert sorted(every_file(Path())) == ["in.jsonl", "theirs.npy"]
    assert Path("theirs.npy").read_text(encoding="utf-8") == "precious"


def test_a_folder_that_cannot_be_written_to_is_named(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sealed").mkdir(0o500)
    if os.geteuid() == 0:  # who may write everywhere
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != Path("sealed"))
    assert main(["file", str(source), *FIELDS, "--out", "sealed/out.npy", *TINY]) == 2
    assert "cannot be written to" in capsys.readouterr().err


@pytest.mark.long
def test_another_model_or_option_on_an_output_is_refused_with_both_fingerprints(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["file", str(source), *FIELDS, "--out", "out.npy"]
    assert main([*command, *TINY]) == 0
    before = every_file(Path())
    with EmbeddingService(TINY[1]) as ours, EmbeddingService("minilm-l6-v2") as other:
        prints = ours.fingerprint(), other.fingerprint()
    capsys.readouterr()
    assert main([*command, *BUNDLED]) == 2
    assert (
        f"affects vectors (fingerprint {prints[0]} there, {prints[1]} now). Give another --out"
        in capsys.readouterr().err
    )
    assert main([*command, *TINY, "--precision", "int8"]) == 2
    assert "What differs: --precision (float32 there, int8 now). Give another --out" in capsys.readouterr().err
    assert main([*command, *TINY, "--truncate", "error"]) == 2
    assert "What differs: --truncate (end there, error now). Give another --out" in capsys.readouterr().err
    assert main([*command, *FIELDS[:1], "key", *TINY]) == 2
    assert "What differs: --text-field (body there, key now). Give another --out" in capsys.readouterr().err
    assert every_file(Path()) == before
    os.utime(source, (1, 1))
    assert main([*command, *TINY]) == 2
    assert " there, 1970-01-01 00:00:01 UTC now). Give another --out" in capsys.readouterr().err
    assert main([*command, *BUNDLED, "--overwrite"]) == 0
    assert np.load("out.npy").shape == (4, 384)


@pytest.mark.parametrize("out", ["out.parquet", "out.npy", "out.jsonl"])
@pytest.mark.parametrize("suffix", ["ids.jsonl", "rejects.jsonl"])
def test_files_of_somebody_else_beside_the_output_are_kept(
    out: str, suffix: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(f"{out}.{suffix}")
    path.write_text("precious", encoding="utf-8")
    command = ["file", str(source), *FIELDS, "--out", out, *TINY]
    before = every_file(Path())
    assert main(command) == 2
    assert capsys.readouterr().err == (
        f"akidb-embed: error: {path} exists and is not an output of this command. Give another --out, or "
        "--overwrite to replace it.\n"
    )
    assert every_file(Path()) == before
    assert main([*command, "--overwrite"]) == 0
    assert path.exists() == (path.name == "out.npy.ids.jsonl")


@pytest.mark.parametrize("suffix", ["json", "ids.jsonl", "rejects.jsonl"])
def test_a_folder_in_place_of_a_file_beside_the_output_is_told_of_first(
    suffix: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(f"out.npy.{suffix}").mkdir()
    assert main(["file", str(source), *FIELDS, "--out", "out.npy", "--overwrite", *TINY]) == 2
    assert f"--out out.npy would write to out.npy.{suffix}, which is a folder; move it" in capsys.readouterr().err
    assert list(every_file(Path())) == ["in.jsonl"]


def test_a_finished_output_that_lost_a_file_is_told_of(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["file", str(source), *FIELDS, "--out", "out.npy", *TINY]
    assert main(command) == 0
    whole = every_file(Path())
    assert main(command) == 0
    assert "out.npy is finished already" in capsys.readouterr().err
    Path("out.npy").write_bytes(b"")
    Path("out.npy.ids.jsonl").unlink()
    assert main(command) == 2
    size = len(whole["out.npy"])
    assert capsys.readouterr().err == (
        f"akidb-embed: error: out.npy was finished by this command, but out.npy has 0 bytes now, not {size}. "
        "Restore it, or give --overwrite to compute it again.\n"
    )
    Path("out.npy").write_bytes(whole["out.npy"])
    assert main(command) == 2
    assert "but out.npy.ids.jsonl is missing. Restore it" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert every_file(Path()) == whole


@pytest.mark.parametrize("name", ["out.npy.json", "out.npy.rejects.jsonl", "out.npy.ids.jsonl"])
def test_the_input_is_never_written_over(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(name).write_text('{"text": "one"}\n', encoding="utf-8")
    assert main(["file", name, "--format", "jsonl", "--out", "out.npy", "--overwrite", *TINY]) == 2
    assert f"--out out.npy would write to {name}, which is the input" in capsys.readouterr().err
    assert Path(name).read_text(encoding="utf-8") == '{"text": "one"}\n'


@pytest.mark.long
def test_a_second_process_on_the_same_output_is_refused(tmp_path: Path) -> None:
    command = [*PROCESS, "file", "-", "--format", "lines", "--out", str(tmp_path / "out.npy"), *TINY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert eventually(lambda: list(tmp_path.glob("*.parts/job.json")))
        second = run("file", "-", "--out", str(tmp_path / "out.npy"), *TINY, stdin=b"text\n")
        assert second.returncode == 2
        assert b"another process is writing" in second.stderr
        process.communicate(b"text\n", timeout=LONG)
    assert process.returncode == 0
    assert np.load(tmp_path / "out.npy").shape == (1, 32)
