"""``akidb-embed file``: from files to files of vectors, and what is told on the way."""

import importlib
import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.bulk import INPUT_FORMATS, OUTPUT_FORMATS
from akidb_embeddings.cli import main
from akidb_embeddings.errors import NonFiniteVectorError
from tests.bulk.inputs import write
from tests.bulk.jobs import json_lines, names
from tests.bulk.kill import write_input
from tests.cli.tools import BUNDLED, FIELDS, PROCESS, TEXTS, TINY, run
from tests.conftest import LONG


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


def test_a_link_in_the_output_s_place_is_followed(source: Path) -> None:
    Path("disk").mkdir()
    Path("out.npy").symlink_to("disk/vectors")
    for _ in range(2):
        assert main(["file", str(source), *FIELDS, "--out", "out.npy", *TINY]) == 0
    assert Path("out.npy").is_symlink()
    assert np.load("out.npy").shape == (4, 32)
    assert names(Path("disk")) == ["vectors", "vectors.ids.jsonl", "vectors.json"]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, file systems take valid UTF-8 alone")
def test_names_that_are_not_valid_utf8_are_as_good_as_others(source: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    source.rename(f"{odd}.jsonl")
    for told in (b"4 vectors of 32 dimensions", b"is finished already"):
        finished = run("file", f"{odd}.jsonl", *FIELDS, "--out", f"{odd}.parquet", *TINY)
        assert finished.returncode == 0
        assert told in finished.stderr
    assert b"Rename it, or link to it" in run("file", f"{odd}.parquet", "--out", "other.npy", *TINY).stderr


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
    assert "warning: 2 were rejected; out.jsonl.rejects.jsonl lists them with the reasons" in capsys.readouterr().err
    assert main(["file", str(source), *FIELDS, "--out", "out.jsonl", *TINY]) == 3
    assert "finished already" in capsys.readouterr().err
    assert main(["file", str(source), *FIELDS, "--out", "strict.jsonl", "--strict", *TINY]) == 1
    assert "error: line 5 (id 'no text'): no field 'body'" in capsys.readouterr().err
    assert not list(Path().glob("strict*"))


@pytest.mark.long
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


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_every_output_format_that_is_offered_is_written(form: str) -> None:
    Path("in.txt").write_text("one\ntwo\n")
    assert main(["file", "in.txt", "--out", "vectors", "--out-format", form, *TINY]) == 0
    assert json.loads(Path("vectors.json").read_text())["job"]["out_format"] == form


@pytest.mark.parametrize("form", INPUT_FORMATS)
def test_every_input_format_that_is_offered_is_known(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["file", "missing", "--format", form, "--out", "vectors.npy", *TINY]) == 2
    assert "missing" in capsys.readouterr().err


@pytest.mark.long
def test_rows_of_a_table_refused_by_the_model_are_named_by_their_line() -> None:
    Path("in.csv").write_text(f'text\nshort\n"{"long " * 20}"\nshort\n', encoding="utf-8")
    assert main(["file", "in.csv", "--out", "out.npy", "--truncate", "error", "--max-tokens", "12", *BUNDLED]) == 3
    assert [reject["line"] for reject in json_lines(Path("out.npy.rejects.jsonl"))] == [3]


@pytest.mark.long
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
