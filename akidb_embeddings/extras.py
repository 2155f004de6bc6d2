"""Optional dependencies: what each extra of the distribution installs, and the error where it is missing.

The command in that error works where it is printed: it installs from the same checkout, file or repository as this
package was installed from, into the environment of this interpreter.
"""

import functools
import importlib.metadata
import importlib.util
import json
import shlex
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from akidb_embeddings.errors import ConfigurationError

_DISTRIBUTION = "akidb-embeddings"
_ROOT = Path(__file__).parent.parent

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
        "fastapi_offline": "fastapi-offline",
        "uvicorn": "uvicorn",
        "httptools": "httptools",
        "grpc": "grpcio",
        "grpc_health": "grpcio-health-checking",
        "grpc_reflection": "grpcio-reflection",
        "google.protobuf": "protobuf",
        "prometheus_client": "prometheus-client",
        "orjson": "orjson",
    },
}


def require(extra: str, purpose: str, *modules: str) -> None:
    """Check that what an extra installs is there.

    Args:
        extra: The extra's name in pyproject.toml.
        purpose: What needs it; the error begins with it.
        *modules: Those of its modules that are needed; all of them if none is given.

    Raises:
        ConfigurationError: A package is missing; the message names it and the command that installs it.
    """
    packages = _MODULES[extra]
    missing = [packages[module] for module in modules or packages if not is_installed(module)]
    if missing:
        raise ConfigurationError(f"{purpose} needs {', '.join(missing)}: {install_command(extra)}")


def install_command(extra: str = "") -> str:
    """The command that installs this package with an extra for the interpreter that runs this."""
    return pip_command(*(_targets(extra) or [f"{_DISTRIBUTION}{_brackets(extra)}"]))


def pip_command(*arguments: str) -> str:
    """The command that installs packages for the interpreter that runs this, which may have no pip of its own."""
    if is_installed("pip"):
        installer = [sys.executable, "-m", "pip", "install"]
    elif shutil.which("uv"):
        installer = ["uv", "pip", "install", "--python", sys.executable]
    else:
        installer = ["pip", "--python", sys.executable, "install"]
    return shlex.join([*installer, *arguments])


def is_installed(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # a parent is missing, or the import is blocked
        return False


def _targets(extra: str) -> list[str]:
    """What to install for an extra; nothing if this package's metadata is missing, too.

    The name of this package alone would be looked up in an index, which need not have it.
    """
    if _is_checkout(_ROOT):
        return ["-e", f"{_ROOT}{_brackets(extra)}"]
    origin = _origin()
    url, folder = str(origin.get("url", "")), _local_path(origin)
    if folder is not None and folder.is_dir():
        editable = ["-e"] if origin.get("dir_info", {}).get("editable") else []
        return [*editable, f"{folder}{_brackets(extra)}"]
    if "vcs_info" in origin:
        found = origin["vcs_info"]
        return [f"{_DISTRIBUTION}{_brackets(extra)} @ {found['vcs']}+{url}@{found['commit_id']}"]
    if url and (folder is None or folder.is_file()):
        return [f"{_DISTRIBUTION}{_brackets(extra)} @ {url}"]
    return _requirements(extra)


def _brackets(extra: str) -> str:
    return f"[{extra}]" if extra else ""


def _is_checkout(folder: Path) -> bool:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(project.get("project", {}).get("name") == _DISTRIBUTION)


def _origin() -> dict[str, Any]:
    """What the installer says it installed this package from (PEP 610); empty if that was an index, or is unknown."""
    try:
        text = importlib.metadata.distribution(_DISTRIBUTION).read_text("direct_url.json")
        origin = json.loads(text or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def _local_path(origin: Mapping[str, Any]) -> Path | None:
    """The path of a file: URL; None for another one."""
    parts = urlsplit(str(origin.get("url", "")))
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


@functools.cache
def _requirements(extra: str) -> list[str]:
    """The packages of an extra, as this package's metadata lists them."""
    from packaging.requirements import Requirement  # huggingface-hub needs it, too

    try:
        listed = [Requirement(line) for line in importlib.metadata.requires(_DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        return []
    return [
        f"{one.name}{_brackets(','.join(sorted(one.extras)))}{one.specifier}"
        for one in listed
        if (one.marker is None and not extra)
        or (one.marker is not None and one.marker.evaluate({"extra": extra}) and not one.marker.evaluate({"extra": ""}))
    ]
