"""docs/recipes/fastapi.md and docs/recipes/gunicorn.md: the applications, really started as the pages say."""

import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LONG, eventually
from tests.docs.running import background, command_in, write_files

FASTAPI = "docs/recipes/fastapi.md"
GUNICORN = "docs/recipes/gunicorn.md"

pytestmark = pytest.mark.long


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def started(words: list[str], folder: Path, port: int) -> Iterator[Path]:
    """A server as the page starts it, but for its port. Yields the file of its log."""
    with background([word.replace("8000", str(port)) for word in words], folder) as log:
        yield log


def post(port: int, path: str, body: bytes, log: Path) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=body, headers={"Content-Type": "application/json"}
    )
    answers: list[Any] = []

    def answered() -> bool:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(request, timeout=LONG) as response,
        ):
            answers.append(json.load(response))
        return bool(answers)

    assert eventually(answered, 2 * LONG), log.read_text(encoding="utf-8")
    return answers[0]


def test_fastapi_under_uvicorn(tmp_path: Path) -> None:
    write_files(FASTAPI, tmp_path)
    curl = command_in(FASTAPI, "curl")
    port = free_port()
    with started(command_in(FASTAPI, "uvicorn"), tmp_path, port) as log:
        [vector] = post(port, curl[1].removeprefix("localhost:8000"), curl[curl.index("-d") + 1].encode(), log)
    assert len(vector) == 384
    assert "Traceback" not in log.read_text(encoding="utf-8")


def test_fastapi_under_two_workers_of_gunicorn(tmp_path: Path) -> None:
    write_files(FASTAPI, tmp_path)
    words = command_in(GUNICORN, "gunicorn app:app")
    assert words[words.index("--workers") + 1] == "2"
    port = free_port()
    with started(words, tmp_path, port) as log:
        assert eventually(lambda: log.read_text(encoding="utf-8").count("Application startup complete") == 2)
        for _ in range(8):
            [vector] = post(port, "/vectors", b'["one"]', log)
            assert len(vector) == 384
    assert "Traceback" not in log.read_text(encoding="utf-8")


def test_wsgi_under_two_workers_of_gunicorn(tmp_path: Path) -> None:
    write_files(GUNICORN, tmp_path)
    port = free_port()
    with started(command_in(GUNICORN, "gunicorn wsgi"), tmp_path, port) as log:
        for _ in range(8):
            vector = post(port, "/", b"one", log)
            assert isinstance(vector, list)
            assert len(vector) == 384
    assert "Traceback" not in log.read_text(encoding="utf-8")


def test_a_model_that_is_loaded_before_the_fork_says_so(tmp_path: Path) -> None:
    """What the page says of --preload."""
    write_files(GUNICORN, tmp_path)
    with open(tmp_path / "wsgi.py", "a", encoding="utf-8") as file:
        file.write('\n\nshared_service(CONFIG).embed_query("loaded at import")\n')
    port = free_port()
    with started([*command_in(GUNICORN, "gunicorn wsgi"), "--preload"], tmp_path, port) as log:
        assert eventually(lambda: "Listening at" in log.read_text(encoding="utf-8"), 2 * LONG)

        def refused() -> bool:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=b"one", timeout=LONG)
            return "does not survive a fork" in log.read_text(encoding="utf-8")

        assert eventually(refused), log.read_text(encoding="utf-8")
