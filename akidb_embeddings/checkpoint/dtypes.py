"""Which dtypes a tensor may have, by its role. A number that is read in another dtype gives wrong vectors in silence.

Headers alone are read. The role follows from the name: ``x.weight`` is packed if there is ``x.scales``. Every other
tensor that a forward pass of this library uses is a weight.
"""

from pathlib import Path

from akidb_embeddings.checkpoint.safetensors import Location, Tensors
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Architecture

FLOATS = ("F32", "F16", "BF16")
PACKED = ("U32",)
_SCALES = (*FLOATS, "U8")  # U8: those of MLX's mxfp4, mxfp8 and nvfp4
_WHOLE = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")


def check_dtypes(folder: Path, tensors: Tensors, architecture: Architecture) -> None:
    """Check each tensor's dtype against what its role allows.

    mlx-lm renames, fuses and drops tensors before they have a role, so of its tensors only those with a dtype that no
    role allows are rejected here; ``compute/weights.py`` checks the others.

    Raises:
        CheckpointError: A tensor has another dtype.
    """
    for name, location in tensors.items():
        allowed = _allowed(name, tensors, architecture)
        if location.dtype not in allowed:
            raise CheckpointError(
                f"{location.file} stores the tensor {location.key} as {location.dtype}; allowed: "
                f"{', '.join(allowed)}.{_way_out(folder, location)}"
            )


def _allowed(name: str, tensors: Tensors, architecture: Architecture) -> tuple[str, ...]:
    layer, _, kind = name.rpartition(".")
    if name in architecture.integers:
        return _WHOLE
    if name.startswith(architecture.ignored) or architecture.computed_by:
        return (*FLOATS, *_WHOLE)
    if f"{layer}.scales" in tensors:
        return {"weight": PACKED, "scales": _SCALES}.get(kind, FLOATS)
    return FLOATS


def _way_out(folder: Path, location: Location) -> str:
    if location.dtype == "F64":
        return (
            " Write the model once in float32, with transformers: "
            f"AutoModel.from_pretrained({str(folder)!r}, dtype='float32').save_pretrained('NEW_FOLDER')."
        )
    return (
        " Give the model in float32, float16 or bfloat16, or quantized by MLX: weights that are quantized in another "
        "way mean nothing without their scales, which this library does not apply."
    )
