"""Fixtures and helpers that several test modules share."""

import asyncio
import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

# Many tests compare vectors to the last bit. The number of BLAS threads decides it, and other programs would decide the
# number. Each of several workers has its share of the cores, and so have the programs that its tests start: the threads
# of a matrix product spin until all are done, which takes long where others have the cores.
os.environ.setdefault(
    "OPENBLAS_NUM_THREADS",
    str(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))),
)

from akidb_embeddings import EmbeddingConfig, EmbeddingResult, EmbeddingService
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.engine.engine import Engine
from akidb_embeddings.engine.pipeline import Model
from akidb_embeddings.engine.planner import MicroBatch
from akidb_embeddings.service import shared
from akidb_embeddings.service.sharing import SharedServices
from akidb_embeddings.vectors.finish import Vectors
from tests.fixtures import BUNDLED

# Parity is promised for float32. On a machine with a GPU the tests therefore compute on its CPU, but for
# ``test_parity.test_the_machines_own_backend``, which takes what is there.
os.environ.setdefault("AKIDB_BACKEND", "cpu")

# A shell without job control has what it runs in the background ignore Ctrl-C, and so would the tests' own children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent
T = TypeVar("T")

LONG = 30.0  # seconds; nothing that works takes so long, and what hangs fails


def pytest_collection_finish() -> None:
    """Keep thousands of collected tests out of every garbage collection, which would take half a second each."""
    gc.collect()
    gc.freeze()


def row(*ids: int) -> NDArray[np.int32]:
    return np.array(ids, dtype=np.int32)


def vector_of(ids: NDArray[np.int32], dimension: int = 4) -> Vectors:
    """What ``FakeModel`` makes of a row: a function of its ids and their order, and of nothing else."""
    places = np.arange(1, ids.size + 1)
    return np.resize([ids.size, ids[0], ids[-1], (ids * places).sum() % 9973], dimension).astype(np.float32)


class FakeModel:
    """A model with known vectors. A row with an id in ``faults`` raises, one with an id in ``spoilt`` gives NaN.

    Between ``hold`` and ``release`` a forward stays inside; ``entered`` waits until the next one has begun.
    """

    def __init__(self, streams: int = 1, tokens_per_batch: int = 64, dimension: int = 4) -> None:
        self.streams, self.tokens_per_batch, self.dimension = streams, tokens_per_batch, dimension
        self.obeys_batch_size, self.window_scale, self.ahead = True, 1, 0
        self.few_shapes = self.is_gpu = False
        self.weight_bytes = 0
        self.lone_threads = self.thread_drops = 0
        self.faults: dict[int, BaseException] = {}
        self.spoilt: set[int] = set()
        self.forwards: list[list[MicroBatch]] = []
        self.threads: list[threading.Thread] = []
        self.closed = 0
        self._gate, self._begun = threading.Event(), threading.Semaphore(0)
        self._gate.set()

    def hold(self) -> None:
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    def entered(self) -> None:
        assert self._begun.acquire(timeout=LONG)

    @property
    def rows(self) -> list[list[int]]:
        """Every row that was computed, without padding."""
        batches = [batch for batches in self.forwards for batch in batches]
        return [ids.tolist() for batch in batches for ids in _rows(batch)]

    def start(self, batches: Sequence[MicroBatch]) -> Callable[[], list[Vectors]]:
        """A forward that is done when its vectors are asked for."""
        return lambda: self.forward(batches)

    def forward(self, batches: Sequence[MicroBatch]) -> list[Vectors]:
        self.threads.append(threading.current_thread())
        self.forwards.append(list(batches))
        self._begun.release()
        assert self._gate.wait(LONG)
        return [np.stack([self._vector(ids) for ids in _rows(batch)]) for batch in batches]

    def close(self) -> None:
        self.threads.append(threading.current_thread())
        self.closed += 1

    def _vector(self, ids: NDArray[np.int32]) -> Vectors:
        for fault in (self.faults[token] for token in ids.tolist() if token in self.faults):
            raise fault
        vector = vector_of(ids, self.dimension)
        return vector * np.float32("nan") if self.spoilt & set(ids.tolist()) else vector


def _rows(batch: MicroBatch) -> list[NDArray[np.int32]]:
    return [ids[:length] for ids, length in zip(batch.ids, batch.lengths, strict=True)]


def mlx_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "akidb-mlx"}


