"""Small products on a device, compared with NumPy's in float64: some builds of MLX compute wrong ones."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.compute.layers import Packed, Quantization
from akidb_embeddings.compute.runtime import mx

# Enough rows for the kernels of matrix units, and few enough for those of short queries.
_ROWS, _INPUTS, _OUTPUTS = 16, 512, 256
_GROUP = 64
# The largest difference, in standard deviations of the product. Rounding the factors to 11 bits (float16, TF32) gives
# 0.002, and rounding sums as well 0.03; the 8 bits of bfloat16, eight times that. A wrong row differs by 3 or more.
_TOLERANCE, _BFLOAT16_TOLERANCE = 0.1, 0.8


class ProductError(NamedTuple):
    """How far one product is from the right one.

    Attributes:
        name: What was multiplied, such as "packed in 4 bits".
        largest: The largest difference, in standard deviations of the product.
        tolerance: What rounding may cost.
    """

    name: str
    largest: float
    tolerance: float

    @property
    def is_wrong(self) -> bool:
        """Whether the difference is more than rounding. NaN is."""
        return not self.largest <= self.tolerance


def product_errors(device: mx.Device, dtype: mx.Dtype) -> list[ProductError]:
    """Multiply 16 rows on a device by a plain matrix and by quantized ones, in 4 and 8 bits.

    Args:
        device: The device.
        dtype: The dtype of rows and results.
    """
    generator = np.random.default_rng(16)
    tolerance = _BFLOAT16_TOLERANCE if dtype == mx.bfloat16 else _TOLERANCE
    with mx.stream(device):
        rows, exact_rows = _rounded(generator.standard_normal((_ROWS, _INPUTS)), dtype)
        matrix, exact_matrix = _rounded(generator.standard_normal((_OUTPUTS, _INPUTS)), dtype)
        found = [ProductError("plain", _difference(rows @ matrix.T, exact_rows @ exact_matrix.T), tolerance)]
        for bits in (4, 8):
            packed, exact_matrix = _quantized(generator, bits, dtype)
            difference = _difference(packed.multiply(rows), exact_rows @ exact_matrix.T)
            found.append(ProductError(f"packed in {bits} bits", difference, tolerance))
    return found


def _rounded(values: NDArray[np.float64], dtype: mx.Dtype) -> tuple[mx.array, NDArray[np.float64]]:
    """The values in ``dtype``, and the same rounded values in float64."""
    array = mx.array(values.astype(np.float32)).astype(dtype)
    return array, np.array(array.astype(mx.float32)).astype(np.float64)


def _quantized(generator: np.random.Generator, bits: int, dtype: mx.Dtype) -> tuple[Packed, NDArray[np.float64]]:
    """A random quantized matrix, and what its bits stand for: ``scale * bits + bias``, the first in the lowest bits."""
    words = generator.integers(0, 1 << 32, (_OUTPUTS, _INPUTS * bits // 32), dtype=np.uint32)
    shape = (_OUTPUTS, _INPUTS // _GROUP)
    scales, exact_scales = _rounded(generator.uniform(0.5, 1.5, shape) / 2**bits, dtype)
    biases, exact_biases = _rounded(-generator.uniform(0.4, 0.6, shape), dtype)
    levels = (words[:, :, None] >> np.arange(0, 32, bits, dtype=np.uint32)) & (2**bits - 1)
    groups = levels.astype(np.float64).reshape(*shape, _GROUP)
    exact = (groups * exact_scales[:, :, None] + exact_biases[:, :, None]).reshape(_OUTPUTS, _INPUTS)
    return Packed(mx.array(words), scales, biases, Quantization(_GROUP, bits)), exact


def _difference(found: mx.array, expected: NDArray[np.float64]) -> float:
    """The largest difference, in standard deviations of ``expected``."""
    difference = np.abs(np.array(found.astype(mx.float32)).astype(np.float64) - expected)
    return float(difference.max() / expected.std())
