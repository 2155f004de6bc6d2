"""What a folder says of sparse weights: BGE-M3's ``sparse_linear.safetensors``, or SPLADE's pooling."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.fields import TEXT, check_fields, whole_from
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE, ModelFolder
from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.checkpoint.modules import SPLADE_POOLING
from akidb_embeddings.checkpoint.safetensors import Location, Tensors, read_header
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.heads import MaskedLMSpec

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
        most: The largest number of weights of a text, of which the highest are kept; None for all.
    """

    strategy: str
    twice: bool
    tied: bool
    bias: str
    most: int | None = None


SparseHead = TokenWeights | Splade

_MOST = "max_active_dims"
_STRATEGIES = ("max", "sum")
_ACTIVATIONS = {"relu": False, "log1p_relu": True}


def splade_head(
    folder: ModelFolder, tensors: Tensors, config: Mapping[str, Any], spec: MaskedLMSpec | None
) -> Splade | None:
    """The pooling of a folder with ``SpladePooling``; None if it has none.

    Args:
        folder: The folder.
        tensors: The locations of the tensors by name.
        config: config.json.
        spec: The layers of the architecture's masked language model; None if SPLADE is not implemented for it.

    Raises:
        CheckpointError: A setting is not supported, or a tensor is missing.
    """
    files = [step.folder / "config.json" for step in folder.steps if step.kind == SPLADE_POOLING]
    if not files:
        return None
    settings = read_json(files[0])
    check_fields(files[0], settings, dict.fromkeys(("pooling_strategy", "activation_function"), TEXT))
    check_fields(folder.path / PROMPTS_FILE, folder.description, {_MOST: whole_from(1)})
    if spec is None:
        raise CheckpointError(
            f"{files[0].parent.parent} makes sparse vectors with the masked language model of {config['model_type']}, "
            "which is not implemented; that of bert and distilbert is."
        )
    strategy = settings.get("pooling_strategy", "max")
    activation = settings.get("activation_function", "relu")
    if strategy not in _STRATEGIES or activation not in _ACTIVATIONS:
        raise CheckpointError(
            f"{files[0]} asks for the pooling {strategy!r:.80} of {activation!r:.80}; supported: "
            f"{' or '.join(_STRATEGIES)} of {' or '.join(_ACTIVATIONS)}."
        )
    # As in transformers, stored weights of the last layer count more than tied ones.
    tied = f"{spec.decoder}.weight" not in tensors
    if tied and config.get("tie_word_embeddings") is False:
        raise CheckpointError(f"{files[0].parent.parent} lacks the tensor {spec.decoder}.weight, which is not tied.")
    bias = next((name for name in spec.biases if name in tensors), spec.biases[0])
    return Splade(strategy, _ACTIVATIONS[activation], tied, bias, folder.description.get(_MOST))


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
