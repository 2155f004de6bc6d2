"""What ``akidb-embed doctor`` looks at: this machine, this installation, the configuration, one real embedding.

Each look is a ``Check``: data, to be printed by others. One that breaks is itself a finding, and the rest go on.
"""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from akidb_embeddings import __version__
from akidb_embeddings.config.embedding import DEFAULT, EmbeddingConfig
from akidb_embeddings.extras import install_command
from akidb_embeddings.hub.cache import get_cache_dir
from akidb_embeddings.hub.download import list_cached_models
from akidb_embeddings.hub.resolve import find_model
from akidb_embeddings.registry import MODELS

Status = Literal["ok", "warn", "fail"]

_REQUIRED = ("mlx", "tokenizers", "numpy", "huggingface-hub")
_OPTIONAL = ("mlx-lm",)
_MLX_BACKENDS = ("mlx-cpu", "mlx-metal", "mlx-cuda-12", "mlx-cuda-13")
# An OpenBLAS gives 50 GFLOP/s and more on one core, the reference BLAS that MLX's wheel links 2 to 6.
_SLOW_GFLOPS = 10.0
_LITTLE_MEMORY = 1e9
_LITTLE_DISK = 1e9


@dataclass(frozen=True)
class Check:
    """One finding: ``fail`` where something is wrong, ``warn`` where it works but could be better."""

    name: str
    status: Status
    text: str
    remedy: str = ""


class _Finding(NamedTuple):
    status: Status
    text: str
    remedy: str = ""


def examine(config_path: str | Path | None = None) -> Iterator[Check]:
    """Every check, in order, each as soon as it is made. Nothing is downloaded, and nothing raises."""
    machine: dict[str, Callable[[], _Finding]] = {
        "platform": _platform,
        "versions": _versions,
        "device": _device,
        "BLAS": _blas,
        "cores": _cores,
    }
    yield from (_check(name, look) for name, look in machine.items())
    configuration = _check("configuration", partial(_configuration, config_path))
    yield configuration
    if configuration.status != "fail":  # which is all there is to say, and says it once
        yield _check("model", partial(_model, config_path))
        yield _check("cache", partial(_cache, config_path))
    yield _check("embedding", _embedding)
    yield _check("memory", _memory)


def _check(name: str, look: Callable[[], _Finding]) -> Check:
    try:
        return Check(name, *look())
    except Exception as error:  # whatever is broken here is what the doctor was called for
        return Check(name, "fail", f"{type(error).__name__}: {error}")


def _platform() -> _Finding:
    return _Finding("ok", f"{platform.platform()}, Python {platform.python_version()} ({sys.executable})")


def _versions() -> _Finding:
    versions = {name: _version(name) for name in (*_REQUIRED, *_MLX_BACKENDS, *_OPTIONAL)}
    text = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = [name for name in _REQUIRED if not versions[name]]
    if missing:
        return _Finding("fail", f"{', '.join(missing)} missing; there are {text}", "pip install akidb-embeddings")
    return _Finding("ok", f"akidb-embeddings {__version__}, {text}")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _device() -> _Finding:
    try:
        from akidb_embeddings.compute.backend import select_backend
    except ImportError as error:  # the plain wheel has no CPU backend on Linux
        remedy = install_command("cpu") if sys.platform == "linux" else "pip install --force-reinstall mlx"
        return _Finding("fail", f"MLX cannot be imported: {error}", remedy)
    backend = select_backend()
    dtype = str(backend.dtype).rpartition(".")[2]
    text = f"{backend.name}: {dtype}, weights {backend.storage.value}, {backend.streams} streams"
    return _Finding("ok", f"{text}, {backend.tokens_per_batch} tokens a micro-batch")


def _blas() -> _Finding:
    from akidb_embeddings.compute.backend import select_backend
    from akidb_embeddings.compute.runtime import BLAS
    from akidb_embeddings.diagnostics.measure import matmul_speed

    if select_backend().name != "cpu":
        return _Finding("ok", "not needed: matrix products run on the GPU")
    speed = matmul_speed()
    library = f"{BLAS.path} ({BLAS.description})" if BLAS.path else "MLX's own"
    if speed >= _SLOW_GFLOPS:
        return _Finding("ok", f"{library}, {speed:.0f} GFLOP/s")
    cost = f"{library}, {speed:.1f} GFLOP/s instead of about 100: embedding takes 20 times as long or more"
    remedy = BLAS.problem or "see whether other programs keep the cores busy"
    return _Finding("warn", cost, remedy)


