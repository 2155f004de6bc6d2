"""Any supported Hugging Face checkpoint to an MLX checkpoint, quantized or not, in the layout mlx-community uses.

The result is a folder that ``EmbeddingService`` loads by the same path as every other: config.json with a
``quantization`` entry, all weights (dense layers as ``dense.0.weight``, …) in model.safetensors, the tokenizer and the
sentence-transformers files as they were.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint import Checkpoint, read_checkpoint
from akidb_embeddings.errors import CheckpointError, ConfigurationError
from akidb_embeddings.tensor_files import Tensors

BITS = (2, 3, 4, 5, 6, 8)
GROUP_SIZES = (32, 64, 128)
_COPIED = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model", "LICENSE*")
_DESCRIPTIONS = ("modules.json", "sentence_*_config.json", "config_sentence_transformers.json", "*/config.json")


@dataclass(frozen=True)
class Conversion:
    """What was written: the folder, its weights in bytes, and how many matrices were quantized of how many."""

    path: Path
    size_bytes: int
    quantized: int
    tensors: int


def convert(
    source: Path,
    destination: Path,
    *,
    bits: int | None = None,
    group_size: int = 64,
) -> Conversion:
    """Write the model in ``source`` to the new folder ``destination``.

    Args:
        source: A model folder in Hugging Face's layout, weights in float32, float16 or bfloat16.
        destination: A folder that does not exist yet, or is empty.
        bits: Bits a weight, one of ``BITS``; None keeps the weights as they are.
        group_size: Weights that share a scale, one of ``GROUP_SIZES``.

    Raises:
        ConfigurationError: bits, group size or destination are not allowed.
        CheckpointError: the source is no supported model, is quantized already, or nothing in it can be quantized.
    """
    _check(destination, bits, group_size)
    checkpoint = read_checkpoint(source)
    if checkpoint.quantization:
        raise CheckpointError(f"{source} is quantized already; convert its full-precision original instead.")
    staging = destination.with_name(destination.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        quantized, total = _write_weights(checkpoint, staging, bits, group_size)
        _write_config(checkpoint, staging, {"group_size": group_size, "bits": bits} if bits else None)
        _copy(source, staging)
        if destination.exists():
            destination.rmdir()
        staging.rename(destination)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    size = (destination / "model.safetensors").stat().st_size
    return Conversion(destination, size, quantized, total)


def _check(destination: Path, bits: int | None, group_size: int) -> None:
    if bits is not None and bits not in BITS:
        raise ConfigurationError(f"bits is {bits}; allowed: {', '.join(map(str, BITS))}.")
    if group_size not in GROUP_SIZES:
        raise ConfigurationError(f"group_size is {group_size}; allowed: {', '.join(map(str, GROUP_SIZES))}.")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ConfigurationError(f"{destination} exists already; give a new folder, or remove it first.")


def _write_weights(checkpoint: Checkpoint, folder: Path, bits: int | None, group_size: int) -> tuple[int, int]:
    """Write model.safetensors and its index; how many matrices were quantized, and how many tensors there are."""
    from akidb_embeddings.runtime import mx
    from akidb_embeddings.weights import load_tensors

    kept = _used(checkpoint)
    prefix = _stored_prefix(checkpoint)
    arrays: dict[str, Any] = {}
    quantized = 0
    for name, array in load_tensors(kept).items():
        key = name if name.startswith("dense.") else prefix + name
        if bits and _is_matrix(name, kept) and array.shape[1] % group_size == 0:
            layer = key.removesuffix(".weight")
            arrays[key], arrays[f"{layer}.scales"], arrays[f"{layer}.biases"] = mx.quantize(array, group_size, bits)
            quantized += 1
        else:
            arrays[key] = array
        mx.eval(arrays[key])
    if bits and not quantized:
        raise CheckpointError(f"No matrix of {checkpoint.path} has rows divisible by group_size {group_size}.")
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, {"format": "mlx"})
    total = sum(array.nbytes for array in arrays.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict.fromkeys(sorted(arrays), "model.safetensors")}
    _write_json(folder / "model.safetensors.index.json", index)
    return quantized, len(kept)


def _used(checkpoint: Checkpoint) -> Tensors:
    """The tensors that embeddings pass through."""
    ignored = checkpoint.architecture.ignored
    return {name: location for name, location in checkpoint.tensors.items() if not name.startswith(ignored)}


def _stored_prefix(checkpoint: Checkpoint) -> str:
    """mlx-lm wants decoders' names to begin with ``model.``; encoders keep the names they have."""
    return checkpoint.architecture.prefix if checkpoint.architecture.prefix == "model." else ""


def _is_matrix(name: str, tensors: Tensors) -> bool:
    return name.endswith(".weight") and len(tensors[name].shape) == 2


def _write_config(checkpoint: Checkpoint, folder: Path, quantization: Mapping[str, Any] | None) -> None:
    config = dict(checkpoint.config)
    if quantization:
        config |= {"quantization": quantization, "quantization_config": quantization}
    _write_json(folder / "config.json", config)


def _copy(source: Path, folder: Path) -> None:
    """The tokenizer and the sentence-transformers files, in the folders they have."""
    for file in _matching(source, (*_COPIED, *_DESCRIPTIONS)):
        target = folder / file.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)


def _matching(folder: Path, patterns: Iterable[str]) -> set[Path]:
    return {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
