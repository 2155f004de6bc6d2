"""The examination by ``akidb-embed doctor``: the machine, the installation, the configuration, and one real embedding.

Each step gives a ``Finding``, which the command line prints. A step that raises an error is itself a finding, and the
others still run.
"""

import importlib.metadata
import logging
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from akidb_embeddings import __version__
from akidb_embeddings.config.embedding import DEFAULT, EmbeddingConfig
from akidb_embeddings.diagnostics.findings import Finding, FindingStatus, cause_of, once
from akidb_embeddings.extras import install_command, pip_command
from akidb_embeddings.hub.cache import get_cache_dir
from akidb_embeddings.hub.download import list_cached_models
from akidb_embeddings.hub.resolve import find_model
from akidb_embeddings.registry import MODELS

if TYPE_CHECKING:
    from akidb_embeddings.engine.statistics import Statistics

_REQUIRED = ("mlx", "tokenizers", "numpy", "huggingface-hub")
_OPTIONAL = ("mlx-lm",)
_MLX_BACKENDS = ("mlx-cpu", "mlx-metal", "mlx-cuda-12", "mlx-cuda-13")
# OpenBLAS reaches 50 GFLOP/s or more on one core; the reference BLAS that MLX's wheel links, 2 to 6.
_SLOW_GFLOPS = 10.0
_LITTLE_MEMORY = 1e9
# Enough queries to notice that threads wait for cores.
_QUERIES = 6
_LITTLE_DISK = 1e9


class _Result(NamedTuple):
    status: FindingStatus
    text: str
    remedy: str = ""
    causes: tuple[str, ...] = ()


def examine(config_path: str | Path | None = None) -> Iterator[Finding]:
    """Examine the machine, the installation and the configuration. Nothing is downloaded, and nothing raises.

    Args:
        config_path: The configuration file; None for the default one.

    Yields:
        Each finding as soon as it is known.
    """
    logger = logging.getLogger("akidb_embeddings.compute.devices")
    logger.addFilter(_is_news)
    try:
        yield from once(_examine(config_path))
    finally:
        logger.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a warning is not that of a slow BLAS, which a finding tells as well."""
    from akidb_embeddings.compute.runtime import BLAS

    return not (isinstance(record.args, tuple) and BLAS.problem in record.args)


def _examine(config_path: str | Path | None) -> Iterator[Finding]:
    machine: dict[str, Callable[[], _Result]] = {
        "platform": _platform,
        "versions": _versions,
        "device": _device,
        "products": _products,
        "BLAS": _blas,
        "cores": _cores,
    }
    yield from (_make_finding(name, function) for name, function in machine.items())
    configuration = _make_finding("configuration", partial(_configuration, config_path))
    yield configuration
    if configuration.status != "fail":  # otherwise these would fail with the same error
        yield _make_finding("model", partial(_model, config_path))
        yield _make_finding("cache", partial(_cache, config_path))
    yield _make_finding("embedding", _embedding)
    yield _make_finding("threads", _threads)
    yield _make_finding("memory", _memory)


def _make_finding(name: str, function: Callable[[], _Result]) -> Finding:
    try:
        return Finding(name, *function())
    except Exception as error:  # finding what is broken is the doctor's purpose
        return Finding(name, "fail", f"{type(error).__name__}: {error}", causes=(cause_of(error),))


def _platform() -> _Result:
    return _Result("ok", f"{platform.platform()}, Python {platform.python_version()} ({sys.executable})")


def _versions() -> _Result:
    versions = {name: _version(name) for name in (*_REQUIRED, *_MLX_BACKENDS, *_OPTIONAL)}
    text = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = [name for name in _REQUIRED if not versions[name]]
    if missing:
        modules = tuple(name.replace("-", "_") for name in missing)
        return _Result("fail", f"{', '.join(missing)} missing; installed are {text}", install_command(), modules)
    return _Result("ok", f"akidb-embeddings {__version__}, {text}")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _device() -> _Result:
    try:
        from akidb_embeddings.compute.devices import select_backend
    except ImportError as error:  # the plain wheel has no CPU backend on Linux
        remedy = pip_command("--force-reinstall", "mlx")
        if sys.platform == "linux":
            remedy = f"{install_command('cpu')}, or with [cuda12] or [cuda13] for an NVIDIA GPU"
        return _Result("fail", f"MLX cannot be imported: {error.__cause__ or error}", remedy, (cause_of(error),))
    backend = select_backend()
    dtype = str(backend.dtype).rpartition(".")[2]
    text = f"{backend.name}: {dtype}, weights {backend.storage.value}, {backend.streams} streams"
    return _Result("ok", f"{text}, {backend.tokens_per_batch} tokens per micro-batch")


def _products() -> _Result:
    """Compare products on the GPU with the CPU's, and tell what float32 means there."""
    from akidb_embeddings.compute.devices import has_exact_products, select_backend
    from akidb_embeddings.compute.probe import product_errors

    backend = select_backend()
    if not backend.is_gpu:
        return _Result("ok", "computed in float32, exactly")
    errors = product_errors(backend.device, backend.dtype)
    if wrong := [error for error in errors if error.is_wrong]:
        text = ", ".join(f"{error.name}: off by {error.largest:.2g}" for error in wrong)
        remedy = "install another version of MLX, or compute on the CPU with AKIDB_BACKEND=cpu"
        return _Result("fail", f"the GPU's products of 16 rows are wrong ({text}), and so would vectors be", remedy)
    exact = has_exact_products(backend.device)
    meaning = "exact" if exact else "TF32: factors are rounded to 11 bits unless compute is strict"
    largest = max(error.largest for error in errors)
    return _Result("ok", f"the GPU's, plain and packed, match the CPU's within {largest:.1g}; float32 is {meaning}")


