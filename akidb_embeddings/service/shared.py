"""One shared service per configuration and process, for objects that hold only a configuration.

An adapter must be picklable, copyable and comparable, and must not load a model before it is used. So it holds an
``EmbeddingConfig``, and gets the service from here whenever it computes.
"""

import functools
import hashlib
import json
import os
from collections.abc import Hashable
from dataclasses import asdict
from pathlib import Path
from weakref import WeakKeyDictionary

from akidb_embeddings.checkpoint.checkpoint import Checkpoint, read_checkpoint
from akidb_embeddings.checkpoint.digest import deciding_adapter_files, deciding_files, digest_files
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE
from akidb_embeddings.checkpoint.modules import read_steps
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.hub.resolve import BUNDLE_ROOT
from akidb_embeddings.registry import MODELS
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.service.sharing import SharedServices

_services: SharedServices[EmbeddingService] = SharedServices()
# The versions of loaded services of which either the model or the adapter is in a folder, and the other on the hub.
_partial_versions: WeakKeyDictionary[EmbeddingService, str] = WeakKeyDictionary()


def shared_service(config: EmbeddingConfig) -> EmbeddingService:
    """This process's service with this configuration, loaded by the first call. Do not close it.

    It stays loaded until ``close_shared_services`` or the end of the process. If its MLX thread has died permanently,
    it is replaced.

    Raises:
        EmbeddingError: Loading failed, as in ``EmbeddingService``; the next call tries again.
    """
    return _services.get(_key(config), lambda: _load(config))


async def ashared_service(config: EmbeddingConfig) -> EmbeddingService:
    """``shared_service`` for event loops: loading does not block the loop."""
    return await _services.aget(_key(config), lambda: _load(config))


def close_shared_services() -> None:
    """Close all shared services and free their weights. The next call for one loads it again."""
    _services.close()


def model_version(config: EmbeddingConfig) -> str | None:
    """A digest of the files and prompts of a model in a folder or in this package, and of an adapter in a folder.

    It changes whenever the folder would give other vectors. No weights are loaded, and a file is read again only after
    it has changed.

    Returns:
        The digest. None for a repository of the hub, whose versions ``revision`` names, and for a missing folder. If
        only one of the model and the adapter is in a folder, the digest is that one's.
    """
    path, adapter = _folders(config)
    if path is None and adapter is None:
        return None
    if service := _services.usable(_key(config)):  # its weights stay in use, even if the folder has changed
        return _partial_versions.get(service) or _version(service.checkpoint)
    return _version_of_files(config, path, adapter)


def _load(config: EmbeddingConfig) -> EmbeddingService:
    path, adapter = _folders(config)
    is_partial = config.adapter is not None and (path is None) != (adapter is None)
    version = _version_of_files(config, path, adapter) if is_partial else None
    service = EmbeddingService(config=config)
    if version is not None:
        _partial_versions[service] = version
    return service


def _version_of_files(config: EmbeddingConfig, path: Path | None, adapter: Path | None) -> str:
    if path is None:
        assert adapter is not None
        files = sorted((*deciding_adapter_files(adapter), *adapter.glob(PROMPTS_FILE)))
        return digest_files((file.relative_to(adapter).as_posix(), file) for file in files)[:20]
    described = adapter if adapter is not None and (adapter / "modules.json").is_file() else path
    watched = [*deciding_files(path, read_steps(described), adapter), described / PROMPTS_FILE]
    stats = [(str(file), file.stat()) for file in watched if file.exists()]
    states = tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for name, stat in stats)
    return _version_of_folder(path, config.model_name, adapter, states)


def _folders(config: EmbeddingConfig) -> tuple[Path | None, Path | None]:
    """The folders of the model and of the adapter; None for one that is on the hub, or not there."""
    spec = MODELS.get(config.model_name)
    is_bundled = spec is not None and spec.bundled and not config.revision
    path = _existing_folder(str(BUNDLE_ROOT / config.model_name) if is_bundled else config.model_name)
    return path, None if config.adapter is None else _existing_folder(config.adapter)


def _key(config: EmbeddingConfig) -> Hashable:
    return config, folder_of(config.model_name), config.adapter and folder_of(config.adapter)


def _existing_folder(name: str) -> Path | None:
    folder = folder_of(name)
    return Path(folder) if folder is not None and os.path.isdir(folder) else None


def folder_of(name: str) -> str | None:
    """The absolute folder that a name stands for in the current working directory; None if it is not a folder."""
    path = os.path.abspath(os.path.expanduser(name))
    is_path = name.startswith((".", "~", os.sep)) or (name not in MODELS and os.path.isdir(path))
    return path if is_path else None


@functools.lru_cache(maxsize=32)
def _version_of_folder(path: Path, name: str, adapter: Path | None, _states: Hashable) -> str:
    return _version(read_checkpoint(path, MODELS.get(name), adapter))


def _version(checkpoint: Checkpoint) -> str:
    facts = [checkpoint.digest, dict(checkpoint.prompts), checkpoint.default_prompt, checkpoint.truncate_dim]
    facts += [asdict(made) for made in (checkpoint.late, checkpoint.sparse) if made is not None]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
