"""What goes into ``akidb-embed embed`` and what comes out."""

import io
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

from akidb_embeddings import EmbeddingConfig, EmbeddingService
from akidb_embeddings.cli import embed, main
from akidb_embeddings.errors import InputError
from akidb_embeddings.service.result import EmbeddingResult
from tests.cli.tools import BUNDLED, PROCESS, TINY, feed, run
from tests.fixtures import DATA

Lines = list[dict[str, Any]]


def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_says_everything_of_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["Grüße", "two words", *BUNDLED]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith('{"text": "Grüße", "embedding": [')
    found = [json.loads(line) for line in shown.splitlines()]
    with EmbeddingService("minilm-l6-v2") as service:
        expected = service.encode(["Grüße", "two words"])
    assert [line["text"] for line in found] == ["Grüße", "two words"]
    assert [line["tokens"] for line in found] == expected.token_counts == [5, 4]
    assert [line["truncated"] for line in found] == [False, False]
    assert {line["fingerprint"] for line in found} == {expected.fingerprint}
    np.testing.assert_allclose([line["embedding"] for line in found], expected.vectors, atol=1e-6)


def test_numbers_are_the_shortest_that_give_the_same_float32() -> None:
    vectors = np.array([[1 / 3, -1e-7, 0.0, 1.0], [3e-39, 3.4028235e38, 0.1, -0.0]], dtype=np.float32)
    result = EmbeddingResult(vectors, [1, 2], [False, True], "space")
    written = b"".join(embed._json_lines([(["a", 'b"\n'], result)], vectors[:0])).decode()
    found = [json.loads(line) for line in written.splitlines()]
    assert np.array_equal(np.array([line["embedding"] for line in found], dtype=np.float32), vectors)
    assert "0.33333334, -1e-07, 0.0, 1.0" in written
    assert [(line["text"], line["truncated"]) for line in found] == [("a", False), ('b"\n', True)]


def test_only_given_options_override_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.yaml").write_text("embedding: {model_name: minilm-l6-v2, dimensions: 8, pooling: cls}", encoding="utf-8")
    options = ["--dimensions", "16", "--untrained-dimensions", "--no-normalize", "--max-tokens", "9"]
    assert main(["text", "--config", "own.yaml", *options]) == 0
    config = EmbeddingConfig(
        model_name="minilm-l6-v2",
        dimensions=16,
        untrained_dimensions=True,
        pooling="cls",
        normalize=False,
        max_tokens=9,
    )
    with EmbeddingService(config=config) as service:
        expected = service.encode(["text"])
    (line,) = lines(capsys)
    assert line["fingerprint"] == expected.fingerprint
    np.testing.assert_allclose(line["embedding"], expected.vectors[0], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "prompt"),
    [([], ""), (["--prompt", "query"], "ask: "), (["--prompt", "document"], "tell: "), (["--prompt-text", "x "], "x ")],
)
def test_prompts(options: list[str], prompt: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"embedding": {"model_name": "minilm-l6-v2", "query_prompt": "ask: ", "document_prompt": "tell: "}}
    Path("embedding_config.yaml").write_text(json.dumps(content), encoding="utf-8")
    assert main(["text", *options]) == 0
    with EmbeddingService() as service:
        expected = service.encode([prompt + "text"]).vectors[0]
        fingerprint = service.fingerprint(prompt)
    (line,) = lines(capsys)
    np.testing.assert_allclose(line["embedding"], expected, atol=1e-6)
    assert (line["text"], line["fingerprint"]) == ("text", fingerprint)


@pytest.mark.parametrize("form", ["jsonl", "npy"])
@pytest.mark.parametrize(
    ("options", "prompt"),
    [
        (["--prompt", "STS"], "task: sentence similarity | query: "),
        (["--prompt", "query"], "task: configured | query: "),
        (["--task", "fact checking"], "task: fact checking | query: "),
        ([], ""),
    ],
)
def test_prompts_of_the_model_and_tasks(
    options: list[str], prompt: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gemma = str(DATA / "models" / "tiny-gemma3")
    content = {"embedding": {"model_name": gemma, "task": "configured"}}
    Path("embedding_config.yaml").write_text(json.dumps(content), encoding="utf-8")
    assert main(["text", *options, "--format", form, "--output", "vectors"]) == 0
    with EmbeddingService() as service:
        expected, fingerprint = service.encode([prompt + "text"], prompt="").vectors[0], service.fingerprint(prompt)
    written = Path("vectors").read_bytes()
    if form == "npy":
        np.testing.assert_array_equal(np.load("vectors"), [expected])
        assert fingerprint in capsys.readouterr().err
    else:
        line = json.loads(written)
        np.testing.assert_allclose(line["embedding"], expected, atol=1e-6)
        assert line["fingerprint"] == fingerprint


def test_a_line_of_standard_input_is_a_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, "\ufeffone\r\n\n two \nthr\ree\r\nfour".encode())
    assert main([*TINY]) == 0
    assert [line["text"] for line in lines(capsys)] == ["one", "", " two ", "thr\ree", "four"]


