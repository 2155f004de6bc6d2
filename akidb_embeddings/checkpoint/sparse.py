"""What a folder says of sparse weights: BGE-M3's ``sparse_linear.safetensors``, or SPLADE's pooling."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from akidb_embeddings.checkpoint.safetensors import Location, Tensors, read_header
from akidb_embeddings.errors import CheckpointError

WEIGHT_LAYER = "sparse_linear"
"""The layer that gives each token of a text its weight, by the name of its file and tensors."""
WEIGHT_FILE = f"{WEIGHT_LAYER}.safetensors"
TORCH_FILE = f"{WEIGHT_LAYER}.pt"
"""The same as its authors publish it, in torch's format, which ``convert`` reads."""
_PARTS = ("weight", "bias")


@dataclass(frozen=True)
class TokenWeights:
    """A weight of each token of a text, as BGE-M3 has it. Texts have other outputs besides.

    Attributes:
        bias: Whether the layer has a bias.
    """

    bias: bool


@dataclass(frozen=True)
class Splade:
    """The logits of a masked language model, pooled over the tokens of a text. It is a model's only output.

    Attributes:
        strategy: How they are pooled: "max" or "sum".
        twice: Whether the logarithm is applied twice (``log1p_relu``).
        tied: Whether the last layer's weights are the token embeddings.
        bias: The name of the last layer's bias.
    """

    strategy: str
    twice: bool
    tied: bool
    bias: str


SparseHead = TokenWeights | Splade


def with_token_weights(path: Path, tensors: Tensors, hidden: int) -> tuple[Tensors, TokenWeights | None]:
    """The tensors with those of ``sparse_linear.safetensors``, and what they are; None if there are none.

    A converted folder has them in model.safetensors.

    Raises:
        CheckpointError: The file has other tensors, or they do not fit the model.
    """
    file = path / WEIGHT_FILE
    names = [f"{WEIGHT_LAYER}.{part}" for part in _PARTS]
    found: Mapping[str, Location] = read_header(file) if file.is_file() else {}
    if others := sorted(found.keys() - {*_PARTS}):
        raise CheckpointError(f"{file} has the tensor {others[0]!r:.80}; a layer has {' and '.join(_PARTS)}.")
    whole = {**tensors, **{f"{WEIGHT_LAYER}.{part}": location for part, location in found.items()}}
    if len(whole) < len(tensors) + len(found):
        raise CheckpointError(f"{path} has the layer {WEIGHT_LAYER} twice: in {WEIGHT_FILE} and in model.safetensors.")
    stored = [whole[name].shape if name in whole else None for name in names]
    if stored == [None, None]:
        return tensors, None
    if stored[0] != (1, hidden) or stored[1] not in (None, (1,)):
        raise CheckpointError(
            f"The layer {WEIGHT_LAYER} of {path} has weights of shape {stored[0]} and a bias of shape {stored[1]}; "
            f"{(1, hidden)} and {(1,)} are required."
        )
    return whole, TokenWeights(bias=stored[1] is not None)