def _blas() -> _Result:
    from akidb_embeddings.compute.devices import select_backend
    from akidb_embeddings.compute.runtime import BLAS
    from akidb_embeddings.diagnostics.measure import matmul_speed

    if select_backend().name != "cpu":
        return _Result("ok", "not needed: matrix products run on the GPU")
    speed = matmul_speed()
    library = f"{BLAS.path} ({BLAS.description})" if BLAS.path else "MLX's own"
    if speed >= _SLOW_GFLOPS:
        return _Result("ok", f"{library}, {speed:.0f} GFLOP/s")
    cost = f"{library}, {speed:.1f} GFLOP/s instead of about 100: embedding takes 20 times as long or more"
    remedy = BLAS.problem or "check whether other programs keep the cores busy"
    return _Result("warn", cost, remedy)


def _cores() -> _Result:
    from akidb_embeddings.compute.cores import available_cores, cpu_quota

    quota = cpu_quota()
    limit = f", of which a control group allows {quota:g}" if quota is not None else ""
    return _Result("ok", f"{available_cores()} for this process, {os.cpu_count()} in the machine{limit}")


def _configuration(path: str | Path | None) -> _Result:
    config = EmbeddingConfig.resolve(None, path)
    sources = {name: source for name, source in config.sources.items() if source != DEFAULT}
    files = ", ".join(sorted(set(sources.values())))
    return _Result("ok", f"{', '.join(sources)} from {files}" if sources else "all defaults")


def _model(path: str | Path | None) -> _Result:
    """Check that the configured model is on this machine and supports the configuration."""
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
        return _Result("warn", f"{config.model_name} is not on this machine{cost}{why}", remedy)
    checkpoint = read_checkpoint(files.path, files.spec)
    settings = apply_config(config, checkpoint)
    text = f"{config.model_name} ({files.origin}): {settings.dimensions} dimensions, {settings.pooling} pooling"
    if checkpoint.architecture.computed_by:
        text += f", {checkpoint.config['model_type']} through {checkpoint.architecture.computed_by}"
    return _Result("ok", ", ".join([text, *offline]))


def _cache(path: str | Path | None) -> _Result:
    folder = get_cache_dir(EmbeddingConfig.resolve(None, path).cache_dir)
    models = list_cached_models(folder)
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(nearest).free
    total = sum(model.size_on_disk for model in models)
    text = f"{folder}, {total / 1e6:.0f} MB in {len(models)} models, {free / 1e9:.1f} GB free"
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        return _Result("warn", f"{text}; not writable", f"allow writing to {nearest}, or set AKIDB_CACHE_DIR")
    if damaged := [model.name for model in models if not model.cached]:
        return _Result("warn", f"{text}; damaged: {', '.join(damaged)}", "akidb-embed download NAME --force")
    if free < _LITTLE_DISK:
        return _Result("warn", text, "free some space, or point AKIDB_CACHE_DIR elsewhere")
    return _Result("ok", text)


def _embedding() -> _Result:
    """Check the bundled model's published similarities."""
    from akidb_embeddings.diagnostics.verify import verify
    from akidb_embeddings.registry import BUNDLED

    found, remedy = verify(BUNDLED), f"akidb-embed verify {BUNDLED}"
    failed = [f"{check.name}: {check.text}" for check in found.checks if not check.passed]
    if failed or found.comparison is None:
        return _Result("fail", f"{BUNDLED}: {'; '.join(failed)}", remedy)
    largest, tolerance = found.comparison.largest, found.comparison.tolerance
    text = f"{BUNDLED} differs from its published similarities by {largest:.4f}, tolerance {tolerance:g}"
    return _Result("ok", text) if found.comparison.reproduced else _Result("fail", text, remedy)


def _threads() -> _Result:
    """Find out how many threads a query gets beside the other programs of this machine."""
    from akidb_embeddings.compute.cores import available_cores, threads_are_fixed

    found = _ask_queries()
    if not found.lone_threads:
        return _Result("ok", "not needed: a GPU computes")
    text = f"a query is computed by {found.lone_threads} of {available_cores()} possible threads"
    if threads_are_fixed():
        return _Result("ok", f"{text}, as OPENBLAS_NUM_THREADS says")
    if not found.thread_drops:
        return _Result("ok", text)
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    why = f"other programs keep the cores busy (load {load})"
    return _Result("warn", f"{text}: {why}", "close other programs, or expect queries to take longer")


def _ask_queries() -> "Statistics":
    """What the engine's counters say after a few queries."""
    from akidb_embeddings.registry import BUNDLED
    from akidb_embeddings.service.service import EmbeddingService

    with EmbeddingService(config=EmbeddingConfig(model_name=BUNDLED)) as service:
        for _ in range(_QUERIES):
            service.embed_query("how do I await a coroutine?")
        return service.statistics


def _memory() -> _Result:
    import psutil

    memory = psutil.virtual_memory()
    used = psutil.Process().memory_info().rss
    text = f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB available, {used / 1e9:.2f} GB this process"
    if memory.available < _LITTLE_MEMORY:
        return _Result("warn", text, "close other programs, or set memory: compact")
    return _Result("ok", text)
