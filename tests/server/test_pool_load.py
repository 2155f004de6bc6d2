"""Three models, memory for two, and eight clients that ask for all of them at random, in a process of its own."""

import random
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings import EmbeddingConfig, EmbeddingService
from akidb_embeddings.pool.opening import expected_bytes
from akidb_embeddings.vectors.finish import Vectors
from tests.fixtures import BUNDLED
from tests.server.calls import Client, get, metric
from tests.server.conftest import Running, server_process

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

NAMES = ("one", "two", "three")
CLIENTS = 8
_SECONDS, _UNDISTURBED_SECONDS = 60.0, 20.0
TEXTS = ["light", "the computer", "names of plants and sugar", "evening, and good words first", "a memory of football"]
# What one micro-batch of the bundled model takes at its peak, and what reading a file takes beside it.
_WORKING_BYTES = 60_000_000


@dataclass
class Seen:
    """What clients saw: seconds of requests whose model was loaded, how many had to wait for it, and refusals."""

    loaded: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def p95(self) -> float:
        """Of the requests whose model was loaded, in seconds."""
        return float(np.percentile(self.loaded, 95))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The bundled model three times."""
    root = tmp_path_factory.mktemp("models")
    return [Path(shutil.copytree(BUNDLED, root / name)) for name in NAMES]


@pytest.fixture(scope="module")
def expected() -> Vectors:
    with EmbeddingService("minilm-l6-v2") as service:
        return service.embed(TEXTS)


def ask(server: Running, names: Sequence[str], seconds: float, expected: Vectors) -> Seen:
    """What clients see that ask for these models at random, each as soon as it has its answer."""
    seen = Seen()

    def client(seed: int) -> None:
        chance = random.Random(seed)
        end = time.monotonic() + seconds
        with Client(server.url) as connection:
            while time.monotonic() < end:
                name, index = chance.choice(names), chance.randrange(len(TEXTS))
                begin = time.monotonic()
                reply = connection.post("/api/embed", {"model": name, "input": TEXTS[index]})
                took = time.monotonic() - begin
                if reply.status == 503:
                    seen.refused.append(reply.body["error"])
                elif reply.status != 200 or reply.body["model"] != name:
                    seen.wrong.append(f"{reply.status}: {reply.body}")
                elif not np.allclose(np.float32(reply.body["embeddings"][0]), expected[index], atol=1e-5):
                    seen.wrong.append(f"{name}: another vector")
                else:
                    (seen.waited if reply.body["load_duration"] else seen.loaded).append(took)

    threads = [threading.Thread(target=client, args=[seed]) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def test_models_take_turns_below_the_ceiling(folders: list[Path], expected: Vectors) -> None:
    size = expected_bytes(EmbeddingConfig(model_name=str(folders[0])))
    limit = 2 * size + size // 2
    with server_process(*_flags(folders[:2])) as server:
        undisturbed = ask(server, NAMES[:2], _UNDISTURBED_SECONDS, expected)
        two_loaded = metric(server.url, "akidb_memory_bytes")
    with server_process(*_flags(folders), "--load", "lazy", "--max-memory", str(limit)) as server:
        watch = Watch(server)
        seen = ask(server, NAMES, _SECONDS, expected)
        most = watch.end()
        loads = metric(server.url, "akidb_model_loads_total")
    figures = (
        f"undisturbed P95 {1e3 * undisturbed.p95:.1f} ms of {len(undisturbed.loaded)}; with {loads:.0f} loads "
        f"{1e3 * seen.p95:.1f} ms of {len(seen.loaded)}, {len(seen.waited)} waited up to "
        f"{max(seen.waited, default=0):.1f} s, {len(seen.refused)} refused; most {most.models / 1e6:.0f} of "
        f"{limit / 1e6:.0f} MB, resident {most.resident / 1e6:.0f}, with two loaded {two_loaded / 1e6:.0f}"
    )
    print(figures)  # noqa: T201  # for whoever runs it with -s
    assert not undisturbed.wrong + seen.wrong, figures
    assert not undisturbed.refused, figures
    assert all("was not loaded within" in reason for reason in seen.refused), figures
    assert loads > 2 * len(NAMES), figures
    assert most.models <= limit, figures
    assert most.resident <= two_loaded + _WORKING_BYTES, figures
    assert seen.loaded, figures  # how fast they were depends on what else the machine does


def _flags(folders: Sequence[Path]) -> list[str]:
    return [part for folder in folders for part in ("--model", str(folder))] + ["--no-access-log"]


@dataclass
class Most:
    """The most that was seen: bytes of the loaded models together, and of the process."""

    models: float = 0.0
    resident: float = 0.0


class Watch:
    """Looks at a server's memory twenty times a second."""

    def __init__(self, server: Running) -> None:
        self._server, self._most, self._ending = server, Most(), threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def end(self) -> Most:
        self._ending.set()
        self._thread.join()
        return self._most

    def _look(self) -> None:
        while not self._ending.wait(0.05):
            told = get(self._server.url, "/v1/models").body["data"]
            held = sum(one["memory_bytes"] or 0 for one in told if one["state"] in ("loaded", "unloading"))
            self._most.models = max(self._most.models, held)
            self._most.resident = max(self._most.resident, metric(self._server.url, "akidb_memory_bytes"))
