"""A cluster that a pool starts for itself."""

from tests.conftest import run_python


def test_local_is_a_cluster_that_ends_with_the_pool() -> None:
    code = """
import psutil, ray
from akidb_embeddings.distributed import Pool
from tests.ray.conftest import CONFIG
with Pool("local", CONFIG, cpus=1, actors=2) as pool:
    print([result.vectors.shape for result in pool.map([["one", "two"], ["three"]])])
assert not ray.is_initialized()
assert not [p.name() for p in psutil.Process().children(recursive=True) if "raylet" in p.name()]
"""
    assert run_python(code, seconds=60) == "[(2, 384), (1, 384)]\n"


def test_an_address_without_a_cluster_is_told() -> None:
    code = """
from akidb_embeddings import ConfigurationError
from akidb_embeddings.distributed import Pool
from tests.ray.conftest import CONFIG
try:
    Pool("127.0.0.1:1", CONFIG)
except ConfigurationError as error:
    print(str(error)[:45])
"""
    assert run_python(code, seconds=60) == "The Ray cluster '127.0.0.1:1' cannot be joine\n"