@pytest.mark.parametrize(("content", "texts"), [(b"", []), (b"a\n", ["a"]), (b"a\n\n", ["a", ""]), (b"\n", [""])])
def test_the_last_line_break_ends_a_line_and_begins_none(
    content: bytes, texts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, content)
    assert main(["embed", "-", *TINY]) == 0
    assert [line["text"] for line in lines(capsys)] == texts


def test_arguments_come_before_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, b"from stdin\n")
    assert main(["from arguments", *TINY]) == 0
    assert [line["text"] for line in lines(capsys)] == ["from arguments"]


def test_invalid_bytes_name_their_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    feed(monkeypatch, b"fine\nab\xffc\n")
    assert main([*TINY]) == 2
    assert capsys.readouterr().err == "akidb-embed: error: line 2 is not valid UTF-8: byte 0xff at 3\n"


def test_texts_cut_short_are_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(embed, "_CHUNK", 2)
    texts = ["one two three four five six", "one", "a b c d e f", "two"]
    assert main([*texts, "--max-tokens", "5", *BUNDLED]) == 0
    shown = capsys.readouterr()
    assert [json.loads(line)["truncated"] for line in shown.out.splitlines()] == [True, False, True, False]
    assert shown.err == ("akidb-embed: warning: 2 of 4 texts were cut at 5 tokens; --max-tokens may be up to 256\n")


def test_the_model_s_own_limit_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["word " * 300, *BUNDLED]) == 0
    assert "1 of 1 texts were cut at 256 tokens; that is the model's limit" in capsys.readouterr().err


def test_errors_count_from_the_input_s_first_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ("--truncate", "error", "--max-tokens", "5", *BUNDLED)
    monkeypatch.setattr(embed, "_CHUNK", 2)
    feed(monkeypatch, b"a\nb\nc\none two three four five\n")
    assert main([*limit]) == 2
    assert "akidb-embed: error: line 4 has 7 tokens with its prompt; the limit is 5" in capsys.readouterr().err
    assert main(["a", "one two three four five", *limit]) == 2
    assert "akidb-embed: error: text 2 has 7 tokens" in capsys.readouterr().err


def test_a_text_that_looks_like_an_index_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def encode(self: EmbeddingService, texts: list[str], **settings: object) -> None:
        if texts:
            raise InputError(field="texts", index=1, reason="is 'texts[0]', which gives no tokens.")

    monkeypatch.setattr(EmbeddingService, "encode", encode)
    assert main(["a", "texts[0]", *TINY]) == 2
    assert capsys.readouterr().err == "akidb-embed: error: text 2 is 'texts[0]', which gives no tokens.\n"


def test_npy_is_one_array(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_CHUNK", 2)
    assert main(["a", "b", "c", "--format", "npy", *TINY]) == 0
    shown = capsysbinary.readouterr()
    array = np.load(io.BytesIO(shown.out))
    with EmbeddingService(TINY[1]) as service:
        expected = service.encode(["a", "b", "c"])
    assert (array.dtype, array.shape) == (np.float32, (3, 32))
    np.testing.assert_allclose(array, expected.vectors, atol=1e-6)
    assert shown.err.decode() == f"akidb-embed: float32 [3, 32], fingerprint {expected.fingerprint}\n"


def test_npy_of_nothing_has_the_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b"")
    assert main(["--format", "npy", "--output", "out.npy", *TINY]) == 0
    assert np.load("out.npy").shape == (0, 32)


def test_output_goes_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["text", "--output", "out.jsonl", *TINY]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(Path("out.jsonl").read_text(encoding="utf-8"))["text"] == "text"


def test_a_wrong_option_leaves_the_old_output_alone() -> None:
    Path("out.jsonl").write_text("precious", encoding="utf-8")
    assert main(["text", "--output", "out.jsonl", "--prompt", "poem", *TINY]) == 2
    assert Path("out.jsonl").read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize("name", ["v.jsonl", "v.npy"])
