"""deploy/ray-serve.py as it is run: the server's routes, over Ray Serve."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import ray
import yaml
from openai import OpenAI

from akidb_embeddings import EmbeddingService
from tests.conftest import REPOSITORY, eventually
from tests.fixtures import BUNDLED, cosines
from tests.ray.conftest import make_texts

_STARTING = 90.0  # seconds; Ray Serve has a controller, a proxy and replicas to start


@pytest.fixture(scope="module")
def url(one_machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of two replicas with a core each."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    application = {
        "name": "embeddings",
        "route_prefix": "/",
        "import_path": "ray-serve:application",
        "args": {"model": str(BUNDLED), "min_replicas": 2, "max_replicas": 2, "server": {"max_texts": 300}},
    }
    config = {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]}
    file = tmp_path_factory.mktemp("serve") / "serve.yaml"
    file.write_text(yaml.safe_dump(config))
    address = f"http://127.0.0.1:{port}"
    with _running(file), httpx.Client(base_url=address) as client:
        assert eventually(lambda: _answers(client), _STARTING)
        yield address


@contextlib.contextmanager
def _running(config: Path) -> Iterator[None]:
    command = [str(Path(sys.executable).parent / "serve"), "run", "--working-dir", "deploy", str(config)]
    address = ray.get_runtime_context().gcs_address
    environment = {**os.environ, "RAY_ADDRESS": address}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _replicas() -> list[psutil.Process]:
    return [process for process in psutil.Process().children(recursive=True) if _is_replica(process)]


def _is_replica(process: psutil.Process) -> bool:
    try:
        return "ServeReplica" in "".join(process.cmdline())
    except psutil.NoSuchProcess:  # it ended meanwhile; a zombie is one, too
        return False


def test_routes_are_the_servers_and_vectors_the_cores(url: str, minilm: EmbeddingService) -> None:
    texts = make_texts(100)
    answer = httpx.post(f"{url}/embed", json={"texts": texts}, timeout=30).json()
    assert answer["fingerprint"] == minilm.fingerprint()
    assert cosines(np.array(answer["embeddings"]), minilm.embed(texts)).min() >= 0.99999
    with OpenAI(base_url=f"{url}/v1", api_key="unused") as client:
        data = client.embeddings.create(model=BUNDLED.name, input=texts[:3]).data
    assert cosines(np.array([one.embedding for one in data]), minilm.embed(texts[:3])).min() >= 0.99999


def test_refusals_are_the_servers(url: str) -> None:
    answer = httpx.post(f"{url}/embed", json={"texts": ["one"] * 301})
    assert answer.status_code == 422
    assert answer.json()["limit"] == 300


def test_both_replicas_answer_and_a_killed_one_is_replaced(url: str, minilm: EmbeddingService) -> None:
    def ask(text: str) -> list[float]:
        answer = httpx.post(f"{url}/embed", json={"texts": [text]}, timeout=60)
        assert answer.status_code == 200, answer.text
        vector: list[float] = answer.json()["embeddings"][0]
        return vector

    texts = make_texts(200)
    with ThreadPoolExecutor(16) as pool:
        vectors = list(pool.map(ask, texts))
    assert cosines(np.array(vectors), minilm.embed(texts)).min() >= 0.99999
    before = {process.pid for process in _replicas()}
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    assert eventually(lambda: len({one.pid for one in _replicas()} - before) == 1, _STARTING)
    with httpx.Client(base_url=url) as client:
        assert eventually(lambda: _answers(client), _STARTING)
