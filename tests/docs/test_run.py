"""The documentation's blocks run as they stand: page by page, in one folder, in their order.

Python blocks are programs, blocks of commands go to bash, and a block with a title is a file. Where a block speaks to
localhost:8080 or localhost:50051, it speaks to a server of the tests.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docs import stand_ins
from tests.docs.pages import COMMANDS, PYTHON, Block, blocks, pages
from tests.docs.workspace import make_workspace
from tests.server.conftest import Running, server_process

# Functions win over programs of the same name.
_FUNCTIONS = """\
set -euo pipefail
stand_in() {{ {python} -I {stand_ins} "$@"; }}
pip() {{ stand_in pip "$@"; }}
make() {{ stand_in make "$@"; }}
git() {{ stand_in git "$@"; }}
curl() {{ stand_in curl "$@"; }}
akidb-embed() {{
    if [ "$1" = serve ] && [ "$*" = "${{*/--help/}}" ]; then shift; stand_in serve "$@"; else {program} "$@"; fi
}}
python() {{ {python} "$@"; }}
python3() {{
    if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && : > "$3/bin/activate"; else {python} "$@"; fi
}}
"""
_ADDRESSES = ("localhost:8080", "localhost:50051")


def is_run(block: Block) -> bool:
    return not block.not_run and not block.run_by and block.language in (*PYTHON, *COMMANDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Running]]:
    """A server that starts when it is asked for. It cuts vectors to any length, as a page says."""
    file = tmp_path_factory.mktemp("server") / "embedding_config.yaml"
    file.write_text("embedding: {untrained_dimensions: true}", encoding="utf-8")
    running: list[Running] = []
    starting = server_process("--model", "minilm-l6-v2", "--config", str(file))

    def start() -> Running:
        if not running:
            running.append(starting.__enter__())
        return running[0]

    yield start
    if running:
        starting.__exit__(None, None, None)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [page for page in pages() if any(map(is_run, blocks(page)))])
def test_every_block_runs(page: str, tmp_path: Path, server: Callable[[], Running]) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    make_workspace(folder)
    for block in blocks(page):
        if block.title and not block.run_by:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif is_run(block):
            run(block, folder, server)


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
        "AKIDB_CACHE_DIR": str(folder.parent / "cache"),
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")])),
    }
