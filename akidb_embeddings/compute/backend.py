"""What the machine is: Metal, CUDA or CPU, and what follows for precision, weights, streams and memory.

A backend is a value, not a class hierarchy: every backend's code path runs on the CPU in the tests.
"""

import functools
import logging
import os
import time
from dataclasses import dataclass
from enum import Enum

from akidb_embeddings.compute.kernels import FUSED, POLYNOMIAL, Kernels
from akidb_embeddings.compute.runtime import BLAS, mx
from akidb_embeddings.errors import ConfigurationError

_log = logging.getLogger(__name__)


class WeightStorage(Enum):
    """How weights are kept between forwards."""

    PACKED = "packed"  # as stored; quantized weights are multiplied by the quantized kernels
    EXPANDED = "expanded"  # dequantized and cast once, at load
    PER_LAYER = "per layer"  # as stored; dequantized and cast in each layer's turn


@dataclass(frozen=True)
class Backend:
    """A machine's way of computing.

    ``dtype`` is what activations are computed in; ``safe_dtype`` stands in for models that overflow float16.
    ``tokens_per_batch`` bounds a micro-batch, padding included; ``streams`` micro-batches run side by side;
    ``cache_limit`` (bytes) bounds the buffers that MLX keeps for reuse.
    """

    name: str
    device: mx.Device
    dtype: mx.Dtype
    safe_dtype: mx.Dtype
    storage: WeightStorage
    kernels: Kernels
    streams: int
    tokens_per_batch: int
    cache_limit: int

    def share_cores(self, micro_batches: int) -> None:
        """Divide the cores among micro-batches that run side by side: BLAS threads times streams fit the machine."""
        if self.name == "cpu":
            BLAS.set_threads(max(1, available_cores() // micro_batches))


def metal(device: mx.Device) -> Backend:
    """Apple GPUs: packed weights, float16. EmbeddingGemma overflows float16 and gets float32, not the emulated
    bfloat16."""
    return Backend("metal", device, mx.float16, mx.float32, WeightStorage.PACKED, FUSED, 1, 8192, 1 << 29)


def cuda(device: mx.Device) -> Backend:
    """NVIDIA GPUs: as Metal, with larger micro-batches to fill them."""
    return Backend("cuda", device, mx.float16, mx.float32, WeightStorage.PACKED, FUSED, 1, 16384, 1 << 30)


def cpu(memory: str = "fast") -> Backend:
    """CPUs: float32 throughout, since 16-bit and quantized products are ten to a thousand times slower there.

    ``memory="fast"`` expands the weights at load; ``"compact"`` keeps them as stored and expands each in its turn.
    Element-wise work is single-threaded in MLX, so each core gets a stream; small micro-batches stay in its cache. With
    ``"compact"`` one stream is faster, which expands each layer once.
    """
    is_compact = memory == "compact"
    storage = WeightStorage.PER_LAYER if is_compact else WeightStorage.EXPANDED
    streams = 1 if is_compact else min(available_cores(), 8)
    return Backend("cpu", mx.Device(mx.cpu), mx.float32, mx.float32, storage, POLYNOMIAL, streams, 512, 1 << 26)


@functools.cache
def select_backend(memory: str = "fast") -> Backend:
    """The backend of this machine: the GPU where MLX has one, else the CPU, with a warning if its BLAS is slow.

    ``AKIDB_BACKEND=cpu`` in the environment asks for the CPU all the same.
    """
    choice = os.environ.get("AKIDB_BACKEND") or "auto"
    if choice not in ("auto", "cpu"):
        raise ConfigurationError(f"AKIDB_BACKEND is {choice!r}; allowed: 'auto', 'cpu'.")
    if choice == "auto" and mx.metal.is_available():
        return metal(mx.Device(mx.gpu))
    if choice == "auto" and mx.cuda.is_available():
        return cuda(mx.Device(mx.gpu))
    _warn_of_slow_blas()
    return cpu(memory)


def available_cores() -> int:
    """Cores to use: those this process may run on, and no more than OPENBLAS_NUM_THREADS or OMP_NUM_THREADS allow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")]
    return min([cores, *(int(limit) for limit in limits if limit.isdigit() and int(limit) > 0)])


def measure_matmul(size: int = 256) -> float:
    """GFLOP/s of a float32 ``[size, size]`` product on the CPU. Call it on the thread that is to compute."""
    with mx.stream(mx.Device(mx.cpu)):
        matrix = mx.ones((size, size))
        mx.eval(matrix @ matrix)
        start = time.perf_counter()
        mx.eval(matrix @ matrix)
    return 2 * size**3 / (time.perf_counter() - start) / 1e9


@functools.cache
def _warn_of_slow_blas() -> None:
    """One clear warning a process. The product is measured: whatever was loaded, by whomever, speed is what counts."""
    if BLAS.path is None and BLAS.problem and (speed := max(measure_matmul() for _ in range(3))) < 10:
        _log.warning(
            "No fast BLAS: matrix products run at %.1f GFLOP/s instead of about 100, so embedding takes 20 times as "
            "long or more. Reason: %s",
            speed,
            BLAS.problem,
        )
