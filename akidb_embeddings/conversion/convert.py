"""Conversion of a supported Hugging Face checkpoint to MLX's format, quantized or not, in mlx-community's layout.

The result is a folder that ``EmbeddingService`` loads like any other: config.json with a ``quantization`` entry, all
weights in model.safetensors (dense layers as ``dense.0.weight``, …), the source's tokenizer and sentence-transformers
files, and settings that only the registry has.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akidb_embeddings.checkpoint.checkpoint import Checkpoint, read_checkpoint
from akidb_embeddings.checkpoint.safetensors import Tensors
from akidb_embeddings.conversion.folder_writer import write_files, write_json
from akidb_embeddings.errors import CheckpointError, ConfigurationError
from akidb_embeddings.registry import ModelSpec

if TYPE_CHECKING:
    from akidb_embeddings.compute.runtime import mx
    from akidb_embeddings.diagnostics.quality import Quality

BITS = (2, 3, 4, 5, 6, 8)
GROUP_SIZES = (32, 64, 128)
DTYPES = ("float32", "float16", "bfloat16")
# The bits of the table of token embeddings in a mixed conversion. The table is gathered, not multiplied, so its size
# costs only memory, and its errors affect all layers.
_EMBED_TOKENS_BITS = 8


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        path: The new folder.
        size_bytes: The size of its weights in bytes.
        quantized: The number of quantized matrices.
        tensors: The number of tensors.
        kept: The number of matrices that were not quantized, because their rows do not divide into groups.
        quality: How much the vectors differ from the source's; None if it was not measured.
    """

    path: Path
    size_bytes: int
    quantized: int
    tensors: int
    kept: int = 0
    quality: "Quality | None" = None


@dataclass(frozen=True)
class _Plan:
    """How weights are written. ``embed_tokens_bits`` is for the table of token embeddings."""

    bits: int | None
    group_size: int
    embed_tokens_bits: int | None
    dtype: str | None


@dataclass
class _WrittenTensors:
    """The tensors to write by name, and the layers whose quantization differs from the others'."""

    arrays: dict[str, "mx.array"] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    quantized: int = 0
    kept: int = 0