def eventually(condition: Callable[[], object], seconds: float = LONG) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def background(call: Callable[[], T]) -> "Future[T]":
    """The outcome of a call on a thread of its own; one that hangs does not keep the test run from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def at_once(call: Callable[[int], T], callers: int) -> list[T]:
    """The results of as many calls at once, each on its own thread and with its number."""
    return [one.result(LONG) for one in [background(partial(call, caller)) for caller in range(callers)]]


def run_python(code: str, *arguments: str, seconds: float = LONG) -> str:
    """What a Python program of its own prints. It must end by itself, with exit code 0, and so must its children."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"The program hangs: {code}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # children included, for they hold the pipes open
    assert process.returncode == 0, errors
    return output


def submit(engine: Engine, *rows: list[int], **options: Any) -> "Future[Vectors]":
    options = {"pooling": "mean", "max_rows": 32, "max_waiting_tokens": 1_000_000, **options}
    return engine.submit([row(*ids) for ids in rows], **options)


def check(future: "Future[Vectors]", *rows: list[int]) -> None:
    """Fail unless the future gives the vectors of these rows."""
    np.testing.assert_array_equal(future.result(LONG), [vector_of(row(*ids)) for ids in rows])


Threads = Callable[[], int]


@pytest.fixture
def threads() -> Iterator[Threads]:
    """Count the MLX threads that the test started, and check that it leaves none behind."""
    before = mlx_threads()
    yield lambda: len(mlx_threads() - before)
    assert eventually(lambda: mlx_threads() <= before, 5)


Start = Callable[[FakeModel | Callable[[], Model]], Engine]


@pytest.fixture
def start(threads: object) -> Iterator[Start]:
    """Make engines that end with the test, on a model or on what loads one."""
    engines, models = list[Engine](), list[FakeModel]()

    def begin(source: FakeModel | Callable[[], Model]) -> Engine:
        if isinstance(source, FakeModel):
            models.append(source)
        engines.append(Engine((lambda: source) if isinstance(source, FakeModel) else source))
        return engines[-1]

    yield begin
    for model in models:
        model.release()
    for engine in engines:
        engine.close()


@pytest.fixture(scope="session", autouse=True)
def minilm() -> Iterator[EmbeddingService]:
    """The bundled model, shared: do not close it. While it is there, other services on that model load no weights."""
    with EmbeddingService(str(BUNDLED)) as service:
        yield service


def service(**options: Any) -> EmbeddingService:
    return EmbeddingService(config=EmbeddingConfig(**{"model_name": str(BUNDLED)} | options))


def in_any_way(embedder: EmbeddingService, texts: Any, **options: Any) -> EmbeddingResult:
    """The result of ``encode``, after a check that ``aencode`` does the same, errors included."""
    try:
        first: EmbeddingResult = embedder.encode(texts, **options)
    except Exception as error:
        with pytest.raises(type(error), match=re.escape(str(error))):
            asyncio.run(embedder.aencode(texts, **options))
        raise
    second = asyncio.run(embedder.aencode(texts, **options))
    np.testing.assert_allclose(first.vectors, second.vectors, atol=1e-6)
    assert (first.token_counts, first.truncated) == (second.token_counts, second.truncated)
    assert first.fingerprint == second.fingerprint
    return first


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, threads: object) -> FakeModel:
    """In place of the weights that services of this test would load."""
    model = FakeModel(dimension=384)
    monkeypatch.setattr(engine_table, "_load", lambda checkpoint, memory, compute: model)
    monkeypatch.setattr(engine_table, "_engines", {})
    monkeypatch.setattr(engine_table, "_users", {})
    return model


class Making:
    """Makes shared services: counts them, waits while ``gate`` is closed, and fails while there is an ``error``."""

    def __init__(self) -> None:
        self.begun, self.gate = list[EmbeddingConfig](), threading.Event()
        self.error: BaseException | None = None
        self.gate.set()

    def __call__(self, *, config: EmbeddingConfig) -> EmbeddingService:
        self.begun.append(config)
        assert self.gate.wait(LONG)
        if self.error:
            raise self.error
        return EmbeddingService(config=config)


@pytest.fixture
def making(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Making]:
    """In place of what makes the shared services of this test."""
    monkeypatch.setattr(shared, "EmbeddingService", made := Making())
    monkeypatch.setattr(shared, "_services", SharedServices())
    yield made
    made.gate.set()
    background(shared.close_shared_services).result(LONG)
