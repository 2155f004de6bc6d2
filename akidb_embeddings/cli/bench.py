"""``akidb-embed bench``: the quick form of the benchmark suite, which is in the repository and not in the package."""

import contextlib
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.downloads import add_yes_option, confirm_download
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import EmbeddingError
from akidb_embeddings.extras import require

_REPOSITORY = "https://github.com/akidb/akidb-embeddings"
_RANDOM = "random:"
# This program's exit codes for pytest's: success, interruption, wrong usage. All others are failures.
_EXIT_CODES = {0: 0, 2: 130, 4: 2}


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="a registry name, a repository, a folder, random:qwen3-0.6b-4bit or random:gemma-300m-4bit "
        "(default: the configured model if it is on this machine, else the bundled one)",
    )
    parser.add_argument("--corpus", metavar="FILE", help='texts: JSON lines with "text", or plain lines')
    parser.add_argument("--peers", action="store_true", help="compare with other libraries, side by side")
    parser.add_argument(
        "--peers-python", metavar="PYTHON", help="the interpreter that has the other libraries (default: this one)"
    )
    parser.add_argument("--enforce-targets", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--soak", metavar="MINUTES", type=float, help="duration of the memory test")
    parser.add_argument(
        "--full", action="store_true", help="the whole suite: half an hour with the bundled model on two cores"
    )
    add_yes_option(parser)
    parser.add_argument("pytest", nargs="*", metavar="-- OPTION", help="options after -- are passed to pytest")


def _run(options: Namespace) -> int:
    if options.model and not options.model.startswith(_RANDOM):
        confirm_download(EmbeddingConfig.resolve(None, None, model_name=options.model), options)
    command = [sys.executable, "-m", "pytest", str(_suite()), *_arguments(options)]
    return _EXIT_CODES.get(_execute(command), 1)


def _execute(command: list[str]) -> int:
    """Run a command and return its exit code. Ctrl-C reaches it too: it then reports what it has, and exits."""
    with subprocess.Popen(command) as process:
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()


def _arguments(options: Namespace) -> list[str]:
    """The suite's own options, then those for pytest."""
    switches = {"--quick": not options.full, "--peers": options.peers, "--enforce-targets": options.enforce_targets}
    values = {
        "--model": options.model,
        "--corpus": options.corpus,
        "--peers-python": options.peers_python,
        "--soak": options.soak,
    }
    arguments = [name for name, given in switches.items() if given]
    arguments += [f"{name}={value}" for name, value in values.items() if value is not None]
    return [*arguments, *options.pytest]


def _suite() -> Path:
    """The folder of the suite.

    Raises:
        EmbeddingError: The suite or a package that it needs is missing; the message says how to get it.
    """
    root = Path(__file__).parent.parent.parent
    if not (root / "bench" / "conftest.py").is_file():
        raise EmbeddingError(
            f"the benchmark suite is not part of the installed package. Get it with: git clone {_REPOSITORY} && "
            "cd akidb-embeddings && make bench BENCH_ARGS=--quick"
        )
    require("bench", "The benchmark suite")
    return root / "bench"


BENCH = Command(
    "measure latency, throughput, memory and start-up, in two to four minutes",
    _add_arguments,
    _run,
    "akidb-embed bench --model minilm-l6-v2",
    """\
Runs the quick form of the benchmark suite in this package's repository; without a clone of it, says how to get one. The
report is printed, and written to bench/reports as JSON, Markdown and one HTML page. Exits with 1 if a measurement
fails or, with --enforce-targets, if a target is missed.""",
)