def convert(
    source: Path,
    destination: Path,
    *,
    bits: int | None = None,
    group_size: int = 64,
    mixed: bool = False,
    dtype: str | None = None,
    spec: ModelSpec | None = None,
    measure: bool = False,
) -> Conversion:
    """Write the model in ``source`` to the new folder ``destination``. A failed conversion leaves no files.

    Args:
        source: A model folder in Hugging Face's layout, weights in float32, float16 or bfloat16.
        destination: A folder that does not exist yet, or is empty.
        bits: Bits per weight, one of ``BITS``; None for no quantization.
        group_size: Weights per scale, one of ``GROUP_SIZES``.
        mixed: Whether to keep the table of token embeddings at 8 bits, with fewer ``bits`` for the others.
        dtype: The dtype of scales and of weights that are not quantized, one of ``DTYPES``; None for the source's.
        spec: The source's entry in the registry; settings that the source's folder lacks are added to the new one.
        measure: Whether to compare the vectors of both models; the destination is written only if both can be computed.

    Raises:
        ConfigurationError: ``bits``, ``group_size``, ``mixed``, ``dtype`` or ``destination`` is not allowed, or they
            are not compatible.
        CheckpointError: The source is not a supported model, is already quantized, or has no matrix that can be
            quantized; a weight is not finite, in the source or in ``dtype``; or the destination cannot be written.
        WorkerError: With ``measure``, a model cannot be computed; see ``EmbeddingService``.
    """
    plan = _Plan(bits, group_size, _EMBED_TOKENS_BITS if mixed else bits, dtype)
    _check_arguments(destination, plan, mixed)
    checkpoint = read_checkpoint(source, spec)
    _check_source(checkpoint, dtype)
    absolute = destination.absolute()  # "." has no name
    staging = absolute.with_name(absolute.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with _translate_disk_errors(destination):
            staging.mkdir(parents=True)
            written, tensors = _write(checkpoint, spec, staging, plan)
        quality = _quality(source, staging) if measure else None
        with _translate_disk_errors(destination):
            size = (staging / "model.safetensors").stat().st_size
            if destination.exists():
                destination.rmdir()
            staging.rename(destination)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Conversion(destination, size, written.quantized, tensors, written.kept, quality)


@contextlib.contextmanager
def _translate_disk_errors(destination: Path) -> Iterator[None]:
    """Translate errors of the file system."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{destination} cannot be written: {error}. Free some space, or give another folder."
        ) from error


def _quality(source: Path, converted: Path) -> "Quality":
    from akidb_embeddings.diagnostics.quality import compare
    from akidb_embeddings.diagnostics.stored_weights import changed_matrix, misread_tensor

    before, after = read_checkpoint(source), read_checkpoint(converted)
    # Both models are read by the same code, so their vectors agree even if it reads both wrongly.
    if fault := misread_tensor(before) or misread_tensor(after) or changed_matrix(before, after):
        raise CheckpointError(f"The weights of {source} were not converted as they are stored. {fault}.")
    return compare(source, converted)


def _check_arguments(destination: Path, plan: _Plan, mixed: bool) -> None:
    if plan.bits is not None and plan.bits not in BITS:
        raise ConfigurationError(field="bits", reason=f"is {plan.bits}; allowed: {', '.join(map(str, BITS))}.")
    if plan.group_size not in GROUP_SIZES:
        raise ConfigurationError(
            field="group_size", reason=f"is {plan.group_size}; allowed: {', '.join(map(str, GROUP_SIZES))}."
        )
    if plan.dtype is not None and plan.dtype not in DTYPES:
        raise ConfigurationError(field="dtype", reason=f"is {plan.dtype!r}; allowed: {', '.join(DTYPES)}.")
    if mixed and (plan.bits is None or plan.bits >= _EMBED_TOKENS_BITS):
        fewer = ", ".join(str(bits) for bits in BITS if bits < _EMBED_TOKENS_BITS)
        raise ConfigurationError(
            field="mixed",
            reason=f"keeps the table of token embeddings at {_EMBED_TOKENS_BITS} bits while the others have fewer.",
            hint=f"Set {{bits}}, which is {plan.bits}, to one of {fewer}, or leave {{mixed}} out.",
        )
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ConfigurationError(f"{destination} already exists; give a new folder, or remove it first.")


def _check_source(checkpoint: Checkpoint, dtype: str | None) -> None:
    if checkpoint.architecture.computed_by:
        raise CheckpointError(
            f"{checkpoint.path} is computed by {checkpoint.architecture.computed_by}: convert it with "
            "mlx_lm.convert, and copy its sentence-transformers files into the result."
        )
    if checkpoint.quantization:
        raise CheckpointError(f"{checkpoint.path} is already quantized; convert its full-precision original instead.")
    if dtype == "float16" and not checkpoint.architecture.float16(checkpoint.config):
        raise ConfigurationError(
            field="dtype",
            reason=f"is float16, but activations of {checkpoint.config['model_type']} models overflow it. Give "
            "bfloat16, which takes the same space, or float32.",
        )


def _write(checkpoint: Checkpoint, spec: ModelSpec | None, folder: Path, plan: _Plan) -> tuple[_WrittenTensors, int]:
    """Write the whole folder. Returns the written tensors and the number of tensors."""
    from akidb_embeddings.compute.runtime import mx

    used = _encoder_tensors(checkpoint)
    written = _convert_tensors(checkpoint, used, plan)
    try:
        mx.save_safetensors(str(folder / "model.safetensors"), written.arrays, {"format": "mlx"})
    except RuntimeError as error:  # the arrays are already evaluated, so writing has failed
        is_full = shutil.disk_usage(folder).free < sum(array.nbytes for array in written.arrays.values())
        raise OSError(os.strerror(errno.ENOSPC) if is_full else str(error)) from error
    total = sum(array.nbytes for array in written.arrays.values())
    index = {
        "metadata": {"total_size": total},
        "weight_map": dict.fromkeys(sorted(written.arrays), "model.safetensors"),
    }
    write_json(folder / "model.safetensors.index.json", index)
    quantization = {"group_size": plan.group_size, "bits": plan.bits, **written.overrides} if plan.bits else None
    write_files(checkpoint, spec, folder, quantization, plan.dtype)
    written.arrays.clear()
    mx.clear_cache()
    return written, len(used)


def _convert_tensors(checkpoint: Checkpoint, used: Tensors, plan: _Plan) -> _WrittenTensors:
    from akidb_embeddings.compute.runtime import mx
    from akidb_embeddings.compute.weights import load_tensors

    prefix = _stored_prefix(checkpoint)
    table = _embed_tokens_name(checkpoint, used)
    if plan.embed_tokens_bits != plan.bits and table is None:
        raise CheckpointError(
            f"{checkpoint.path} has no table of token embeddings with a known name "
            f"({', '.join(checkpoint.architecture.embed_tokens)}).",
            hint="Leave {mixed} out.",
        )
    written = _WrittenTensors()
    loaded = load_tensors(used)
    for name in used:
        key = name if name.startswith("dense.") else prefix + name
        array = _cast(name, loaded.pop(name), plan.dtype)  # popped, so that the original can be freed
        is_matrix = name.endswith(".weight") and len(used[name].shape) == 2
        bits = plan.embed_tokens_bits if name == table else plan.bits
        if bits and is_matrix and array.shape[1] % plan.group_size == 0:
            layer = key.removesuffix(".weight")
            packed = mx.quantize(array, plan.group_size, bits)
            parts = dict(zip((key, f"{layer}.scales", f"{layer}.biases"), packed, strict=True))
            written.quantized += 1
            if bits != plan.bits:
                written.overrides[layer] = {"group_size": plan.group_size, "bits": bits}
        else:
            parts = {key: array}
            written.kept += bool(bits and is_matrix)
        mx.eval(*parts.values())
        written.arrays |= parts
    if plan.bits and not written.quantized:
        raise CheckpointError(
            field="group_size",
            reason=f"is {plan.group_size}, but no matrix of {checkpoint.path} has rows divisible by it.",
        )
    return written


def _cast(name: str, array: "mx.array", dtype: str | None) -> "mx.array":
    """The tensor in ``dtype``; CheckpointError if a value is not finite, before or after the cast."""
    from akidb_embeddings.compute.runtime import mx

    if not mx.issubdtype(array.dtype, mx.floating):
        return array
    cast = array if dtype is None else array.astype(getattr(mx, dtype))
    if mx.isfinite(cast).all().item():
        return cast
    if mx.isfinite(array).all().item():
        largest = mx.abs(array).max().item()
        raise CheckpointError(f"The tensor {name} has values up to {largest:g}, which overflow {dtype}; give bfloat16.")
    raise CheckpointError(f"The tensor {name} has NaN or infinity: the weights are damaged; copy them again.")


def _encoder_tensors(checkpoint: Checkpoint) -> Tensors:
    """The tensors that embeddings use."""
    ignored = checkpoint.architecture.ignored
    return {name: location for name, location in checkpoint.tensors.items() if not name.startswith(ignored)}


def _stored_prefix(checkpoint: Checkpoint) -> str:
    """The prefix of written names: mlx-lm requires ``model.`` for decoders; encoders keep their names."""
    return checkpoint.architecture.prefix if checkpoint.architecture.prefix == "model." else ""


def _embed_tokens_name(checkpoint: Checkpoint, used: Tensors) -> str | None:
    """The name of the table of token embeddings; None if no tensor has one of the architecture's names for it."""
    endings = tuple(f"{name}.weight" for name in checkpoint.architecture.embed_tokens)
    return next((name for name in used if name.endswith(endings)), None)