def test_a_command_that_fails_leaves_the_old_output_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it fails after thousands of texts."""
    (tmp_path / name).write_text("old")
    (tmp_path / name).chmod(0o640)
    monkeypatch.setattr(embed, "_CHUNK", 2)
    feed(monkeypatch, b"one\ntwo\nthree\n\xff\n")
    assert main(["--output", str(tmp_path / name), *TINY]) == 2
    assert [file.name for file in tmp_path.glob("v*")] == [name]
    assert (tmp_path / name).read_text() == "old"
    feed(monkeypatch, b"one\ntwo\nthree\n")
    assert main(["--output", str(tmp_path / name), *TINY]) == 0
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o640
    assert [file.name for file in tmp_path.glob("v*")] == [name]


@pytest.mark.parametrize("is_link", [False, True])
def test_the_input_is_not_the_output(
    is_link: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given, output = tmp_path / "texts", tmp_path / "link.jsonl"
    given.write_bytes(b"one\ntwo\n")
    if is_link:
        output.symlink_to(given)
    with given.open("rb") as stream:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        assert main(["--output", str(output if is_link else given), "--format", "jsonl", *TINY]) == 2
    assert "is also the input" in capsys.readouterr().err
    assert given.read_bytes() == b"one\ntwo\n"


def test_a_link_stays_a_link_and_a_device_one(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to("target.jsonl")
    assert main(["one", "--output", str(tmp_path / "link.jsonl"), *TINY]) == 0
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "target.jsonl").read_text().startswith('{"text": "one"')
    assert main(["one", "--output", "/dev/null", *TINY]) == 0
    assert not Path("/dev/null").is_file()


def test_npy_does_not_go_to_a_terminal() -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*PROCESS, "text", "--format", "npy", *TINY], stdout=theirs, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert b"give --output FILE, or redirect" in done.stderr


@pytest.mark.long
def test_input_and_output_stream() -> None:
    """The first stretch is written before the second one is read, so memory does not grow with the input."""
    with subprocess.Popen([*PROCESS, *TINY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for stretch in range(2):
            process.stdin.write(b"".join(b"text %d %d\n" % (stretch, i) for i in range(2048)))
            process.stdin.flush()
            found = [json.loads(process.stdout.readline())["text"] for _ in range(2048)]
            assert found == [f"text {stretch} {i}" for i in range(2048)]
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(30) == 0


@pytest.mark.parametrize(("count", "shown"), [(256, False), (257, True)])
def test_long_input_has_a_progress_bar_on_a_terminal(count: int, shown: bool) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    texts = b"text\n" * count
    done = subprocess.run([*PROCESS, *TINY], input=texts, stdout=subprocess.PIPE, stderr=theirs, timeout=60, check=True)
    os.write(theirs, b"end")
    seen = b""
    while not seen.endswith(b"end"):
        seen += os.read(ours, 4096)
    os.close(theirs)
    os.close(ours)
    assert done.stdout.count(b"\n") == count
    assert (f"{count}/{count}".encode() in seen) == shown
    assert shown or seen == b"end"


@pytest.mark.long
def test_there_is_no_progress_bar_in_a_pipe() -> None:
    done = run(*TINY, stdin=b"text\n" * 300)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("options", "form"),
    [
        (["--output", "out.npy"], "npy"),
        (["--output", "OUT.NPY"], "npy"),
        (["--output", "out.jsonl"], "jsonl"),
        (["--output", "out"], "jsonl"),
        (["--output", "out.bin"], "jsonl"),
        (["--output", "out.bin", "--format", "npy"], "npy"),
        (["--output", "out.npy", "--format", "npy"], "npy"),
    ],
)
def test_the_output_s_name_chooses_the_format(options: list[str], form: str) -> None:
    assert main(["text", *options, *TINY]) == 0
    if form == "npy":
        assert np.load(options[1]).shape == (1, 32)
    else:
        assert json.loads(Path(options[1]).read_bytes())["text"] == "text"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--output", "out.npy", "--format", "jsonl"], "--output out.npy ends in .npy, but --format is jsonl"),
        (
            ["--output", "out.jsonl", "--format", "npy"],
            "--output out.jsonl ends in .jsonl, but --format is npy",
        ),
        (["--output", "out.npy", "--base64"], "--base64 is for JSON lines; npy is binary already"),
        (
            ["--output", "out.parquet"],
            "writes jsonl or npy, not .parquet. `akidb-embed file` writes Parquet",
        ),
        (["--output", "out.jsonl.gz"], "To compress JSON lines, send them to gzip"),
    ],
)
def test_a_name_that_contradicts_the_format_is_refused(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["text", *options, "--model", "nowhere/at-all"]) == 2
    assert told in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("text", [b"a\rb\rc", b"\xef\xbb\xbfone\rtwo\r"])
def test_lines_that_end_with_cr_alone_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: bytes
) -> None:
    """As ``akidb-embed file`` refuses them: they would be one text."""
    feed(monkeypatch, text)
    assert main(["-", *TINY]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Standard input has no line feeds (LF) but carriage returns (CR)" in shown.err
    assert r"Convert them: tr '\r' '\n' < OLD > NEW" in shown.err
    feed(monkeypatch, b"one\r")
    assert main(["-", *TINY]) == 0
    assert [line["text"] for line in lines(capsys)] == ["one"]


def test_json_lines_are_texts_with_a_note(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    feed(monkeypatch, b'{"body": "one"}\n{"body": "two"}\n')
    assert main([*TINY]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out.splitlines()[1])["text"] == '{"body": "two"}'
    assert shown.err == (
        "akidb-embed: note: the first line is a JSON object, and lines are taken as they are. To embed a field of JSON "
        "lines: `akidb-embed file - --text-field NAME --out vectors.jsonl`\n"
    )
