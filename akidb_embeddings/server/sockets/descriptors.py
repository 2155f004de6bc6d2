"""File descriptors: as many as the configured connections need, or fewer connections."""

import dataclasses
import resource

from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.server.observability.logs import LOG

# For models' files, the engine, the log and what clients' own sockets leave behind while they are closed; of a process
# that may have few, a part.
_RESERVE = 256
_RESERVED_SHARE = 4
# What macOS allows at most, also where it says that there is no limit.
_MOST = 10_240
# Of the connections that the descriptors are enough for, so many may have a request in flight. The rest is for health.
_IN_FLIGHT = 0.75


def fit_to_descriptors(config: ServerConfig) -> ServerConfig:
    """The settings with limits on connections that the process's descriptors are enough for, after raising their limit.

    macOS gives a process 256, of which a client on the same machine could take all.
    """
    ports = 1 if config.grpc_port is None else 2
    available = _raise_limit(ports * config.max_connections + _RESERVE)
    reserve = min(_RESERVE, available // _RESERVED_SHARE)
    most = max(1, (available - reserve) // ports)
    if most >= config.max_connections:
        return config
    fitted = dataclasses.replace(
        config,
        max_connections=most,
        max_connections_per_address=min(config.max_connections_per_address, most),
        max_concurrent_requests=min(config.max_concurrent_requests, max(1, int(_IN_FLIGHT * most))),
    )
    LOG.warning(
        "This process may open %d files: max_connections is %d instead of %d, and max_concurrent_requests is %d. "
        "`ulimit -n` raises the limit.",
        available,
        most,
        config.max_connections,
        fitted.max_concurrent_requests,
    )
    return fitted


def _raise_limit(wanted: int) -> int:
    """Raise the limit to ``wanted`` if the system allows it. Returns the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    for limit in (wanted, min(wanted, _MOST)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        except (ValueError, OSError):
            continue
        return limit
    return soft
