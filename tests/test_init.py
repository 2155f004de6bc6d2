"""The package in a process: imported for next to nothing, forked, spawned, garbage-collected, and ended."""

import ast
import inspect
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import akidb_embeddings
from akidb_embeddings import EmbeddingService
from tests.conftest import run_python, service
from tests.fixtures import long_but

HEAVY = ("mlx", "numpy", "tokenizers", "transformers", "torch", "yaml", "huggingface_hub", "tqdm", "psutil")
LOADED = "import sys; before = set(sys.modules)\n{}\nprint(*(set(sys.modules) - before))"


def loaded_by(code: str) -> set[str]:
    return set(run_python(LOADED.format(code)).split())


def test_the_import_brings_in_nothing_heavy() -> None:
    loaded = loaded_by("import akidb_embeddings")
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)
    assert {name for name in loaded if name.startswith("akidb_embeddings")} == {"akidb_embeddings"}
    assert len(loaded) < 60


def test_the_import_is_quick() -> None:
    code = "import time; begin = time.perf_counter(); import akidb_embeddings; print(time.perf_counter() - begin)"
    assert min(float(run_python(code)) for _ in range(4)) < 0.2


@pytest.mark.parametrize("use", ["from akidb_embeddings import *", "from akidb_embeddings import EmbeddingService"])
def test_mlx_waits_until_a_model_is_loaded(use: str) -> None:
    """The engine's own thread is to import it, after a fast BLAS."""
    assert not {name.partition(".")[0] for name in loaded_by(use)} & {"mlx", "transformers", "torch"}


@pytest.mark.parametrize("name", akidb_embeddings.__all__)
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(akidb_embeddings, name)
    assert value is getattr(akidb_embeddings, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__name__ == name
        assert value.__doc__


def test_public_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse(Path(akidb_embeddings.__file__).read_text())
    seen = [alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(name for name in seen if name) == sorted(akidb_embeddings.__all__)
    assert len(set(akidb_embeddings.__all__)) == len(akidb_embeddings.__all__)


def test_dir_lists_the_public_names_before_they_are_used() -> None:
    code = "import akidb_embeddings; assert set(akidb_embeddings.__all__) <= set(dir(akidb_embeddings)); print('ok')"
    assert run_python(code) == "ok\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    package: Any = akidb_embeddings
    with pytest.raises(AttributeError, match="module 'akidb_embeddings' has no attribute 'Embeddings'"):
        _ = package.Embeddings
    assert not hasattr(package, "encode")
    with pytest.raises(ImportError, match="cannot import name 'Embeddings'"):
        exec("from akidb_embeddings import Embeddings")


def test_the_version_is_a_version() -> None:
    assert [part.isdigit() for part in akidb_embeddings.__version__.split(".")] == [True] * 3


# The programs below start with this.
PROGRAM = """
import gc, os, signal, sys, threading
from akidb_embeddings import EmbeddingConfig, EmbeddingService, WorkerError
from akidb_embeddings.engine import table as engine_table
from tests.conftest import BUNDLED, FakeModel
def service(memory="fast"):
    return EmbeddingService(config=EmbeddingConfig(model_name=str(BUNDLED), memory=memory))
def in_child(run):
    child = os.fork()
    if not child:
        signal.alarm(20)  # a child that hangs must not outlive the test
        run()
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child hangs or crashed"
def message(run, *arguments):
    try:
        run(*arguments)
    except WorkerError as error:
        return str(error)
"""
FAKE = PROGRAM + "engine_table._load = lambda checkpoint, memory, compute: FakeModel(dimension=384)\n"
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.mark.parametrize("memory", long_but(["fast", "compact"], "fast"))
@pytest.mark.parametrize("moment", ["looked up", "counted", "made"])
def test_garbage_collected_anywhere_a_service_frees_its_engine(moment: str, memory: str) -> None:
    """The collector may run at any allocation, the table's own included, and end the engine that is asked for."""
    program = """
moment, memory = sys.argv[1:]
class Collecting(dict):
    def get(self, *arguments):
        gc.collect()
        return super().get(*arguments)
class CollectingEngine(engine_table.Engine):
    def __init__(self, load):
        gc.collect()
        super().__init__(load)
gc.disable()
old = service()
old.itself = old
del old
if moment == "looked up":
    engine_table._engines = Collecting(engine_table._engines)
elif moment == "counted":
    engine_table._users = Collecting(engine_table._users)
else:
    engine_table.Engine = CollectingEngine
new = service(memory)
gc.collect()
print(len(engine_table._users), new.embed(["a"]).shape)
"""
    assert run_python(FAKE + program, moment, memory) == "1 (1, 384)\n"


@needs_fork
def test_used_after_a_fork_an_engine_says_so() -> None:
    program = """
parent = service()
parent.embed(["a"])
def child():
    assert "forked" in message(parent.embed, ["a"]) and "spawn" in message(parent.embed, ["a"])
    assert "forked" in message(service)
    parent.close()
    parent.close()
    assert "forked" in message(service)
    print("child")
with engine_table._lock:  # another thread may hold it
    in_child(child)
print(parent.embed(["a"]).shape)
"""
    assert run_python(FAKE + program) == "child\n(1, 384)\n"


@needs_fork
def test_a_child_forked_before_any_engine_has_its_own() -> None:
    program = """
def child():
    with service() as own:
        print(own.embed(["a"]).shape)
in_child(child)
"""
    assert run_python(FAKE + program) == "(1, 384)\n"


@pytest.mark.long
@needs_fork
def test_after_all_engines_are_closed_a_forked_child_still_gets_an_error() -> None:
    """MLX has run in the parent: in the child it would wait for threads that are not there."""
    program = """
with service() as parent:
    parent.embed(["a"])
in_child(lambda: print("forked" in message(lambda: service().embed(["a"]))))
"""
    assert run_python(PROGRAM + program) == "True\n"


@pytest.mark.long
@pytest.mark.parametrize("busy", [False, True])
def test_a_program_that_leaves_a_service_open_ends(busy: bool) -> None:
    program = """
left_open = service()
left_open.embed(["a"])
if sys.argv[1] == "True":
    bulk = lambda: left_open.encode(["word " * 50] * 5000)
    threading.Thread(target=bulk, daemon=True).start()
    while not left_open._resources.engine.waiting_tokens:
        pass
print("end")
"""
    assert run_python(PROGRAM + program, str(busy)) == "end\n"


def spawned() -> list[float]:
    with service() as embedder:
        vector: list[float] = embedder.embed_query("a text").tolist()
        return vector


@pytest.mark.long
def test_a_spawned_process_has_its_own_engine(minilm: EmbeddingService) -> None:
    minilm.embed(["a"])
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        np.testing.assert_allclose(pool.submit(spawned).result(60), minilm.embed_query("a text"), atol=1e-5)
