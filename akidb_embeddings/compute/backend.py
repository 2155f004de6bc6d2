"""The backends Metal, CUDA and CPU, with their settings for precision, weights, streams and memory.

A backend is a value, not a class hierarchy, so that the tests can run every backend's code path on the CPU.
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
    """How weights are kept between forward passes.

    Attributes:
        PACKED: As stored; MLX's quantized kernels multiply quantized weights.
        EXPANDED: Dequantized and cast once, at load.
        PER_LAYER: As stored; dequantized and cast when the layer runs.
    """

    PACKED = "packed"
    EXPANDED = "expanded"
    PER_LAYER = "per layer"


@dataclass(frozen=True)
class Backend:
    """How models are computed on a device.

    Attributes:
        name: "metal", "cuda" or "cpu".
        device: The MLX device.
        dtype: The compute dtype.
        safe_dtype: The compute dtype of models that overflow float16.
        storage: How weights are kept.
        kernels: The functions that depend on the device.
        streams: The number of micro-batches that run in parallel.
        tokens_per_batch: The largest micro-batch, in tokens including padding.
        cache_limit: The limit of the buffers that MLX keeps for reuse, in bytes.
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
        """Divide the cores among parallel micro-batches, so that BLAS threads times streams match the cores."""
        if self.name == "cpu":
            BLAS.set_threads(max(1, available_cores() // micro_batches))


def metal(device: mx.Device) -> Backend:
    """Apple GPUs: packed weights, float16. EmbeddingGemma overflows float16 and uses float32: bfloat16 is emulated."""
    return Backend("metal", device, mx.float16, mx.float32, WeightStorage.PACKED, FUSED, 1, 8192, 1 << 29)


def cuda(device: mx.Device) -> Backend:
    """NVIDIA GPUs: as Metal, with larger micro-batches to occupy them."""
    return Backend("cuda", device, mx.float16, mx.float32, WeightStorage.PACKED, FUSED, 1, 16384, 1 << 30)


def cpu(memory: str = "fast") -> Backend:
    """CPUs: float32 throughout, since 16-bit and quantized products are ten to a thousand times slower there.

    Element-wise operations are single-threaded in MLX, so each core gets a stream; small micro-batches fit its cache.
    With ``"compact"`` a single stream is faster, because each layer is then expanded once.

    Args:
        memory: ``"fast"`` expands the weights at load; ``"compact"`` keeps them as stored and expands each layer
            when it runs.
    """
    is_compact = memory == "compact"
    storage = WeightStorage.PER_LAYER if is_compact else WeightStorage.EXPANDED
    streams = 1 if is_compact else min(available_cores(), 8)
    return Backend("cpu", mx.Device(mx.cpu), mx.float32, mx.float32, storage, POLYNOMIAL, streams, 512, 1 << 26)


@functools.cache
def select_backend(memory: str = "fast") -> Backend:
    """The backend of this machine: the GPU if MLX supports it, else the CPU, with a warning if its BLAS is slow.

    ``AKIDB_BACKEND=cpu`` in the environment selects the CPU in any case.

    Raises:
        ConfigurationError: AKIDB_BACKEND has another value.
    """
    choice = os.environ.get("AKIDB_BACKEND") or "auto"
    if choice not in ("auto", "cpu"):
        raise ConfigurationError(field="AKIDB_BACKEND", reason=f"is {choice!r}; allowed: 'auto', 'cpu'.")
    if choice == "auto" and mx.metal.is_available():
        return metal(mx.Device(mx.gpu))
    if choice == "auto" and mx.cuda.is_available():
        return cuda(mx.Device(mx.gpu))
    _warn_of_slow_blas()
    return cpu(memory)


def available_cores() -> int:
    """The cores this process may run on, limited by OPENBLAS_NUM_THREADS and OMP_NUM_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")]
    return min([cores, *(int(limit) for limit in limits if limit.isdigit() and int(limit) > 0)])


def measure_matmul(size: int = 256) -> float:
    """GFLOP/s of a float32 [size, size] product on the CPU. Call it on the thread that runs the model."""
    with mx.stream(mx.Device(mx.cpu)):
        matrix = mx.ones((size, size))
        mx.eval(matrix @ matrix)
        start = time.perf_counter()
        mx.eval(matrix @ matrix)
    return 2 * size**3 / (time.perf_counter() - start) / 1e9


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
