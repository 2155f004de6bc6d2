"""What the command line says before a download, and when it asks."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb_embeddings.cli import downloads, main
from akidb_embeddings.errors import WorkerError
from akidb_embeddings.server import run as server_run
from tests.cli.tools import PROCESS, TINY
from tests.fixtures import adapter_path, model_path
from tests.hub_server import HubServer
from tests.task_files import write_beir

REPO = "org/tiny"
RERANKER_REPO, RERANKER = "org/tiny-reranker", model_path("tiny-bert-reranker")
RERANKED = ("evaluate", "--task", "beir", *TINY)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FILES = files_of(Path(TINY[1]))
MODEL = ("--model", REPO)
# Each command that downloads the model it is given.
COMMANDS = (
    ("embed", "text", *MODEL),
    ("text", *MODEL),
    ("similarity", "a", "b", *MODEL),
    ("file", "texts.txt", "--out", "vectors.jsonl", *MODEL),
    ("evaluate", "--task", "pairs.tsv", *MODEL),
    ("convert", REPO, "converted", "--no-quality"),
    ("verify", REPO),
)


class Terminal(io.StringIO):
    """A terminal, with what a user types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(name="hub", autouse=True)
def own_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with one model, which is a large one here; and files that the commands read."""
    monkeypatch.setattr(downloads, "_LARGE_BYTES", 1000)
    Path("texts.txt").write_text("one\ntwo\n", encoding="utf-8")
    Path("pairs.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t1\nc\td\t2\ne\tf\t3\n", encoding="utf-8")
    with HubServer() as server:
        server.add(REPO, FILES)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def types(monkeypatch: pytest.MonkeyPatch, answer: str) -> Terminal:
    """Put the command on a terminal where the user types this. Returns what it shows there."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def fetched(hub: HubServer) -> int:
    return len(hub.sent("tokenizer.json"))


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_no_is_a_clean_end_with_the_alternatives(
    arguments: tuple[str, ...], hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for answer in ("\n", "n\n", "no\n", "", "what?\n"):
        screen = types(monkeypatch, answer)
        assert main(arguments) == 1
        question, end = screen.getvalue().split(" [y/N] ")
        assert question.startswith(f"akidb-embed: {REPO} is not on this machine. Download ")
        assert question.endswith(f" kB from {hub.url}/{REPO}?")
        assert end.strip().startswith("akidb-embed: nothing was downloaded.")
        assert "akidb-embed models" in end
        assert f"`akidb-embed download {REPO}`" in end
        assert ("--model minilm-l6-v2" in end) == ("--model" in arguments)
        assert "error" not in end
        assert "Traceback" not in end
    assert capsys.readouterr().out == ""
    assert fetched(hub) == 0


@pytest.mark.long
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_yes_downloads(arguments: tuple[str, ...], hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = types(monkeypatch, "Y\n")
    assert main(arguments) in (0, 1)  # a random model does not pass every check of ``verify``
    assert screen.getvalue().count("[y/N]") == 1
    assert fetched(hub) == 1
    screen = types(monkeypatch, "")
    main(["text", *MODEL])
    assert "not on this machine" not in screen.getvalue()  # it is here now


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_nobody_is_asked_after_yes(arguments: tuple[str, ...], hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = types(monkeypatch, "")
    main([*arguments, "--yes"])
    shown = screen.getvalue()
    assert shown.startswith(f"akidb-embed: {REPO} is not on this machine; downloading ")
    assert shown.splitlines()[0].endswith(f"from {hub.url}/{REPO}")
    assert "[y/N]" not in shown
    assert fetched(hub) == 1


def test_without_a_terminal_it_goes_on_and_says_so(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["text", *MODEL]) == 0
    note = capsys.readouterr().err.splitlines()[0]
    assert note.startswith(f"akidb-embed: {REPO} is not on this machine; downloading ")
    assert note.endswith("without asking: this is no terminal (--no-download never downloads)")
    assert fetched(hub) == 1


@pytest.mark.long
def test_an_adapter_is_told_and_asked_for_like_a_model(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    hub.add("org/adapter", files_of(adapter_path("tiny-bert-lora")))
    arguments = ["text", *MODEL, "--adapter", "org/adapter"]
    assert main([*arguments, "--no-download"]) == 1
    capsys.readouterr()
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert [line.partition(";")[0] for line in shown.err.splitlines()[:2]] == [
        f"akidb-embed: {name} is not on this machine" for name in (REPO, "org/adapter")
    ]
    assert '"fingerprint": "bert-lora-mean-32-' in shown.out
    assert main(["download", "org/adapter"]) == 0
    assert main(["verify", "org/adapter"]) == 1
    assert "is no whole model but a LoRA adapter, which changes the weights of tiny-bert" in capsys.readouterr().err


def test_a_small_download_is_no_question(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_LARGE_BYTES", 10**6)
    screen = types(monkeypatch, "")
    assert main(["text", *MODEL]) == 0
    assert f"{REPO} is not on this machine; downloading " in screen.getvalue()
    assert "[y/N]" not in screen.getvalue()


@pytest.mark.long
def test_the_explicit_command_tells_the_size_and_does_not_ask(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = types(monkeypatch, "")
    assert main(["download", REPO]) == 0
    assert screen.getvalue().startswith(f"akidb-embed: {REPO}: downloading ")
    assert f" kB from {hub.url}/{REPO}\n" in screen.getvalue()
    screen = types(monkeypatch, "")
    assert main(["download", REPO]) == 0
    assert screen.getvalue() == ""
    assert main(["download", REPO, "--force"]) == 0
    assert f"{REPO}: downloading " in screen.getvalue()


def test_a_model_that_may_not_be_downloaded_is_no_question(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = types(monkeypatch, "y\n")
    assert main(["text", *MODEL, "--no-download"]) == 1
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["text", *MODEL]) == 1
    lines = screen.getvalue().splitlines()
    assert len(lines) == 2
    assert all("error: Model 'org/tiny' is not on this machine" in line for line in lines)
    assert hub.requests == []


def test_the_default_model_offline_is_one_short_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["text"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "`akidb-embed download qwen3-0.6b-4bit`" in shown
    assert "Or use --model minilm-l6-v2, which is bundled" in shown
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert main(["text"]) == 1
    note, error = capsys.readouterr().err.splitlines()
    assert "downloading 335 MB from http://127.0.0.1:1/mlx-community/Qwen3-Embedding-0.6B-4bit-DWQ" in note
    assert "(ConnectError: Connection refused)" in error
    assert "`akidb-embed download qwen3-0.6b-4bit`" in error
    assert "--model minilm-l6-v2" in error


def test_serve_says_the_size_and_goes_on(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def end(*_: object) -> None:
        raise WorkerError("no server here")

    types(monkeypatch, "")
    monkeypatch.setattr(server_run, "Handler", end)
    monkeypatch.setattr("akidb_embeddings.server.observability.logs.configure", lambda *_, **__: None)
    caplog.set_level("INFO")
    assert main(["serve", *MODEL, "--port", "0"]) == 1
    assert f"{REPO}: downloading " in caplog.text
    assert fetched(hub) == 1


def test_bench_asks_before_it_starts(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = types(monkeypatch, "n\n")
    assert main(["bench", "--model", REPO]) == 1
    assert "nothing was downloaded" in screen.getvalue()
    assert fetched(hub) == 0


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_a_real_terminal_is_asked(hub: HubServer) -> None:
    """The registry's size counts, so that the hub need not have the model."""
    ours, theirs = os.openpty()
    with subprocess.Popen([*PROCESS, "text"], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as process:
        seen = b""
        while b"[y/N] " not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, b"n\n")
        output, _ = process.communicate(timeout=30)
    os.close(theirs)
    os.close(ours)
    assert (process.returncode, output) == (1, b"")
    assert b"Download 335 MB from " in seen
    assert hub.requests == []


# Those that take embedding models alone.
@pytest.mark.parametrize("command", COMMANDS[:-2], ids=lambda command: command[0])
def test_a_reranker_is_refused_before_anything_is_said_of_a_download(
    command: tuple[str, ...], hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bge-reranker-base" if argument == REPO else argument for argument in command]
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert "is 'bge-reranker-base', a reranker: " in shown
    assert "downloading" not in shown
    assert shown.count("\n") == 1
    assert hub.requests == []


@pytest.mark.parametrize(
    "arguments",
    [("rerank", "q", "a", "b", "--model", RERANKER_REPO), (*RERANKED, "--rerank", RERANKER_REPO)],
    ids=["rerank", "evaluate"],
)
def test_a_reranker_is_asked_about_like_any_model(
    arguments: tuple[str, ...], hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add(RERANKER_REPO, files_of(RERANKER))
    write_beir(Path("beir"))
    screen = types(monkeypatch, "n\n")
    assert main(arguments) == 1
    question, end = screen.getvalue().split(" [y/N] ")
    assert question.startswith(f"akidb-embed: {RERANKER_REPO} is not on this machine. Download ")
    assert end.strip() == (
        "akidb-embed: nothing was downloaded. `akidb-embed models` lists other rerankers; `akidb-embed download "
        f"{RERANKER_REPO}` downloads this one, and --yes does it without asking"
    )
    assert (capsys.readouterr().out, fetched(hub)) == ("", 0)
    types(monkeypatch, "y\n")
    assert main(arguments) == 0
    assert fetched(hub) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rerank", "q", "a", "--model", "qwen3-0.6b-4bit"), "--model is 'qwen3-0.6b-4bit', an embedding model"),
        ((*RERANKED, "--rerank", "qwen3-0.6b-4bit"), "--rerank is 'qwen3-0.6b-4bit', an embedding model"),
    ],
)
def test_an_embedding_model_is_no_reranker_and_is_refused_before_anybody_is_asked(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_beir(Path("beir"))
    screen = types(monkeypatch, "y\n")
    assert main(arguments) == 2
    assert message in screen.getvalue()
    assert "[y/N]" not in screen.getvalue()
