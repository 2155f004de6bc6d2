"""The backends Metal, CUDA and CPU, with their settings for precision, weights, micro-batches and memory.

A backend is a value, not a class hierarchy, so that the tests can run every backend's code path on the CPU.
"""

from dataclasses import dataclass, replace
from enum import Enum

from akidb_embeddings.compute.cores import available_cores
from akidb_embeddings.compute.fused import fused_kernels
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.polynomial import POLYNOMIAL
from akidb_embeddings.compute.runtime import mx

# With the windows of CPUs, 512 texts, the last micro-batch of a window would often be half empty.
_GPU_WINDOW_SCALE = 16
_LARGEST_FUSED_HEAD = 128  # cuDNN's attention, in 16 bits


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
        dtype: The compute dtype of models whose activations fit float16; that of all others is float32.
        small_dtype: The compute dtype of others whose weights do not fit the device's memory otherwise; None for no
            other.
        storage: How weights are kept.
        kernels: The functions that depend on the device.
        streams: The number of micro-batches that run in parallel.
        tokens_per_batch: The largest micro-batch, in tokens including padding.
        cache_limit: The limit of the buffers that MLX keeps for reuse, in bytes.
        obeys_batch_size: Whether ``batch_size`` limits a micro-batch's texts. GPUs' have only a limit in tokens.
        window_scale: By which factor the windows of a long list, sorted by length each, are larger than on a CPU.
        ahead: How many micro-batches are submitted before the oldest one's vectors are read.
        few_shapes: Whether a new shape is slow, so that lengths and the number of texts are rounded up.
        is_gpu: Whether the device is a GPU.
    """

    name: str
    device: mx.Device
    dtype: mx.Dtype
    storage: WeightStorage
    kernels: Kernels
    streams: int
    tokens_per_batch: int
    cache_limit: int
    obeys_batch_size: bool = True
    window_scale: int = 1
    ahead: int = 0
    few_shapes: bool = False
    is_gpu: bool = False
    small_dtype: mx.Dtype | None = None

    def compute_dtype(self, fits_float16: bool) -> mx.Dtype:
        """The compute dtype of a model, by whether its activations fit float16."""
        return self.dtype if fits_float16 else mx.float32


def metal(device: mx.Device, memory: str = "fast", *, strict: bool = False) -> Backend:
    """Apple GPUs: packed weights, float16; float32 for models that overflow it.

    Not bfloat16, which moves the vectors of the tests' models by up to 0.007 in cosine, not even from the M5 on, which
    has it. The M5 rounds products in float32 to TF32, which moves them by 0.00003.

    Args:
        device: The device.
        memory: "fast" or "compact": smaller micro-batches.
        strict: Whether everything is computed in float32.
    """
    # Long texts are computed in blocks of queries, so that no kernel runs until the display's watchdog ends it.
    kernels = fused_kernels(compiled=device.type == mx.gpu)
    dtype = mx.float32 if strict else mx.float16
    tokens = 8192 if memory == "fast" else 2048
    return _gpu("metal", device, dtype, WeightStorage.PACKED, kernels, tokens, 1 << 29)


def cuda(device: mx.Device, memory: str = "fast", *, strict: bool = False) -> Backend:
    """NVIDIA GPUs: expanded weights, float16; float32 with products in TF32 for models that overflow it.

    Expanded, because products of packed weights are many times slower there. TF32, because bfloat16 moves the vectors
    of the tests' models by up to 0.007 in cosine and TF32 by 0.00003, at three quarters of the speed. ``sizing`` gives
    bfloat16 or packed weights to models that the card has no room for.

    Args:
        device: The device.
        memory: "fast" or "compact": packed weights and smaller micro-batches.
        strict: Whether everything is computed in float32.
    """

    def holds_scores(head_dim: int, dtype: mx.Dtype) -> bool:
        return dtype == mx.float32 or head_dim > _LARGEST_FUSED_HEAD or head_dim % 8 != 0

    kernels = fused_kernels(compiled=device.type == mx.gpu, holds_scores=holds_scores)
    dtype, small = (mx.float32, None) if strict else (mx.float16, mx.bfloat16)
    is_fast = memory == "fast"
    storage = WeightStorage.EXPANDED if is_fast else WeightStorage.PACKED
    backend = _gpu("cuda", device, dtype, storage, kernels, 65536 if is_fast else 8192, 1 << 30)
    return replace(backend, small_dtype=small)


def _gpu(
    name: str,
    device: mx.Device,
    dtype: mx.Dtype,
    storage: WeightStorage,
    kernels: Kernels,
    tokens: int,
    cache_limit: int,
) -> Backend:
    return Backend(
        name,
        device,
        dtype,
        storage,
        kernels,
        streams=1,
        tokens_per_batch=tokens,
        cache_limit=cache_limit,
        obeys_batch_size=False,
        window_scale=_GPU_WINDOW_SCALE,
        ahead=1,
        few_shapes=name == "cuda",  # attention's plans and graphs are made for each shape
        is_gpu=True,
    )


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
    return Backend("cpu", mx.Device(mx.cpu), mx.float32, storage, POLYNOMIAL, streams, 512, 1 << 26)
