"""A real server on the GPU, asked at fixed times whatever it does: nothing lost, every vector the right one."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from threading import local

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.registry import BUNDLED
from bench.open_loop import Outcome, offer, precise_loop
from tests.fixtures import cosines
from tests.golden.texts import counted_text
from tests.gpu.device import ENVIRONMENT, STAND_IN

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

_MODULES = ("fastapi", "uvicorn", "httptools", "orjson", "grpc", "grpc_health", "grpc_reflection", "prometheus_client")

RATES = (4,) if STAND_IN else (50, 200, 1000)
SECONDS = 3 if STAND_IN else 5
CLIENTS = 64
LENGTHS = (2, 5, 9, 14) if STAND_IN else (2, 5, 9, 14, 23, 60, 180)
TEXTS = [f"{seed} {counted_text(length, seed)}" for seed in range(8) for length in LENGTHS]


def ask(url: str, rate: float) -> tuple[Outcome, dict[int, object]]:
    """Queries and pages, one a request, at so many a second; the answers by the number of their text."""
    from tests.server.calls import Client

    connections, clients, answers = local(), list[Client](), dict[int, object]()

    def post(index: int) -> None:
        if not hasattr(connections, "client"):
            connections.client = Client(url)
            clients.append(connections.client)
        reply = connections.client.post("/embed", {"texts": [TEXTS[index % len(TEXTS)]]})
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {reply.body}")
        answers[index % len(TEXTS)] = reply.body["embeddings"][0]

    async def run() -> Outcome:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(CLIENTS) as pool:
            return await offer(lambda index: loop.run_in_executor(pool, post, index), rate, SECONDS)

    with contextlib.ExitStack() as stack, asyncio.Runner(loop_factory=precise_loop) as runner:
        outcome = runner.run(run())
        for client in clients:
            stack.enter_context(client)
    return outcome, answers


def test_a_server_under_load_has_no_errors(minilm: EmbeddingService) -> None:
    for module in _MODULES:
        pytest.importorskip(module, reason="the server's packages are not installed: akidb-embeddings[server]")
    from tests.server.conftest import server_process

    environment = {**ENVIRONMENT, "AKIDB_SERVER_MAX_QUEUED_TOKENS": "1000000"}
    expected = minilm.embed(TEXTS)
    with server_process("--model", BUNDLED, environment=environment, program="tests.gpu.program") as server:
        for rate in RATES:
            outcome, answers = ask(server.url, rate)
            assert outcome.errors == []
            assert len(outcome.latencies) == outcome.offered
            places = sorted(answers)
            vectors = np.array([answers[place] for place in places])
            assert cosines(vectors, expected[places]).min() >= 0.9999
    assert not [line for line in server.lines if "Traceback" in line], server.log
