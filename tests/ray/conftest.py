"""Ray clusters for the tests, and what all of them embed. One module's cluster is gone when the next one's begins."""

import os

# Keeps clusters to the loopback address, as Ray does on a Mac by itself. It is read when Ray is imported.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from akidb_embeddings import EmbeddingConfig
from tests.conftest import REPOSITORY
from tests.fixtures import BUNDLED

CONFIG = EmbeddingConfig(model_name=str(BUNDLED))
# Each node: what the machine has is no matter, and all actors of all tests fit.
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder. Ray warns of what it does itself, at this version where it makes a DataContext."""
    for item in items:
        if item.path.is_relative_to(REPOSITORY / "tests" / "ray"):
            item.add_marker("ray")
            item.add_marker(pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."))


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """What nodes and workers inherit: this checkout, and neither reports nor a limit that hides ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "64")
        yield


@pytest.fixture(scope="module")
def one_machine(_environment: None) -> Iterator[None]:
    """A cluster of one node with two CPUs."""
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 << 20,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def two_nodes(_environment: None) -> Iterator[Any]:
    """A cluster of two nodes with one CPU each, and this process connected to it."""
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    ray.init(address=cluster.address)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def make_texts(count: int, most_words: int = 20) -> list[str]:
    """Texts of one word and more, no two alike."""
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "rain", "falls", "softly"]
    rng = random.Random(count)
    return [f"{number} {' '.join(rng.choices(words, k=rng.randint(0, most_words - 1)))}" for number in range(count)]


def process_of(actor: Any) -> int:
    """The id of an actor's process."""
    return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid())))


def workers() -> list[psutil.Process]:
    """The processes of pools' actors on this machine."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if "ray::_Worker" in "".join(process.cmdline()):
                found.append(process)
    return found
