"""How shared services end: closed, interrupted or forked away, also in the midst of loading; nobody is left waiting."""

import gc
import weakref
from typing import Any

import pytest

from akidb_embeddings import EmbeddingConfig, EmbeddingService
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.errors import CheckpointError, WorkerError
from akidb_embeddings.service import shared
from akidb_embeddings.service.shared import close_shared_services, shared_service
from tests.conftest import LONG, FakeModel, Making, at_once, background, eventually, run_python
from tests.fixtures import BUNDLED
from tests.test_init import needs_fork

SOON = 5.0  # seconds; for what must not wait


def config(**values: Any) -> EmbeddingConfig:
    return EmbeddingConfig(**{"model_name": str(BUNDLED)} | values)


def test_closing_frees_all_and_the_next_call_loads_again(making: Making, fake: FakeModel) -> None:
    close_shared_services()
    making.error = CheckpointError("bad")
    with pytest.raises(CheckpointError):
        shared_service(config())
    close_shared_services()
    making.error = None
    first, other = shared_service(config()), shared_service(config(dimensions=8, untrained_dimensions=True))
    other.close()
    close_shared_services()
    close_shared_services()
    assert (first.alive, other.alive, fake.closed) == (False, False, 1)
    assert shared_service(config()).embed(["a"]).shape == (1, 384)


def test_closed_services_are_not_kept_in_memory(making: Making) -> None:
    gone = weakref.ref(shared_service(config()))
    close_shared_services()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("is_replaced", [False, True])
def test_one_that_is_being_loaded_is_shared_and_closed_too(making: Making, fake: FakeModel, is_replaced: bool) -> None:
    making.gate.clear()
    loading = [background(lambda: shared_service(config()))]
    assert eventually(lambda: making.begun)
    close_shared_services()
    if is_replaced:
        loading.append(background(lambda: shared_service(config())))
        assert eventually(lambda: len(making.begun) == 2)
    making.gate.set()
    assert {one.result(LONG) for one in loading} == {shared_service(config())}
    close_shared_services()
    assert not engine_table._users


def test_closing_does_not_wait_for_a_load(making: Making, fake: FakeModel) -> None:
    """It may be a download of minutes, and who closes may be an event loop."""
    loaded = shared_service(config())
    making.gate.clear()
    loading = background(lambda: shared_service(config(memory="compact")))
    assert eventually(lambda: len(making.begun) == 2)
    background(close_shared_services).result(SOON)
    assert not loaded.alive
    making.gate.set()
    assert loading.result(LONG).alive
    close_shared_services()
    assert not engine_table._users


