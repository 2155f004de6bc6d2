"""Joining a Ray cluster, its capacity for actors, and the set-up of an actor on its node."""

import logging
import os
import socket
from pathlib import Path

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.extras import is_installed, require
from akidb_embeddings.registry import MODELS

_TIMEOUT = 10.0  # seconds for a connection
# Thread limits of OpenBLAS, of OpenBLAS and others, and of the tokenizer.
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS")


def connect(address: str) -> bool:
    """Join a Ray cluster, unless this process is connected to one already.

    Args:
        address: ``"local"``, ``"auto"`` or ``host:port``.

    Returns:
        Whether a cluster was joined.

    Raises:
        ConfigurationError: Ray is not installed, or the cluster cannot be joined.
    """
    require("ray", "A Ray cluster")
    import ray

    if ray.is_initialized():
        return False
    options = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # do not send usage reports unasked
        options = {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    try:
        _check_listens(address)
        ray.init(address=address, logging_level=logging.WARNING, **options)
    except Exception as error:  # Ray raises errors of its own, the system's, and bare exceptions
        reason = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
        raise ConfigurationError(
            f"The Ray cluster {address!r} cannot be joined: {reason}. Give 'local' for a cluster on this machine "
            "alone; or, on a cluster's node, 'auto' or host:port of the head. `ray start --address=HOST:PORT "
            "--num-cpus=0` makes this machine a node without actors."
        ) from error
    return True


def _check_listens(address: str) -> None:
    """Check that a server listens at ``host:port``. Ray itself would try for two minutes."""
    if address.startswith("ray://"):
        raise ValueError("ray:// addresses, which are for Ray Client, are not supported")
    host, separator, port = address.rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT).close()


def actor_capacity(cpus: int) -> int:
    """Count the actors that fit on the cluster's nodes.

    Args:
        cpus: CPUs per actor.

    Raises:
        ConfigurationError: None fits.
    """
    import ray

    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    capacity = sum(node // cpus for node in nodes)
    if not capacity:
        raise ConfigurationError(
            field="cpus", reason=f"is {cpus}; the largest node has {max(nodes, default=0)}. Give fewer."
        )
    return capacity


def with_absolute_paths(config: EmbeddingConfig) -> EmbeddingConfig:
    """Return the configuration with absolute paths of the folders of model and adapter, and the cache."""
    if config.model_name not in MODELS and Path(config.model_name).is_dir():
        config = config.with_values(model_name=str(Path(config.model_name).absolute()))
    if config.adapter is not None and Path(config.adapter).is_dir():
        config = config.with_values(adapter=str(Path(config.adapter).absolute()))
    if config.cache_dir is not None:
        config = config.with_values(cache_dir=str(Path(config.cache_dir).absolute()))
    return config


def keep_to_assigned_cpus() -> None:
    """Limit this actor's threads to its number of CPUs, at least one. Call it before any library reads the limits.

    Ray sets ``OMP_NUM_THREADS`` itself, but not if the machine's environment has it: each actor would then use that
    many threads. A lower limit in the environment is kept.
    """
    if not is_installed("ray"):
        return
    import ray

    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return
    threads = max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
    for name in _THREAD_VARIABLES:
        limit = os.environ.get(name, "")
        has_limit = limit.isdigit() and int(limit) > 0
        os.environ[name] = str(min(threads, int(limit)) if has_limit else threads)


def check_fingerprint(actual: str, expected: str | None) -> None:
    """Check that a node's vectors lie in the expected vector space.

    Args:
        actual: The node's fingerprint.
        expected: The expected one; None for any.

    Raises:
        ConfigurationError: They differ.
    """
    if expected is not None and actual != expected:
        raise ConfigurationError(
            f"This node's vectors have the fingerprint {actual}, and {expected} is expected: the node has another "
            "model or version of this library. Give every node the same files and versions."
        )
