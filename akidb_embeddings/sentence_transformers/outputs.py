"""The vectors of a call in the form that its arguments ask for."""

import logging
from typing import Any

from akidb_embeddings.errors import ConfigurationError, InputError
from akidb_embeddings.vectors.finish import Vectors
from akidb_embeddings.vectors.precision import Quantized, quantize

_log = logging.getLogger(__name__)
_FEW = 100  # vectors below which sentence-transformers warns that ranges are not stable


def quantized(vectors: Vectors, precision: str) -> Quantized:
    """What sentence-transformers' ``encode`` makes of the float32 vectors of a call.

    Its int8 and uint8 are levels within the ranges of these very vectors: those of another call have other ranges.

    Raises:
        InputError: There is one vector alone, which has no ranges.
    """
    if precision not in ("int8", "uint8"):
        return quantize(vectors, precision)
    if not len(vectors):
        return vectors.astype(precision)
    if len(vectors) == 1:
        raise InputError(
            field="precision",
            reason=f"is {precision!r}, which needs the ranges of several vectors, and there is one. Embed in float32, "
            "and give akidb_embeddings.quantize the ranges, or vectors to calibrate with.",
        )
    if len(vectors) < _FEW:
        _log.warning("The ranges of %s are those of %d vectors; more of them are more stable.", precision, len(vectors))
    return quantize(vectors, precision, calibration=vectors)


def converted(vectors: Quantized, to_numpy: bool, to_tensor: bool) -> Any:
    """The vectors as an array, as one tensor, or as a list of tensors."""
    if to_tensor:
        return _torch("convert_to_tensor=True").from_numpy(vectors)
    return vectors if to_numpy else list(_torch("convert_to_numpy=False").from_numpy(vectors))


def _torch(argument: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ConfigurationError(
            f"{argument} needs PyTorch, which cannot be imported ({error}). Leave it out for NumPy arrays, or install "
            "torch."
        ) from error
    return torch
