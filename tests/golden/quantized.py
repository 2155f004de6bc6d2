"""What sentence-transformers makes of float32 vectors in its smaller forms."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.util.quantization import quantize_embeddings

VECTORS, DIMENSION = 64, 40


def quantized() -> dict[str, NDArray[Any]]:
    """Vectors and their quantizations, by the names that ``README.md`` explains."""
    generator = np.random.default_rng(12)
    vectors, calibration = (unit_vectors(generator, rows) for rows in (VECTORS, 200))
    vectors[0, :4] = 0, -0.0, 1e-9, -1e-9  # signs decide over bits
    spread = np.abs(calibration).max(0)
    ranges = np.stack([-spread, spread]).astype(np.float32)
    ranges[:, 5] *= 0.5  # values beyond the range are clipped
    ranges[:, 6] = 0.1  # and a range without width divides by 1
    arrays: dict[str, NDArray[Any]] = {
        "vectors": vectors,
        "ranges": ranges,
        "calibration": calibration,
        "int8": quantize_embeddings(vectors, "int8", ranges=ranges),
        "uint8": quantize_embeddings(vectors, "uint8", ranges=ranges),
        "int8_calibrated": quantize_embeddings(vectors, "int8", calibration_embeddings=calibration),
        "uint8_calibrated": quantize_embeddings(vectors, "uint8", calibration_embeddings=calibration),
        "binary": quantize_embeddings(vectors, "binary"),
        "ubinary": quantize_embeddings(vectors, "ubinary"),
    }
    check(arrays)
    return arrays


def unit_vectors(generator: np.random.Generator, rows: int) -> NDArray[np.float32]:
    values = generator.standard_normal((rows, DIMENSION)) + 0.5 * generator.standard_normal(DIMENSION)
    result: NDArray[np.float32] = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return result


def check(arrays: dict[str, NDArray[Any]]) -> None:
    """Both ends of the range occur, rounding instead of cutting is seen, and so are the signs of zeros."""
    for name in ("int8", "uint8", "int8_calibrated", "uint8_calibrated"):
        kind = np.iinfo(name.partition("_")[0])
        assert {arrays[name].min(), arrays[name].max()} == {kind.min, kind.max}, name
    low, high = arrays["ranges"]
    position = (arrays["vectors"] - low) / np.where(high == low, 1, (high - low) / 255)
    assert (np.clip(np.rint(position), 0, 255) != arrays["uint8"]).mean() > 0.3
    bits = np.unpackbits(arrays["ubinary"], axis=1)
    assert bits.shape == arrays["vectors"].shape
    assert bits[0, :4].tolist() == [0, 0, 1, 0]
