"""The devices of this machine, and which of them computes."""

import functools
import logging
import os
from pathlib import Path
from typing import Any

from akidb_embeddings.compute.backend import Backend, cpu, cuda, metal
from akidb_embeddings.compute.cores import measure_matmul
from akidb_embeddings.compute.runtime import BLAS, mx
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.extras import install_command

_log = logging.getLogger(__name__)

_TF32 = "MLX_ENABLE_TF32"
_CHOICES = ("auto", "cpu", "cuda", "metal")


@functools.cache
def select_backend(memory: str = "fast", compute: str = "fast") -> Backend:
    """The backend of this machine: the GPU if there is one, else the CPU, with a warning if its BLAS is slow.

    ``AKIDB_BACKEND`` in the environment selects one: "cpu", "cuda" or "metal".

    Args:
        memory: "fast" or "compact".
        compute: "fast", or "strict" for float32 with exact products on GPUs. CPUs always compute so.

    Raises:
        ConfigurationError: AKIDB_BACKEND has another value or selects a device that is not there; or ``compute`` is
            "strict", and the GPU has already begun to round products.
    """
    choice = os.environ.get("AKIDB_BACKEND") or "auto"
    if choice not in _CHOICES:
        allowed = ", ".join(map(repr, _CHOICES))
        raise ConfigurationError(field="AKIDB_BACKEND", reason=f"is {choice!r}; allowed: {allowed}.")
    found = gpu_kind()
    if choice in ("cuda", "metal") and found != choice:
        raise ConfigurationError(field="AKIDB_BACKEND", reason=f"is {choice!r}; {_what_is_missing(choice)}")
    if choice == "cpu" or found is None:
        if choice == "auto" and mx.cuda.is_available():
            _warn_of_missing_gpu()
        _warn_of_slow_blas()
        return cpu(memory)
    device, strict = mx.Device(mx.gpu), compute == "strict"
    if strict:
        _require_exact_products(device)
    if found == "metal":
        return metal(device, memory, strict=strict)
    _tell_of_compilation()
    return cuda(device, memory, strict=strict)


def gpu_kind() -> str | None:
    """ "metal" or "cuda"; None without a GPU that MLX can use.

    ``mx.cuda.is_available`` only tells how MLX was built: it is true without a GPU, too.
    """
    if not mx.is_available(mx.gpu):
        return None
    return "metal" if mx.metal.is_available() else "cuda"


def device_info(device: mx.Device) -> dict[str, Any]:
    """What MLX knows of a device: ``device_name``, ``architecture``, and the memory in bytes under various names."""
    return dict(mx.device_info(device))


def free_memory(device: mx.Device) -> int | None:
    """The bytes of a CUDA GPU that no process has allocated, and those that MLX keeps for reuse; None if unknown."""
    free = device_info(device).get("free_memory")
    return None if free is None else int(free) + int(mx.get_cache_memory())


def wire_memory(backend: Backend) -> None:
    """Keep MLX's memory resident on Apple GPUs, so that a query after a pause does not wait for it."""
    if backend.name == "metal" and backend.device.type == mx.gpu:
        limit = device_info(backend.device).get("max_recommended_working_set_size")
        if limit:
            mx.set_wired_limit(int(limit))


def has_exact_products(device: mx.Device) -> bool:
    """Whether float32 products keep all bits of their factors. GPUs round them to TF32's eleven, unless told not to."""
    with mx.stream(device):
        factor = mx.full((64, 64), 1.0 + 2.0**-14)
        return bool((factor @ mx.eye(64) == factor).all().item())


def _require_exact_products(device: mx.Device) -> None:
    before = os.environ.get(_TF32)
    os.environ[_TF32] = "0"  # MLX reads it at its first product
    if not has_exact_products(device):
        if before is None:  # programs that this one starts must not compute so unasked
            del os.environ[_TF32]
        else:
            os.environ[_TF32] = before
        raise ConfigurationError(
            field="compute",
            reason="is 'strict', but this process has already computed on the GPU with rounded float32 products.",
            hint="Load the strict model first, or set MLX_ENABLE_TF32=0 in the environment.",
        )


def _what_is_missing(choice: str) -> str:
    if choice == "metal":
        return "MLX finds no Apple GPU on this machine."
    if not mx.cuda.is_available():
        return f"this MLX has no CUDA: {install_command('cuda13')}, or with [cuda12] for older drivers."
    return "MLX finds no NVIDIA GPU: check that nvidia-smi lists one, and that the driver is new enough."


@functools.cache
def _tell_of_compilation() -> None:
    """Say once per process that the first vectors take long, if no kernels are stored."""
    folder = Path(os.environ.get("MLX_PTX_CACHE_DIR", ""))
    if not folder.is_dir() or not any(folder.iterdir()):
        _log.warning("The GPU's kernels are compiled and stored in %s: the first vectors take up to 10 s.", folder)


@functools.cache
def _warn_of_missing_gpu() -> None:
    """Warn once per process."""
    _log.warning(
        "MLX is installed with CUDA, but finds no NVIDIA GPU, so the CPU computes. Check that nvidia-smi lists a GPU "
        "and that CUDA_VISIBLE_DEVICES does not hide it; AKIDB_BACKEND=cpu selects the CPU without this warning."
    )


@functools.cache
def _warn_of_slow_blas() -> None:
    """Warn once per process. The speed is measured, because another library may have loaded a fast BLAS."""
    if BLAS.path is None and BLAS.problem and (speed := max(measure_matmul() for _ in range(3))) < 10:
        _log.warning(
            "No fast BLAS: matrix products run at %.1f GFLOP/s instead of about 100, so embedding takes 20 times as "
            "long or more. Reason: %s",
            speed,
            BLAS.problem,
        )