def _cores() -> _Finding:
    from akidb_embeddings.compute.backend import available_cores

    return _Finding("ok", f"{available_cores()} for this process, {os.cpu_count()} in the machine")


def _configuration(path: str | Path | None) -> _Finding:
    config = EmbeddingConfig.resolve(None, path)
    sources = {name: source for name, source in config.sources.items() if source != DEFAULT}
    files = ", ".join(sorted(set(sources.values())))
    return _Finding("ok", f"{', '.join(sources)} from {files}" if sources else "all defaults")


def _model(path: str | Path | None) -> _Finding:
    """Whether the configured model is here and can do what is configured."""
    from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
    from akidb_embeddings.checkpoint.settings import apply_config

    config = EmbeddingConfig.resolve(None, path)
    offline = [
        f"{name}={os.environ[name]}" for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if name in os.environ
    ]
    files = find_model(config.model_name, revision=config.revision, cache_dir=config.cache_dir)
    if files is None:
        known = MODELS.get(config.model_name)
        cost = f", a download of {known.size_bytes / 1e6:.0f} MB" if known else ""
        why = f"; {', '.join(offline)}" if offline else "" if config.auto_download else "; auto_download is off"
        revision = f" --revision {config.revision}" if config.revision else ""
        remedy = f"akidb-embed download {config.model_name}{revision}"
        return _Finding("warn", f"{config.model_name} is not on this machine{cost}{why}", remedy)
    checkpoint = read_checkpoint(files.path, files.spec)
    settings = apply_config(config, checkpoint)
    text = f"{config.model_name} ({files.origin}): {settings.dimensions} dimensions, {settings.pooling} pooling"
    if checkpoint.architecture.computed_by:
        text += f", {checkpoint.config['model_type']} through {checkpoint.architecture.computed_by}"
    return _Finding("ok", ", ".join([text, *offline]))


def _cache(path: str | Path | None) -> _Finding:
    folder = get_cache_dir(EmbeddingConfig.resolve(None, path).cache_dir)
    models = list_cached_models(folder)
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(nearest).free
    total = sum(model.size_on_disk for model in models)
    text = f"{folder}, {total / 1e6:.0f} MB in {len(models)} models, {free / 1e9:.1f} GB free"
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        return _Finding("warn", f"{text}; not writable", f"allow writing to {nearest}, or set AKIDB_CACHE_DIR")
    if damaged := [model.name for model in models if not model.cached]:
        return _Finding("warn", f"{text}; damaged: {', '.join(damaged)}", "akidb-embed download NAME --force")
    if free < _LITTLE_DISK:
        return _Finding("warn", text, "free some space, or point AKIDB_CACHE_DIR elsewhere")
    return _Finding("ok", text)


def _embedding() -> _Finding:
    """The bundled model, from text to published similarity."""
    from akidb_embeddings.diagnostics.verify import verify
    from akidb_embeddings.registry import BUNDLED

    found, cure = verify(BUNDLED), f"akidb-embed verify {BUNDLED}"
    failed = [f"{check.name}: {check.text}" for check in found.checks if not check.passed]
    if failed or found.comparison is None:
        return _Finding("fail", f"{BUNDLED}: {'; '.join(failed)}", cure)
    largest, tolerance = found.comparison.largest, found.comparison.tolerance
    text = f"{BUNDLED} differs from its published similarities by {largest:.4f}, tolerance {tolerance:g}"
    return _Finding("ok", text) if found.comparison.reproduced else _Finding("fail", text, cure)


def _memory() -> _Finding:
    import psutil

    memory = psutil.virtual_memory()
    used = psutil.Process().memory_info().rss
    text = f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB available, {used / 1e9:.2f} GB this process"
    if memory.available < _LITTLE_MEMORY:
        return _Finding("warn", text, "close other programs, or set memory: compact")
    return _Finding("ok", text)
