"""Joining a cluster, what fits on it, and what an actor has to see to on its node."""

import logging
import os
import socket

from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.extras import is_installed, require

_PATIENCE = 10.0  # seconds for a connection
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS")  # products; both; the tokenizer


def connect(address: str) -> bool:
    """Whether a cluster was joined now, for there was none."""
    require("ray", "A Ray cluster")
    import ray

    if ray.is_initialized():
        return False
    options = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked for reports to Ray's makers
        options = {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    try:
        _check_listens(address)
        ray.init(address=address, logging_level=logging.WARNING, **options)
    except Exception as error:  # Ray's own, the system's and bare ones
        reason = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
        raise ConfigurationError(
            f"The Ray cluster {address!r} cannot be joined: {reason}. Give 'local' for a cluster of this machine "
            "alone; or, on one of a cluster's nodes, 'auto' or host:port of its head. `ray start --address=HOST:PORT "
            "--num-cpus=0` makes this machine a node without actors."
        ) from error
    return True


def _check_listens(address: str) -> None:
    """OSError: nobody listens there. Ray itself would try for two minutes. ValueError: that is for Ray's client."""
    if address.startswith("ray://"):
        raise ValueError("addresses with ray:// are not taken")
    host, separator, port = address.rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()


def places(cpus: int) -> int:
    """How many actors of so many CPUs fit on the nodes. ConfigurationError: none."""
    import ray

    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    places = sum(node // cpus for node in nodes)
    if not places:
        raise ConfigurationError(f"cpus is {cpus}; the largest node has {max(nodes, default=0)}. Give fewer.")
    return places


def keep_to_assigned_cpus() -> None:
    """Let this actor compute with as many threads as it has CPUs, one at least, before anything reads these limits.

    Ray sets ``OMP_NUM_THREADS`` so, but not where the machine's environment has it: then each actor would take that
    many. A lower limit of the environment stays.
    """
    if not is_installed("ray"):
        return
    import ray

    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return
    threads = max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
    for name in _THREADS:
        limit = os.environ.get(name, "")
        has_limit = limit.isdigit() and int(limit) > 0
        os.environ[name] = str(min(threads, int(limit)) if has_limit else threads)


def check_fingerprint(own: str, wanted: str | None) -> None:
    """ConfigurationError: a node's vectors lie in another space than they are to."""
    if wanted is not None and own != wanted:
        raise ConfigurationError(
            f"This node's vectors have the fingerprint {own}, and {wanted} is expected: its model, or this library, is "
            "another one. Give every node the same files and versions."
        )
