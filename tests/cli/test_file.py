"""``akidb-embed file``: from files to files of vectors, and what happens on the way."""

import importlib
import json
import os
import pty
import resource
import signal
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.bulk import journal
from akidb_embeddings.cli import main
from akidb_embeddings.errors import NonFiniteVectorError
from tests.bulk.inputs import table, write
from tests.bulk.jobs import every_file, json_lines
from tests.bulk.kill import kill_and_compare, start, write_input
from tests.cli.tools import BUNDLED, PROCESS, TINY, feed, run
from tests.conftest import LONG, eventually

TEXTS = ["one", "two words", "", "vier Wörter, ein Satz"]


@pytest.fixture
def source() -> Path:
    path = Path("in.jsonl")
    lines = [json.dumps({"key": f"k{n}", "body": text}) for n, text in enumerate(TEXTS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


FIELDS = ("--text-field", "body", "--id-field", "key")


@pytest.mark.parametrize("form", ["parquet", "npy", "jsonl"])
def test_the_vectors_are_the_service_s(form: str, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["file", str(source), *FIELDS, "--out", f"out.{form}", "--prompt-text", "say: ", *TINY]) == 0
    with EmbeddingService(TINY[1]) as service:
        expected = service.encode(TEXTS, prompt="say: ")
    if form == "parquet":
        table = importlib.import_module("pyarrow.parquet").read_table("out.parquet")
        found = table.to_pylist()
        vectors = [line["vector"] for line in found]
        assert table.schema.metadata[b"fingerprint"].decode() == expected.fingerprint
    elif form == "npy":
        found, vectors = json_lines(Path("out.npy.ids.jsonl")), np.load("out.npy")
    else:
        found = json_lines(Path("out.jsonl"))
        vectors = [line["embedding"] for line in found]
        assert {line["fingerprint"] for line in found} == {expected.fingerprint}
    np.testing.assert_array_equal(np.array(vectors, dtype=np.float32), expected.vectors)
    assert [line["id"] for line in found] == ["k0", "k1", "k2", "k3"]
    assert [line["tokens"] for line in found] == expected.token_counts
    described = json.loads(Path(f"out.{form}.json").read_bytes())
    assert (described["fingerprint"], described["dimension"]) == (expected.fingerprint, 32)
    told = capsys.readouterr().err
    assert f"4 rows, 0 rejected, 0 cut at 512 tokens, {sum(expected.token_counts)} tokens" in told
    assert f"out.{form}: 4 vectors of 32 dimensions, float32, fingerprint {expected.fingerprint}" in told
    assert "texts/s" in told
    assert "footprint at most" in told


@pytest.mark.parametrize("precision", ["float16", "int8", "binary", "ubinary"])
def test_every_precision(precision: str, source: Path) -> None:
    assert main(["file", str(source), *FIELDS, "--out", "out.npy", "--precision", precision, *TINY]) == 0
    with EmbeddingService(TINY[1]) as service:
        expected = service.encode(TEXTS, precision=precision)
    found = np.load("out.npy")
    assert found.dtype == expected.vectors.dtype
    np.testing.assert_array_equal(found, expected.vectors)
    assert json.loads(Path("out.npy.json").read_bytes())["fingerprint"] == expected.fingerprint


def test_bad_rows_are_listed_and_the_exit_code_says_so(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(source, "ab") as stream:
        stream.write(b'{"key": "no text"}\n\xff\n{"key": "k6", "body": "last"}\n')
    assert main(["file", str(source), *FIELDS, "--out", "out.jsonl", *TINY]) == 3
    assert [line["id"] for line in json_lines(Path("out.jsonl"))] == ["k0", "k1", "k2", "k3", "k6"]
    rejects = json_lines(Path("out.jsonl.rejects.jsonl"))
    assert [(reject["line"], reject["id"]) for reject in rejects] == [(5, "no text"), (6, None)]
    assert "warning: 2 were rejected; out.jsonl.rejects.jsonl says which and why" in capsys.readouterr().err
    assert main(["file", str(source), *FIELDS, "--out", "out.jsonl", *TINY]) == 3
    assert "finished already" in capsys.readouterr().err
    assert main(["file", str(source), *FIELDS, "--out", "strict.jsonl", "--strict", *TINY]) == 1
    assert "error: line 5 (id 'no text'): no field 'body'" in capsys.readouterr().err
    assert not list(Path().glob("strict*"))


def test_texts_that_are_too_long_are_cut_or_rejected(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = (*FIELDS, "--max-tokens", "12", *BUNDLED)
    Path(source).write_text(source.read_text(encoding="utf-8").replace("two words", "two words " * 9), encoding="utf-8")
    assert main(["file", str(source), *limit, "--out", "cut.jsonl"]) == 0
    assert [line["truncated"] for line in json_lines(Path("cut.jsonl"))] == [False, True, False, False]
    assert "1 cut at 12 tokens" in capsys.readouterr().err
    assert main(["file", str(source), *limit, "--out", "refused.jsonl", "--truncate", "error"]) == 3
    assert [line["id"] for line in json_lines(Path("refused.jsonl"))] == ["k0", "k2", "k3"]
    rejects = json_lines(Path("refused.jsonl.rejects.jsonl"))
    assert [(reject["line"], reject["id"]) for reject in rejects] == [(2, "k1")]
    assert "more than 12 tokens with its prompt" in rejects[0]["reason"]


def test_a_text_without_a_vector_is_rejected(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = EmbeddingService.encode

    def spoilt(self: EmbeddingService, texts: list[str], **options: Any) -> Any:
        if "two words" in texts:
            raise NonFiniteVectorError(texts.index("two words"), 4)
        return encode(self, texts, **options)

    monkeypatch.setattr(EmbeddingService, "encode", spoilt)
    assert main(["file", str(source), *FIELDS, "--out", "out.jsonl", *TINY]) == 3
    assert [line["id"] for line in json_lines(Path("out.jsonl"))] == ["k0", "k2", "k3"]
    (reject,) = json_lines(Path("out.jsonl.rejects.jsonl"))
    assert (reject["line"], reject["id"]) == (2, "k1")
    assert "NaN or infinity for the text (4 tokens)" in reject["reason"]


def test_passages_keep_the_id_and_say_where_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    text = "The first sentence is here. The second one is there. " * 6
    Path("in.csv").write_text(f'id,text\na,"{text}"\nb,short\n', encoding="utf-8")
    command = ["file", "in.csv", "--id-field", "id", "--out", "out.jsonl", "--with-text", *BUNDLED]
    assert main([*command, "--passages", "32", "--overlap", "4"]) == 0
    found = json_lines(Path("out.jsonl"))
    assert {line["id"] for line in found} == {"a", "b"}
    assert len(found) > 3
    assert all(line["tokens"] <= 32 and not line["truncated"] for line in found)
    assert [line["text"] for line in found[:-1]] == [text[line["begin"] : line["end"]] for line in found[:-1]]
    assert f"2 rows as {len(found)} passages" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--overlap", "4"], "--overlap is for --passages"),
        (["--passages", "300"], "--passages is 300; the model sees 256 tokens"),
        (["--passages", "5"], "leave 3 for text"),
        (["--with-text"], "--with-text is for JSON lines"),
        (["--out", "out.txt"], "does not end in .parquet, .npy, .jsonl"),
        (["--out", "missing/out.npy"], "there is no folder missing. Make it first: mkdir -p 'missing'"),
        (["--out", "folder.npy"], "--out folder.npy is a folder; give a file in it"),
        (["--out", "in.jsonl"], "--out in.jsonl would write to in.jsonl, which is the input"),
        (["--format", "parquet"], "in.jsonl"),
        (["--out", "theirs.npy"], "theirs.npy exists and is no output of this command"),
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


def test_another_model_or_option_on_an_output_is_refused_with_both_fingerprints(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["file", str(source), *FIELDS, "--out", "out.npy"]
    assert main([*command, *TINY]) == 0
    before = every_file(Path())
    with EmbeddingService(TINY[1]) as ours, EmbeddingService("minilm-l6-v2") as other:
        prints = ours.fingerprint(), other.fingerprint(), ours.fingerprint(precision="int8")
    capsys.readouterr()
    assert main([*command, *BUNDLED]) == 2
    assert f"fingerprint {prints[0]} there, {prints[1]} now" in capsys.readouterr().err
    assert main([*command, *TINY, "--precision", "int8"]) == 2
    assert f"fingerprint {prints[0]} there, {prints[2]} now; " in capsys.readouterr().err
    assert main([*command, *TINY, "--truncate", "error"]) == 2
    assert "truncate end there, error now" in capsys.readouterr().err
    assert every_file(Path()) == before
    os.utime(source, (1, 1))
    assert main([*command, *TINY]) == 2
    assert "input mtime_ns" in capsys.readouterr().err
    assert main([*command, *BUNDLED, "--overwrite"]) == 0
    assert np.load("out.npy").shape == (4, 384)


def test_standard_input_that_is_fed_again_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "PART_ROWS", 10)
    lines = [b"text %d\n" % number for number in range(45)]
    command = ["file", "-", "--out", "out.jsonl", *TINY]
    feed(monkeypatch, b"".join(lines[:25]) + b"\xff\n")
    assert main([*command, "--strict"]) == 1
    assert "The first 20 rows are kept in out.jsonl.parts; the same command goes on" in capsys.readouterr().err
    feed(monkeypatch, b"".join(lines))
    assert main(command) == 0
    assert "going on after 20 rows" in capsys.readouterr().err
    resumed = Path("out.jsonl").read_bytes()
    Path("out.jsonl").unlink()
    feed(monkeypatch, b"".join(lines))
    assert main(command) == 0
    assert Path("out.jsonl").read_bytes() == resumed
    assert [line["id"] for line in json_lines(Path("out.jsonl"))] == [str(number) for number in range(45)]


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
    assert "All is embedded and kept in" in second.stderr
    assert not list(tmp_path.glob("*.parts/final"))
    assert sorted(every_file(tmp_path)) == ["in.jsonl"]
    third = limited(1 << 20)
    assert third.returncode == 3
    assert len(np.load(out)) + len(json_lines(tmp_path / "out.npy.rejects.jsonl")) == 300
    assert not list(tmp_path.glob("*.parts"))


def test_a_table_from_standard_input_has_a_heading_every_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "PART_ROWS", 10)
    lines = [b"id,text\n", *(b"k%d,text %d\n" % (number, number) for number in range(25))]
    command = ["file", "-", "--format", "csv", "--id-field", "id", "--out", "out.jsonl", *TINY]
    feed(monkeypatch, b"".join(lines[:13]) + b"too,many,columns\n")
    assert main([*command, "--strict"]) == 1
    feed(monkeypatch, b"".join(lines))
    assert main(command) == 0
    assert "going on after 10 rows" in capsys.readouterr().err
    assert [line["id"] for line in json_lines(Path("out.jsonl"))] == [f"k{number}" for number in range(25)]
    feed(monkeypatch, b"")
    assert main(command) == 2  # nothing is there that could be the same
    feed(monkeypatch, b"".join(lines))
    assert main(command) == 0
    assert "nothing to do; standard input was not read" in capsys.readouterr().err
    feed(monkeypatch, b"id,text\n" + b"new,text\n" * 15 + b"too,many,columns\n")
    assert main([*command, "--overwrite", "--strict"]) == 1
    assert "The first 10 rows are kept in out.jsonl.parts; the same command without --over" in capsys.readouterr().err
    feed(monkeypatch, b"id,text\n" + b"new,text\n" * 15)
    assert main(command) == 0
    assert [line["id"] for line in json_lines(Path("out.jsonl"))] == ["new"] * 15
    feed(monkeypatch, b"id,text\nother,text\n")
    assert main([*command, "--overwrite"]) == 0
    assert [line["id"] for line in json_lines(Path("out.jsonl"))] == ["other"]


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


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("form", ["jsonl", "csv", "lines"])
def test_every_input_with_lines_compressed_or_not(form: str, suffix: str) -> None:
    texts = ["one", "two words", "vier Wörter, ein Satz"]
    content = {
        "jsonl": "".join(json.dumps({"text": text}) + "\n" for text in texts),
        "csv": "text\n" + "".join(f'"{text}"\n' for text in texts),
        "lines": "".join(f"{text}\n" for text in texts),
    }[form]
    write(Path(f"in.x{suffix}"), content)
    command = ["file", f"in.x{suffix}", "--format", form, "--out", "vectors", "--out-format", "npy", *TINY]
    assert main(command) == 0
    with EmbeddingService(TINY[1]) as service:
        np.testing.assert_array_equal(np.load("vectors"), service.encode(texts).vectors)


def test_the_formats_that_are_offered_are_those_there_are() -> None:
    from akidb_embeddings.bulk import outputs, sources
    from akidb_embeddings.cli import file

    assert (file._IN_FORMATS, file._OUT_FORMATS) == (sources.FORMATS, outputs.FORMATS)


def test_rows_of_a_table_refused_by_the_model_are_named_by_their_line() -> None:
    Path("in.csv").write_text(f'text\nshort\n"{"long " * 20}"\nshort\n', encoding="utf-8")
    assert main(["file", "in.csv", "--out", "out.npy", "--truncate", "error", "--max-tokens", "12", *BUNDLED]) == 3
    assert [reject["line"] for reject in json_lines(Path("out.npy.rejects.jsonl"))] == [3]


@pytest.mark.parametrize("name", ["out.npy.json", "out.npy.rejects.jsonl", "out.npy.ids.jsonl"])
def test_the_input_is_never_written_over(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(name).write_text('{"text": "one"}\n', encoding="utf-8")
    assert main(["file", name, "--format", "jsonl", "--out", "out.npy", "--overwrite", *TINY]) == 2
    assert f"--out out.npy would write to {name}, which is the input" in capsys.readouterr().err
    assert Path(name).read_text(encoding="utf-8") == '{"text": "one"}\n'


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.npy"
    write_input(source, 5000)
    with start(source, out, "minilm-l6-v2") as process:
        assert eventually(lambda: list(tmp_path.glob("*.parts/part-000001")))
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=LONG)[1].decode()
    assert process.returncode == 130
    kept = len(list(tmp_path.glob("*.parts/part-*")))
    assert f"interrupted. The first {50 * kept:,} rows are kept in {out}.parts; the same command goes on" in told
    assert "Traceback" not in told


def test_ctrl_c_ends_it_also_while_it_waits_for_standard_input(tmp_path: Path) -> None:
    command = [*PROCESS, "file", "-", "--out", str(tmp_path / "out.npy"), *TINY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert eventually(lambda: list(tmp_path.glob("*.parts/job.json")))
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        told = process.stderr.read().decode()
        assert process.wait(LONG) == 130
    assert told == "akidb-embed: interrupted. Nothing is finished yet; the same command begins anew.\n"


def test_a_second_process_on_the_same_output_is_refused(tmp_path: Path) -> None:
    command = [*PROCESS, "file", "-", "--out", str(tmp_path / "out.npy"), *TINY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert eventually(lambda: list(tmp_path.glob("*.parts/job.json")))
        second = run("file", "-", "--out", str(tmp_path / "out.npy"), *TINY, stdin=b"text\n")
        assert second.returncode == 2
        assert b"another process is writing" in second.stderr
        process.communicate(b"text\n", timeout=LONG)
    assert process.returncode == 0
    assert np.load(tmp_path / "out.npy").shape == (1, 32)


def test_a_terminal_gets_a_bar_with_rates_and_time_left(tmp_path: Path) -> None:
    write_input(tmp_path / "in.jsonl", 2000)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    command = [*PROCESS, "file", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.npy"), *TINY]
    with subprocess.Popen(command, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 4096):
                seen += piece
        except OSError:  # the other end is closed
            pass
        assert process.wait(LONG) == 3
    os.close(ours)
    assert b"100%|" in seen
    assert b"texts/s" in seen
    assert b"tokens/s" in seen
    assert b" left" in seen


def test_there_is_no_bar_in_a_pipe(tmp_path: Path) -> None:
    write_input(tmp_path / "in.jsonl", 30)
    done = run("file", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.npy"), *TINY)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"\r" not in done.stderr
    assert done.stderr.count(b"\n") == 3
