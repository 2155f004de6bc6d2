"""Three models, memory for two, and eight clients that ask for all of them at random, in a process of its own."""

import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingConfig, EmbeddingService
from akidb_embeddings.pool.opening import expected_bytes
from akidb_embeddings.vectors.finish import Vectors
from bench.turns import TEXTS, ask
from tests.fixtures import BUNDLED
from tests.server.calls import address, get, metric
from tests.server.conftest import Running, server_process

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

NAMES = ("one", "two", "three")
_SECONDS, _UNDISTURBED_SECONDS = 60.0, 10.0
# What one micro-batch of the bundled model takes at its peak, and what reading a file takes beside it.
_WORKING_BYTES = 60_000_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The bundled model three times."""
    root = tmp_path_factory.mktemp("models")
    return [Path(shutil.copytree(BUNDLED, root / name)) for name in NAMES]


@pytest.fixture(scope="module")
def expected() -> Vectors:
    with EmbeddingService("minilm-l6-v2") as service:
        return service.embed(TEXTS)


def test_models_take_turns_below_the_ceiling(folders: list[Path], expected: Vectors) -> None:
    size = expected_bytes(EmbeddingConfig(model_name=str(folders[0])))
    limit = 2 * size + size // 2
    with server_process(*_flags(folders[:2])) as server:
        undisturbed = ask(address(server.url), NAMES[:2], _UNDISTURBED_SECONDS, expected)
        two_loaded = metric(server.url, "akidb_memory_bytes")
    with server_process(*_flags(folders), "--load", "lazy", "--max-memory", str(limit)) as server:
        watch = Watch(server)
        seen = ask(address(server.url), NAMES, _SECONDS, expected)
        most = watch.end()
        loads = metric(server.url, "akidb_model_loads_total")
    figures = (
        f"{loads:.0f} loads, {len(seen.loaded)} and {len(seen.waited)} answers, {len(seen.refused)} refused; most "
        f"{most.models / 1e6:.0f} of {limit / 1e6:.0f} MB, resident {most.resident / 1e6:.0f}, with two loaded "
        f"{two_loaded / 1e6:.0f}"
    )
    assert not undisturbed.wrong + seen.wrong, figures
    assert not undisturbed.refused, figures
    assert all("was not loaded within" in reason for reason in seen.refused), figures
    assert loads > 2 * len(NAMES), figures
    assert most.models <= limit, figures
    assert most.resident <= two_loaded + _WORKING_BYTES, figures
    assert seen.loaded, figures  # bench/test_turns.py says how fast they were


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