def test_closing_from_a_signal_handler_of_the_thread_that_loads(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on SIGTERM: the handler interrupts the load, and nobody but its own thread can end that."""

    def interrupted(*, config: EmbeddingConfig) -> EmbeddingService:
        close_shared_services()
        return EmbeddingService(config=config)

    with monkeypatch.context() as patch:
        patch.setattr(shared, "EmbeddingService", interrupted)
        assert background(lambda: shared_service(config())).result(SOON).alive
    assert shared_service(config()).alive


@pytest.mark.long
def test_services_are_asked_for_and_closed_by_many_threads(making: Making) -> None:
    refused: list[str] = []

    def use(caller: int) -> None:
        for _ in range(10):
            if caller % 4 == 0:
                close_shared_services()
            try:
                shared_service(config(dimensions=1 + caller % 2, untrained_dimensions=True)).embed(["a"])
            except WorkerError as error:  # closed by another of them
                refused.append(str(error))

    at_once(use, 8)
    close_shared_services()
    assert all("closed" in reason for reason in refused)
    assert (shared._services._entries, engine_table._users) == ({}, {})


# A parent with a model of no weight, a thread of which loads it and is stopped at one stage; a child is not stopped.
FORKING = """
import hashlib, os, signal, sys, threading, time
from akidb_embeddings import EmbeddingConfig, WorkerError, close_shared_services, model_version, shared_service
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.service import reading, shared
from tests.conftest import BUNDLED, FakeModel
config = EmbeddingConfig(model_name=str(BUNDLED))
parent, begun, go = os.getpid(), threading.Event(), threading.Event()
def gated(call):
    def wait_and_call(*arguments, **named):
        if os.getpid() == parent:
            begun.set()
            assert go.wait(20)
        return call(*arguments, **named)
    return wait_and_call
engine_table._load = lambda checkpoint, memory, compute: FakeModel(dimension=384)
def in_thread(run):
    threading.Thread(target=run, daemon=True).start()
def load_until(stage):
    if stage == "files":
        reading.resolve_model = gated(reading.resolve_model)
    elif stage == "digest":
        hashlib.file_digest = gated(hashlib.file_digest)
    else:
        stop = gated(lambda: FakeModel(dimension=384))
        engine_table._load = lambda checkpoint, memory, compute: checkpoint.digest and stop()
    in_thread(lambda: shared_service(config))
    assert begun.wait(20)
    while not engine_table._used and stage != "files":
        time.sleep(0.001)
def in_child(run):
    child = os.fork()
    if not child:
        try:
            run()
            sys.stdout.flush()
            os._exit(0)
        finally:
            os._exit(1)
    end = time.monotonic() + 10
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(child, signal.SIGKILL)
    assert ended == (child, 0), "the child hangs or crashed"
def says_forked():
    try:
        shared_service(config)
    except WorkerError as error:
        return "forked" in str(error) and "spawn" in str(error)
"""


@pytest.mark.long
@needs_fork
@pytest.mark.parametrize("stage", ["digest", "weights"])
def test_forked_while_another_thread_loads_a_child_gets_an_error(stage: str) -> None:
    program = """
load_until(sys.argv[1])
def child():
    assert says_forked()
    close_shared_services()
    assert says_forked()
    assert model_version(config)
    print("child")
in_child(child)
go.set()
print(shared_service(config).embed(["a"]).shape)
close_shared_services()
print(engine_table._users)
"""
    assert run_python(FORKING + program, stage) == "child\n(1, 384)\n{}\n"


@pytest.mark.long
@needs_fork
def test_forked_before_any_engine_a_child_loads_its_own() -> None:
    """MLX does not run yet where the parent still looks for the files."""
    program = """
load_until("files")
def child():
    print(shared_service(config).embed(["a"]).shape)
    close_shared_services()
in_child(child)
go.set()
print(shared_service(config).embed(["a"]).shape)
"""
    assert run_python(FORKING + program) == "(1, 384)\n" * 2


@needs_fork
def test_forked_with_a_service_loaded_a_child_gets_an_error() -> None:
    program = """
service = shared_service(config)
version = model_version(config)
def child():
    assert not service.alive
    assert says_forked()
    assert model_version(config) == version
    close_shared_services()
    print("child")
in_child(child)
print(service.alive, shared_service(config) is service, service.embed(["a"]).shape)
"""
    assert run_python(FORKING + program) == "child\nTrue True (1, 384)\n"


@pytest.mark.long
@needs_fork
@pytest.mark.parametrize(
    ("held", "loaded"),
    [
        ("shared._services._lock", True),
        ("shared._services._lock", False),
        ("engine_table._lock", True),
        ("engine_table._lock", False),
        ("entry.loading", True),
    ],
)
def test_forked_while_another_thread_holds_a_lock_a_child_goes_on(held: str, loaded: bool) -> None:
    """Whoever asks for a service holds each for a moment, and a fork may come at any."""
    program = """
if sys.argv[2] == "True":
    shared_service(config)
else:
    load_until("weights")
[entry] = shared._services._entries.values()
lock, holding, enough = eval(sys.argv[1]), threading.Event(), threading.Event()
def hold():
    with lock:
        holding.set()
        assert enough.wait(20)
in_thread(hold)
assert holding.wait(20)
def child():
    assert says_forked()
    assert model_version(config)
    close_shared_services()
    print("child")
in_child(child)
enough.set()
go.set()
print(shared_service(config).alive)
"""
    assert run_python(FORKING + program, held, str(loaded)) == "child\nTrue\n"
