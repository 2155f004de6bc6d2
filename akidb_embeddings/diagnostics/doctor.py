"""The examination by ``akidb-embed doctor``: the machine, the installation, the configuration, and one real embedding.

Each step gives a ``Finding``, which the command line prints. A step that raises an error is itself a finding, and the
others still run.
"""

import importlib.metadata
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from akidb_embeddings import __version__
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.diagnostics.configured import (
    examine_cache,
    examine_configuration,
    examine_model,
    examine_reranker,
    has_reranker,
)
from akidb_embeddings.diagnostics.findings import Finding, Result, cause_of, once
from akidb_embeddings.extras import install_command, pip_command

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
    machine: dict[str, Callable[[], Result]] = {
        "platform": _platform,
        "versions": _versions,
        "device": _device,
        "products": _products,
        "BLAS": _blas,
        "cores": _cores,
    }
    yield from (_make_finding(name, function) for name, function in machine.items())
    configuration = _make_finding("configuration", partial(examine_configuration, config_path))
    yield configuration
    if configuration.status != "fail":  # otherwise these would fail with the same error
        yield _make_finding("model", partial(examine_model, config_path))
        if has_reranker(config_path):
            yield _make_finding("reranker", partial(examine_reranker, config_path))
        yield _make_finding("cache", partial(examine_cache, config_path))
    yield _make_finding("embedding", _embedding)
    yield _make_finding("threads", _threads)
    yield _make_finding("memory", _memory)


def _make_finding(name: str, function: Callable[[], Result]) -> Finding:
    try:
        return Finding(name, *function())
    except Exception as error:  # finding what is broken is the doctor's purpose
        return Finding(name, "fail", f"{type(error).__name__}: {error}", causes=(cause_of(error),))


def _platform() -> Result:
    return Result("ok", f"{platform.platform()}, Python {platform.python_version()} ({sys.executable})")


def _versions() -> Result:
    versions = {name: _version(name) for name in (*_REQUIRED, *_MLX_BACKENDS, *_OPTIONAL)}
    text = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = [name for name in _REQUIRED if not versions[name]]
    if missing:
        modules = tuple(name.replace("-", "_") for name in missing)
        return Result("fail", f"{', '.join(missing)} missing; installed are {text}", install_command(), modules)
    return Result("ok", f"akidb-embeddings {__version__}, {text}")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _device() -> Result:
    try:
        from akidb_embeddings.compute.devices import select_backend
    except ImportError as error:  # the plain wheel has no CPU backend on Linux
        remedy = pip_command("--force-reinstall", "mlx")
        if sys.platform == "linux":
            remedy = f"{install_command('cpu')}, or with [cuda12] or [cuda13] for an NVIDIA GPU"
        return Result("fail", f"MLX cannot be imported: {error.__cause__ or error}", remedy, (cause_of(error),))
    backend = select_backend()
    dtype = str(backend.dtype).rpartition(".")[2]
    text = f"{backend.name}: {dtype}, weights {backend.storage.value}, {backend.streams} streams"
    return Result("ok", f"{text}, {backend.tokens_per_batch} tokens per micro-batch")


def _products() -> Result:
    """Compare products on the GPU with the CPU's, and tell what float32 means there."""
    from akidb_embeddings.compute.devices import has_exact_products, select_backend
    from akidb_embeddings.compute.probe import product_errors

    backend = select_backend()
    if not backend.is_gpu:
        return Result("ok", "computed in float32, exactly")
    errors = product_errors(backend.device, backend.dtype)
    if wrong := [error for error in errors if error.is_wrong]:
        text = ", ".join(f"{error.name}: off by {error.largest:.2g}" for error in wrong)
        remedy = "install another version of MLX, or compute on the CPU with AKIDB_BACKEND=cpu"
        return Result("fail", f"the GPU's products of 16 rows are wrong ({text}), and so would vectors be", remedy)
    exact = has_exact_products(backend.device)
    meaning = "exact" if exact else "TF32: factors are rounded to 11 bits unless compute is strict"
    largest = max(error.largest for error in errors)
    return Result("ok", f"the GPU's, plain and packed, match the CPU's within {largest:.1g}; float32 is {meaning}")


def _blas() -> Result:
    from akidb_embeddings.compute.devices import select_backend
    from akidb_embeddings.compute.runtime import BLAS
    from akidb_embeddings.diagnostics.measure import matmul_speed

    if select_backend().name != "cpu":
        return Result("ok", "not needed: matrix products run on the GPU")
    speed = matmul_speed()
    library = f"{BLAS.path} ({BLAS.description})" if BLAS.path else "MLX's own"
    if speed >= _SLOW_GFLOPS:
        return Result("ok", f"{library}, {speed:.0f} GFLOP/s")
    cost = f"{library}, {speed:.1f} GFLOP/s instead of about 100: embedding takes 20 times as long or more"
    remedy = BLAS.problem or "check whether other programs keep the cores busy"
    return Result("warn", cost, remedy)


def _cores() -> Result:
    from akidb_embeddings.compute.cores import available_cores, cpu_quota

    quota = cpu_quota()
    limit = f", of which a control group allows {quota:g}" if quota is not None else ""
    return Result("ok", f"{available_cores()} for this process, {os.cpu_count()} in the machine{limit}")


def _embedding() -> Result:
    """Check the bundled model's published similarities."""
    from akidb_embeddings.diagnostics.verify import verify
    from akidb_embeddings.registry import BUNDLED

    found, remedy = verify(BUNDLED), f"akidb-embed verify {BUNDLED}"
    failed = [f"{check.name}: {check.text}" for check in found.checks if not check.passed]
    if failed or found.comparison is None:
        return Result("fail", f"{BUNDLED}: {'; '.join(failed)}", remedy)
    largest, tolerance = found.comparison.largest, found.comparison.tolerance
    text = f"{BUNDLED} differs from its published similarities by {largest:.4f}, tolerance {tolerance:g}"
    return Result("ok", text) if found.comparison.reproduced else Result("fail", text, remedy)


def _threads() -> Result:
    """Find out how many threads a query gets beside the other programs of this machine."""
    from akidb_embeddings.compute.cores import available_cores, threads_are_fixed

    found = _ask_queries()
    if not found.lone_threads:
        return Result("ok", "not needed: a GPU computes")
    text = f"a query is computed by {found.lone_threads} of {available_cores()} possible threads"
    if threads_are_fixed():
        return Result("ok", f"{text}, as OPENBLAS_NUM_THREADS says")
    if not found.thread_drops:
        return Result("ok", text)
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    why = f"other programs keep the cores busy (load {load})"
    return Result("warn", f"{text}: {why}", "close other programs, or expect queries to take longer")


def _ask_queries() -> "Statistics":
    """What the engine's counters say after a few queries."""
    from akidb_embeddings.registry import BUNDLED
    from akidb_embeddings.service.service import EmbeddingService

    with EmbeddingService(config=EmbeddingConfig(model_name=BUNDLED)) as service:
        for _ in range(_QUERIES):
            service.embed_query("how do I await a coroutine?")
        return service.statistics


def _memory() -> Result:
    import psutil

    memory = psutil.virtual_memory()
    used = psutil.Process().memory_info().rss
    text = f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB available, {used / 1e9:.2f} GB this process"
    if memory.available < _LITTLE_MEMORY:
        return Result("warn", text, "close other programs, or set memory: compact")
    return Result("ok", text)
