"""Dense layers after pooling, from their folders or from their tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.fields import FLAG, TEXT, Kind, check_fields, whole_from
from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.checkpoint.modules import SENTENCE_EMBEDDING, Step
from akidb_embeddings.checkpoint.safetensors import Tensors, pickle_hint
from akidb_embeddings.errors import CheckpointError

_ACTIVATIONS = ("Identity", "Tanh", "GELU", "ReLU")
_DENSE: Mapping[str, Kind] = {
    **dict.fromkeys(("in_features", "out_features"), whole_from(1)),
    **dict.fromkeys(("bias", "use_residual"), FLAG),
    "activation_function": TEXT,
}


@dataclass(frozen=True)
class Dense:
    """A dense layer after pooling, ``activation(x W^T + b)``.

    Attributes:
        inputs: The number of inputs.
        outputs: The number of outputs.
        bias: Whether there is a bias.
        activation: PyTorch's name of the activation.
    """

    inputs: int
    outputs: int
    bias: bool
    activation: str


def dense_layers(
    steps: Sequence[Step],
    tensors: Tensors,
    quantization: Mapping[str, Any],
    width: int,
    applied_to: str = SENTENCE_EMBEDDING,
) -> list[Dense]:
    """The dense layers.

    If a conversion dropped a layer's folder, the layer is inferred from its tensors (``dense.0.weight``, …). It has no
    activation then, as in EmbeddingGemma.

    Args:
        steps: The modules.
        tensors: The locations of the tensors by name.
        quantization: config.json's ``quantization``.
        width: The number of inputs of the first layer.
        applied_to: What they are applied to: the sentence's vector, or those of its tokens.

    Raises:
        CheckpointError: A layer is not supported, is missing, or does not fit the previous one.
    """
    folders = [step.folder for step in steps if step.kind == "Dense"]
    stored = sum(f"dense.{index}.weight" in tensors for index in range(16))
    layers = []
    for index in range(max(len(folders), stored)):
        file = folders[index] / "config.json" if index < len(folders) else None
        layer = (
            _dense_from_config(file, applied_to)
            if file and file.is_file()
            else _dense_from_tensors(index, tensors, quantization)
        )
        if layer.inputs != width:
            raise CheckpointError(f"Dense layer {index} takes {layer.inputs} inputs, but gets {width}.")
        layers.append(layer)
        width = layer.outputs
    return layers


def check_dense_weights(
    steps: Sequence[Step], layers: Sequence[Dense], tensors: Tensors, quantization: Mapping[str, Any]
) -> None:
    """Check that the weights of each dense layer exist and have the shape that its config.json gives.

    Raises:
        CheckpointError: They do not.
    """
    folders = [step.folder for step in steps if step.kind == "Dense"]
    for index, layer in enumerate(layers):
        if f"dense.{index}.weight" not in tensors:
            folder = folders[index]
            hint = pickle_hint(folder, folder.parent) or " Dense layers stored as pytorch_model.bin are not downloaded."
            raise CheckpointError(f"{folder} has no model.safetensors for its dense layer.{hint}")
        stored = _dense_from_tensors(index, tensors, quantization)
        if (stored.inputs, stored.outputs) != (layer.inputs, layer.outputs):
            raise CheckpointError(
                f"Dense layer {index} has weights for {stored.inputs} inputs and {stored.outputs} outputs; its "
                f"config.json gives {layer.inputs} and {layer.outputs}."
            )


def _dense_from_config(file: Path, applied_to: str) -> Dense:
    config = read_json(file)
    check_fields(file, config, _DENSE)
    if config.get("use_residual"):
        raise CheckpointError(
            f"{file} sets use_residual: this dense layer adds its input to its output, which is not supported."
        )
    name = config.get("activation_function", "Tanh").rsplit(".", 1)[-1]
    if name not in _ACTIVATIONS:
        raise CheckpointError(f"{file} sets the activation {name}; supported: {', '.join(_ACTIVATIONS)}.")
    for key in ("module_input_name", "module_output_name"):
        if config.get(key, applied_to) != applied_to:
            raise CheckpointError(f"{file} sets {key} to {config[key]!r}; only {applied_to!r} is supported.")
    if config.get("in_features") is None or config.get("out_features") is None:
        raise CheckpointError(f"{file} does not give in_features and out_features.")
    return Dense(config["in_features"], config["out_features"], bool(config.get("bias", True)), name)


def _dense_from_tensors(index: int, tensors: Tensors, quantization: Mapping[str, Any]) -> Dense:
    if f"dense.{index}.weight" not in tensors:
        raise CheckpointError(f"modules.json lists dense layer {index}, but neither its folder nor its weights exist.")
    outputs, inputs = _matrix_shape(f"dense.{index}.weight", tensors)
    if f"dense.{index}.scales" in tensors:
        override = quantization.get(f"dense.{index}")
        entry = override if isinstance(override, Mapping) else quantization
        if entry.get("group_size") is None:
            raise CheckpointError(f"dense.{index} is quantized, but config.json's quantization gives no group_size.")
        inputs = _matrix_shape(f"dense.{index}.scales", tensors)[1] * int(entry["group_size"])
    return Dense(inputs, outputs, f"dense.{index}.bias" in tensors, "Identity")


def _matrix_shape(name: str, tensors: Tensors) -> tuple[int, int]:
    shape = tensors[name].shape
    if len(shape) != 2:
        raise CheckpointError(f"The tensor {name} has shape {shape}; a matrix [outputs, inputs] is required.")
    return shape
