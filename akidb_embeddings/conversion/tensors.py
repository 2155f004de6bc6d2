"""What is written of each tensor: quantized, in another dtype, or as it is.

Matrices are quantized. The table of token embeddings may have more bits than the others, and so may a language model's
output layer, of which a reranker reads two rows.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint
from akidb_embeddings.checkpoint.safetensors import Location
from akidb_embeddings.checkpoint.sparse import TORCH_FILE, WEIGHT_LAYER
from akidb_embeddings.errors import CheckpointError

if TYPE_CHECKING:
    from akidb_embeddings.compute.runtime import mx


@dataclass(frozen=True)
class Plan:
    """How weights are written.

    Attributes:
        bits: Bits per weight; None for no quantization.
        group_size: Weights per scale.
        table_bits: The same as ``bits``, for tables of which rows are read.
        dtype: The dtype of scales and of weights that are not quantized; None for the source's.
    """

    bits: int | None
    group_size: int
    table_bits: int | None
    dtype: str | None


@dataclass
class WrittenTensors:
    """The tensors to write by name, and the layers whose quantization differs from the others'."""

    arrays: dict[str, "mx.array"] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    quantized: int = 0
    kept: int = 0


def convert_tensors(checkpoint: BaseCheckpoint, plan: Plan) -> WrittenTensors:
    """Make the tensors to write of those that vectors or scores depend on.

    Raises:
        CheckpointError: A weight is not finite, before or after a cast; no matrix can be quantized; or the table of
            token embeddings is not found.
    """
    from akidb_embeddings.compute.runtime import mx
    from akidb_embeddings.compute.weights import load_tensors

    used = checkpoint.used_tensors
    tables = _tables(checkpoint)
    if plan.table_bits != plan.bits and not tables:
        raise CheckpointError(
            f"{checkpoint.path} has no table of token embeddings with a known name "
            f"({', '.join(checkpoint.architecture.embed_tokens)}).",
            hint="Leave {mixed} out.",
        )
    written = WrittenTensors()
    loaded = load_tensors(used)
    for name, location in used.items():
        key, is_kept = _stored_name(checkpoint, name, location), _is_kept(checkpoint, name)
        # Popped, so that the original can be freed.
        array = _cast(name, loaded.pop(name), None if is_kept else plan.dtype)
        is_matrix = name.endswith(".weight") and len(location.shape) == 2 and not is_kept
        bits = plan.table_bits if name in tables else plan.bits
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
    written.arrays |= _token_weights(checkpoint)
    if plan.bits and not written.quantized:
        raise CheckpointError(
            field="group_size",
            reason=f"is {plan.group_size}, but no matrix of {checkpoint.path} has rows divisible by it.",
        )
    return written


def _token_weights(checkpoint: BaseCheckpoint) -> dict[str, "mx.array"]:
    """The layer of tokens' weights that a folder has in torch's format alone, in float32."""
    from akidb_embeddings.compute.runtime import mx
    from akidb_embeddings.conversion.torch_file import read_torch_file  # NumPy takes time that --help does not need

    file = checkpoint.path / TORCH_FILE
    if not isinstance(checkpoint, Checkpoint) or checkpoint.sparse is not None or not file.is_file():
        return {}
    hidden = int(checkpoint.config["hidden_size"])
    found = read_torch_file(file, largest=8 * hidden)
    shapes = {name: tensor.shape for name, tensor in found.items()}
    if shapes not in ({"weight": (1, hidden)}, {"weight": (1, hidden), "bias": (1,)}):
        raise CheckpointError(f"{file} has {shapes!r:.200}; a weight {(1, hidden)} and a bias (1,) are expected.")
    arrays = {f"{WEIGHT_LAYER}.{name}": mx.array(tensor) for name, tensor in found.items()}
    return {name: _cast(name, array, None) for name, array in arrays.items()}


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


def _tables(checkpoint: BaseCheckpoint) -> tuple[str, ...]:
    """The tensors of which rows are read: the token embeddings, if they have a known name, and a reranker's answers."""
    endings = tuple(f"{name}.weight" for name in checkpoint.architecture.embed_tokens)
    found = [name for name in checkpoint.used_tensors if name.endswith(endings)][:1]
    return (*found, *(f"{layer}.weight" for layer in checkpoint.head_layers if found and _answers(checkpoint)))


def _is_kept(checkpoint: BaseCheckpoint, name: str) -> bool:
    """Whether a tensor is written as it is. A classifier's head is small, and decides the order of near scores."""
    return name.rpartition(".")[0] in checkpoint.head_layers and not _answers(checkpoint)


def _answers(checkpoint: BaseCheckpoint) -> bool:
    return isinstance(checkpoint, RerankerCheckpoint) and checkpoint.answers is not None


def _stored_name(checkpoint: BaseCheckpoint, name: str, location: Location) -> str:
    """The name to write.

    mlx-lm requires ``model.`` before names of decoders, but not before their heads'. Other encoders of vectors have
    short names, and classifiers their source's, by which transformers tells the encoder from the head.
    """
    if name.startswith(("dense.", f"{WEIGHT_LAYER}.")):
        return name
    prefix = checkpoint.architecture.prefix
    if prefix == "model.":
        return name if name.rpartition(".")[0] in checkpoint.head_layers else prefix + name
    return location.key if isinstance(checkpoint, RerankerCheckpoint) else name
