"""Optional dependencies: what each extra of the distribution installs, and the error where it is missing."""

import importlib.util
import sys
from collections.abc import Mapping

from akidb_embeddings.errors import ConfigurationError

# The distribution of each module that is imported, by extra; versions are in pyproject.toml.
_MODULES: Mapping[str, Mapping[str, str]] = {
    "bench": {
        "pytest": "pytest",
        "pytest_asyncio": "pytest-asyncio",
        "pytest_timeout": "pytest-timeout",
        "pytest_benchmark": "pytest-benchmark",
        "matplotlib": "matplotlib",
    },
    "bulk": {"pyarrow": "pyarrow", "orjson": "orjson"},
    "cpu": {"scipy_openblas32": "scipy-openblas32", "elftools": "pyelftools"},
    "evaluate": {"sklearn": "scikit-learn", "scipy": "scipy"},
    "mlx-lm": {"mlx_lm": "mlx-lm"},
    "ray": {"ray": "ray"},
    "server": {
        "fastapi": "fastapi",
        "uvicorn": "uvicorn",
        "grpc": "grpcio",
        "grpc_health": "grpcio-health-checking",
        "grpc_reflection": "grpcio-reflection",
        "prometheus_client": "prometheus-client",
        "orjson": "orjson",
    },
}


def require(extra: str, purpose: str, *modules: str, source: str = "") -> None:
    """Check that what an extra installs is there.

    Args:
        extra: The extra's name in pyproject.toml.
        purpose: What needs it; the error begins with it.
        *modules: Those of its modules that are needed; all of them if none is given.
        source: The folder of the checkout to install from; "" for the released distribution.

    Raises:
        ConfigurationError: A package is missing; the message names it and the command that installs it.
    """
    packages = _MODULES[extra]
    missing = [packages[module] for module in modules or packages if not is_installed(module)]
    if missing:
        raise ConfigurationError(f"{purpose} needs {', '.join(missing)}: {install_command(extra, source)}")


def install_command(extra: str, source: str = "") -> str:
    """The command that installs an extra for the interpreter that runs this."""
    target = f"-e '{source}[{extra}]'" if source else f"'akidb-embeddings[{extra}]'"
    return f"{sys.executable} -m pip install {target}"


def is_installed(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # a parent is missing, or the import is blocked
        return False
