"""Running a block of the documentation: a folder for its page, the environment, and stand-ins for some programs."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.conftest import LONG, REPOSITORY
from tests.docs import stand_ins
from tests.docs.pages import COMMANDS, PYTHON, Block, blocks
from tests.docs.workspace import make_workspace, write_cache
from tests.server.conftest import Running

# Functions win over programs of the same name.
_FUNCTIONS = """\
set -euo pipefail
stand_in() {{ {python} -I {stand_ins} "$@"; }}
pip() {{ stand_in pip "$@"; }}
make() {{ stand_in make "$@"; }}
git() {{ stand_in git "$@"; }}
curl() {{ stand_in curl "$@"; }}
akidb-embed() {{
    if [ "${{1-}}" = serve ] && [ "$*" = "${{*/--help/}}" ]; then shift; stand_in serve "$@"; else {program} "$@"; fi
}}
python() {{ {python} "$@"; }}
python3() {{
    if [ "${{1-}} ${{2-}}" = "-m venv" ]; then mkdir -p "$3/bin" && : > "$3/bin/activate"; else {python} "$@"; fi
}}
"""
_ADDRESSES = ("localhost:8080", "localhost:50051")


def is_run(block: Block) -> bool:
    return not block.not_run and not block.run_by and block.language in (*PYTHON, *COMMANDS)


def folder_for(folder: Path) -> Path:
    """A folder with what a page's blocks need before the first of them."""
    folder.mkdir(exist_ok=True)
    make_workspace(folder)
    write_cache(folder.parent / "cache")
    return folder


def write_files(page: str, folder: Path) -> None:
    """Write the files that a page shows: its blocks with a title."""
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")


def command_in(page: str, start: str) -> list[str]:
    """The words of the command in a page that starts with these words."""
    lines = [line for block in blocks(page) if block.language == "sh" for line in block.text.splitlines()]
    [line] = [line for line in lines if line.startswith(start)]
    return shlex.split(line, comments=True)


@contextlib.contextmanager
def background(command: Sequence[str], folder: Path) -> Iterator[Path]:
    """A program of Python that runs until it is ended, in this folder. Yields the file of its log."""
    log = folder / "log"
    with (
        open(log, "wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, env=environment_in(folder), stdout=output, stderr=output,
            start_new_session=True,
        ) as process,
    ):  # fmt: skip
        try:
            yield log
        finally:
            process.terminate()  # alone: it ends its workers itself
            try:
                process.wait(LONG)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def run(block: Block, folder: Path, server: Callable[[], Running]) -> None:
    """Run a block as a reader would.

    Raises:
        AssertionError: It fails, or writes nothing but a traceback.
    """
    text, environment = block.text, environment_in(folder)
    if any(address in text for address in _ADDRESSES):
        running = server()
        environment["DOCS_SERVER"] = running.url.removeprefix("http://")
        if block.language in PYTHON:
            for address, now in zip(_ADDRESSES, (environment["DOCS_SERVER"], running.target), strict=True):
                text = text.replace(address, now)
    if block.language in PYTHON:
        command = [sys.executable, "-c", text]
    else:
        program = f"{sys.executable} -m akidb_embeddings"
        functions = _FUNCTIONS.format(python=sys.executable, stand_ins=stand_ins.__file__, program=program)
        command = ["bash", "-c", functions + text]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert not done.returncode, f"{block}:\n{block.text}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"


def environment_in(folder: Path) -> dict[str, str]:
    """No network, and nothing of the person who runs the tests."""
    scripts = sysconfig.get_path("scripts")
    return os.environ | {
        "HOME": str(folder.parent),
        "HF_HUB_OFFLINE": "1",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "AKIDB_CACHE_DIR": str(folder.parent / "cache"),
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")])),
    }
