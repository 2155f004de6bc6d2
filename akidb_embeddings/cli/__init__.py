"""The command line, ``akidb-embed``: one module per subject, each with its ``Command``s.

``embed``, ``file`` (with ``file_arguments``), ``similarity``, ``rerank``, ``evaluate``, ``serve``, ``service`` (with
``service_checks``), ``models``, ``convert``, ``configuration``, ``diagnose`` and ``bench`` have the commands. They
share ``command``, the ``options`` for models, ``texts``, ``output``, ``output_file``, ``downloads``, ``kinds`` and
``near_misses``.

Nothing here imports MLX, a tokenizer or the hub's client before a command runs, so that ``--help`` is fast.
"""

import contextlib
import logging
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence

from akidb_embeddings import __version__
from akidb_embeddings.cli import (
    bench,
    configuration,
    convert,
    diagnose,
    embed,
    evaluate,
    file,
    models,
    rerank,
    serve,
    service,
    similarity,
)
from akidb_embeddings.cli.command import PROGRAM, Command, Parser
from akidb_embeddings.cli.near_misses import check_first_text, near_command
from akidb_embeddings.cli.output import print_line, print_message
from akidb_embeddings.cli.texts import stdin_is_terminal
from akidb_embeddings.errors import ConfigurationError, EmbeddingError, InputError, Names

COMMANDS: Mapping[str, Command] = {
    "embed": embed.EMBED,
    "file": file.FILE,
    "similarity": similarity.SIMILARITY,
    "rerank": rerank.RERANK,
    "models": models.MODELS_COMMAND,
    "download": models.DOWNLOAD,
    "info": models.INFO,
    "clear": models.CLEAR,
    "config": configuration.CONFIG,
    "doctor": diagnose.DOCTOR,
    "convert": convert.CONVERT,
    "verify": diagnose.VERIFY,
    "evaluate": evaluate.EVALUATE,
    "serve": serve.SERVE,
    "service": service.SERVICE,
    "bench": bench.BENCH,
}
_USAGE_ERRORS = (ConfigurationError, InputError)
# The exit codes that a shell reports for a program ended by a closed pipe (SIGPIPE, 13) or Ctrl-C (SIGINT, 2).
_BROKEN_PIPE = 128 + 13
_INTERRUPTED = 128 + 2

_USAGE = f"{PROGRAM} [embed] [TEXT ...] [OPTIONS]\n       {PROGRAM} COMMAND [...]"
_EPILOG = """\
A first argument that is not a command is a text to embed. What comes after -- is always a text: `akidb-embed -- models`
embeds the name of a command, `akidb-embed -- notes.txt` the name of a file. Scripts that embed any text should use it.

exit codes: 0 done; 1 something failed; 2 wrong usage, configuration or input; 3 file: done, but some rows were
rejected; 130 Ctrl-C; 141 closed pipe

examples:
  akidb-embed "some text"
  akidb-embed --model minilm-l6-v2 --prompt document < lines.txt > vectors.jsonl
  akidb-embed similarity "a cat" "a kitten" --model minilm-l6-v2
  akidb-embed doctor"""


def run() -> int:
    """Run the command line as a program. Returns the exit code.

    After Ctrl-C it ends at once: Python would wait for the threads of a download.
    """
    code = main()
    if code == _INTERRUPTED:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, or it is closed
                stream.flush()
        os._exit(code)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; None for those of the process.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with _logging_to_stderr():
        try:
            code = _dispatch(arguments)
            sys.stdout.flush()
        except EmbeddingError as error:
            return _report(error)
        except BrokenPipeError:
            _discard_stdout()
            return _BROKEN_PIPE
        except OSError as error:  # a full disk, most likely
            _discard_stdout()
            print_message(f"error: {error}")
            return 1
        except KeyboardInterrupt:
            return _INTERRUPTED
        return code


def _dispatch(arguments: list[str]) -> int:
    try:
        options = _parse(arguments)
    except SystemExit as end:  # argparse has printed help, a version or an error
        return end.code if isinstance(end.code, int) else 2
    try:
        code: int = options.run(options)
    except EmbeddingError as error:
        return _report(error, options.names)
    except SystemExit as end:  # the user does not want what the command would do
        return end.code if isinstance(end.code, int) else 1
    return code


def _report(error: EmbeddingError, names: Names | None = None) -> int:
    """Print an error, with arguments called by the command's options. Returns the exit code."""
    print_message(f"error: {error.message(names or {})}")
    return 2 if isinstance(error, _USAGE_ERRORS) else 1


def _parse(arguments: list[str]) -> Namespace:
    first = arguments[0] if arguments else ""
    if first in COMMANDS:
        options = COMMANDS[first].parse(first, arguments[1:])
        if first == "embed" and "--" not in arguments:
            check_first_text(options.texts, COMMANDS, explicit=True, model=vars(options).get("model_name"))
        return options
    if first in ("-h", "--help", "--version", "help"):
        _main_parser().parse_args(["--help" if first == "help" else first])
    if not arguments and stdin_is_terminal():
        _main_parser().print_help(sys.stderr)
        raise SystemExit(2)
    try:
        options = COMMANDS["embed"].parse("embed", arguments)
    except SystemExit:
        _note_after_wrong_usage(first)
        raise
    if "--" not in arguments:
        if options.texts and options.texts[0] in COMMANDS:
            command = options.texts[0]
            raise InputError(f"put the command first: `{PROGRAM} {command} …`; or `-- {command}` to embed that word")
        check_first_text(options.texts, COMMANDS, explicit=False, model=vars(options).get("model_name"))
    return options


def _note_after_wrong_usage(first: str) -> None:
    """An option that ``embed`` does not have may be one of the command that was meant."""
    near = None if first.startswith("-") else near_command(first, COMMANDS)
    if near:
        print_message(f"{first!r} is not a command; did you mean `{PROGRAM} {near}`?")


def _main_parser() -> ArgumentParser:
    parser = Parser(PROGRAM, _description(), usage=_USAGE, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def _description() -> str:
    commands = "\n".join(f"  {name:<11}{command.summary}" for name, command in COMMANDS.items())
    return f"Text embeddings with MLX.\n\ncommands (`{PROGRAM} COMMAND --help` for more):\n{commands}"


@contextlib.contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Print the library's warnings on stderr, one line each, like the errors."""
    handler = _LineHandler()
    handler.setFormatter(_OneLineFormatter())
    logger = logging.getLogger("akidb_embeddings")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _LineHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print_line(self.format(record))


class _OneLineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{PROGRAM}: {record.levelname.lower()}: {' '.join(record.getMessage().split())}"


def _discard_stdout() -> None:
    """Redirect stdout to the null device, so that Python does not fail when it flushes its buffer at exit."""
    with contextlib.suppress(OSError, ValueError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
