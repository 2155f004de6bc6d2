"""This system's supervisor."""

import platform

from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.supervision.base import Supervisor
from akidb_embeddings.supervision.launchd import Launchd
from akidb_embeddings.supervision.systemd import Systemd


def supervisor(name: str) -> Supervisor:
    """The service with this name, of this system's supervisor.

    Raises:
        ConfigurationError: This system has none that is supported, or the name is not allowed.
    """
    system = platform.system()
    if system == "Darwin":
        return Launchd(name)
    if system == "Linux":
        return Systemd(name)
    raise ConfigurationError(f"services are for macOS (launchd) and Linux (systemd), not for {system}")
