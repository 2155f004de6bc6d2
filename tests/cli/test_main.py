"""Which command runs, how errors look, and what the exit codes are."""

import contextlib
import logging
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb_embeddings import __version__
from akidb_embeddings.cli import COMMANDS, main
from akidb_embeddings.cli.output import print_message
from akidb_embeddings.errors import OverloadError
from akidb_embeddings.service.service import EmbeddingService
from tests.cli.tools import BUNDLED, PROCESS, TINY, feed, run

INTERRUPTIBLE = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); " + (
    "from akidb_embeddings.cli import main; sys.exit(main())"
)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Return the ends of a terminal: the one to read what was shown, and the one to give to a process."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    for end in (ours, theirs):
        with contextlib.suppress(OSError):
            os.close(end)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"akidb-embed {__version__}\n"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in shown
        assert command.summary in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: akidb-embed {command}")
    assert f"example:\n  akidb-embed {'' if command == 'embed' else command}" in shown


def test_help_tells_defaults_and_allowed_values(capsys: pytest.CaptureFixture[str]) -> None:
    main(["embed", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("{auto,mean,cls,last}", "(default: 512", "1 to 128 (default: 32)", "(default: qwen3-0.6b-4bit)"):
        assert words in shown


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from akidb_embeddings.cli import COMMANDS, main; main(['--help']); main(['--version']); "
        "[main([command, '--help']) for command in COMMANDS]; "
        "heavy = {'mlx', 'numpy', 'tokenizers', 'huggingface_hub', 'tqdm', 'psutil'} & set(sys.modules); "
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("usage: akidb-embed") == 1 + len(COMMANDS)


def test_no_arguments_on_a_terminal_show_help(terminal: tuple[int, int]) -> None:
    done = subprocess.run(PROCESS, stdin=terminal[1], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: akidb-embed")


def test_no_texts_on_a_terminal_are_an_error(terminal: tuple[int, int]) -> None:
    done = subprocess.run(
        [*PROCESS, "embed", *BUNDLED], stdin=terminal[1], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("akidb-embed: error: no texts: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["models", *TINY],
        ["embed", "models", *TINY],
        [*TINY, "--", "models"],
        ["--", "models", "--help"],
        ["embed", *TINY, "models", "--", "-"],
    ],
)
def test_which_arguments_are_texts(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AKIDB_CONFIG", str(Path("tiny.yaml").absolute()))
    Path("tiny.yaml").write_text(f"embedding:\n  model_name: {TINY[1]}\n", encoding="utf-8")
    code = main(arguments)
    shown = capsys.readouterr()
    if arguments[0] == "models":  # the command, which has no --model
        assert (code, shown.out) == (2, "")
        return
    wanted = [word for word in arguments if word in ("models", "--help", "-")]
    texts = [line.partition('", "embedding"')[0] for line in shown.out.splitlines()]
    assert (code, texts) == (0, [f'{{"text": "{word}' for word in wanted])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["text", "--colour"], 2, "unrecognized arguments: --colour (see `akidb-embed embed --help`)"),
        (["text", "--max-tokens", "many"], 2, "invalid int value: 'many'"),
        (["text", "--mod", "x"], 2, "unrecognized arguments: --mod"),
        (["text", "--prompt", "query", "--prompt-text", "x"], 2, "not allowed with argument --prompt"),
        (["text", "--prompt-text", "x", "--task", "t"], 2, "argument --task: not allowed with argument --prompt-text"),
        (["similarity", "a", "b", "--prompt", "x", "--task", "t"], 2, "argument --task: not allowed with argument"),
        (["text", *BUNDLED, "--task", "find"], 2, "task is 'find', but this model's query prompt is ''"),
        (["similarity", "a", "b", *BUNDLED, "--task", " "], 2, "task is ' '; an instruction in words is expected"),
        (["text", *BUNDLED, "--dimensions", "64"], 2, "dimensions is 64; this model was trained for 384 alone"),
        (["text", *BUNDLED, "--batch-size", "0"], 2, "--batch-size is 0; it must be"),
        (["text", *BUNDLED, "--dimensions", "999"], 2, "dimensions is 999; this model gives 384 at most"),
        (["text", *BUNDLED, "--prompt", "poem"], 2, "this model has 'document', 'query'"),
        (["text", "--config", "nowhere.yaml"], 2, "nowhere.yaml: cannot be read"),
        (["text", *BUNDLED, "--output", "no/such/folder"], 2, "--output no/such/folder cannot be written"),
        (["text", "--model", "minilm"], 1, "Unknown model 'minilm'. Did you mean 'minilm-l6-v2' (bundled"),
        (["text", "--no-download"], 1, "'qwen3-0.6b-4bit' is not on this machine"),
    ],
)
def test_errors_are_one_line(arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("akidb-embed: error: ")
    assert words in shown.err
    assert shown.err.count("\n") == 1


def test_an_error_of_several_lines_becomes_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def encode(self: EmbeddingService, *arguments: object, **settings: object) -> None:
        raise OverloadError("one\n  two")

    monkeypatch.setattr(EmbeddingService, "encode", encode)
    assert main(["text", *TINY]) == 1
    assert capsys.readouterr().err == "akidb-embed: error: one two\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmbeddingService, "encode", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["text", *TINY])


def test_warnings_of_the_library_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def encode(self: EmbeddingService, *arguments: object, **settings: object) -> None:
        logging.getLogger("akidb_embeddings.engine.engine").warning("slow\nindeed")
        raise OverloadError("full")

    monkeypatch.setattr(EmbeddingService, "encode", encode)
    handlers = list(logging.getLogger("akidb_embeddings").handlers)
    main(["text", *TINY])
    assert capsys.readouterr().err == "akidb-embed: warning: slow indeed\nakidb-embed: error: full\n"
    assert logging.getLogger("akidb_embeddings").handlers == handlers


def test_a_real_process_reports_errors_the_same_way() -> None:
    done = run("text", "--model", "nothing-of-the-sort")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"akidb-embed: error: Unknown model 'nothing-of-the-sort'")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.long
def test_a_closed_pipe_ends_quietly() -> None:
    with subprocess.Popen(
        [*PROCESS, *TINY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"text\n" * 2048)
        process.stdin.flush()
        assert process.stdout.readline().startswith(b'{"text": "text"')
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"text\n" * 4096)
            process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


def test_a_pipe_that_is_closed_from_the_start_ends_quietly() -> None:
    """What little there is to write stays in Python's buffer, which must not be flushed once more at exit."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PROCESS, "config"], stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["config"], ["text", *TINY]])
def test_a_full_disk_is_an_error_of_one_line(arguments: list[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is Linux's")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*PROCESS, *arguments], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == b"akidb-embed: error: [Errno 28] No space left on device\n"


@pytest.mark.long
def test_interruption_leaves_no_trace() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *TINY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"text\n" * 2048)
        process.stdin.flush()
        for _ in range(2048):
            assert process.stdout.readline()
        process.send_signal(signal.SIGINT)  # while it waits for more
        assert process.wait(30) == 130
        assert process.stderr.read() == b""


def test_standard_input_of_a_later_pipe_is_read_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of a main() for the next: it can be called again in one process."""
    for _ in range(2):
        feed(monkeypatch, b"text\n")
        assert main([*TINY]) == 0


def test_a_command_behind_options_is_not_silently_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BUNDLED, "similarity", "a cat", "a kitten"]) == 2
    assert "put the command first" in capsys.readouterr().err
    assert main([*BUNDLED, "--", "similarity"]) == 0
    assert main(["help"]) == 0


def test_a_message_does_not_end_up_in_a_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    from tqdm import tqdm

    with tqdm(total=2, file=sys.stderr, bar_format="a bar") as bar:
        print_message("told")
        bar.update()
    assert "\nakidb-embed: told\n" in capsys.readouterr().err.replace("\r", "\n")
