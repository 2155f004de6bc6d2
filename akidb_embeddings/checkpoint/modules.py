"""What follows the encoder: pooling, dense layers and normalization, from the sentence-transformers files of a model.

``modules.json`` lists the steps, each with a folder of its own (``1_Pooling``, ``2_Dense``, …). Conversions often drop
some of these files; what can be told from the rest is told, and what is known to be unsupported is refused.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.checkpoint.safetensors import Tensors
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.poolings import POOLING_MODES, POOLINGS

# Pooling by sentence-transformers' names, and the flags that earlier releases wrote, also of modes that are refused.
_POOLINGS = {mode.name: pooling for pooling, mode in POOLING_MODES.items()}
_POOLING_FLAGS = {
    **{mode.flag: mode.name for mode in POOLING_MODES.values()},
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_ACTIVATIONS = ("Identity", "Tanh", "GELU", "ReLU")
_ENCODERS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
_NOTHING: tuple[Any, ...] = (None, {}, [])
# What sentence-transformers writes for a plain text encoder.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "transformer_task": ("feature-extraction",),
    "modality_config": ({"text": {"method": "forward", "method_output_name": "last_hidden_state"}},),
    "module_output_name": ("token_embeddings",),
}
_VECTOR = "sentence_embedding"
# pplx-embed's own module, and what it does unless told otherwise: integers from -127 to 127 by tanh.
INT8_BY_TANH = "st_quantize.FlexibleQuantizer"
_ORDER = re.compile(rf"Transformer( Pooling)?( Dense)*( Normalize| {re.escape(INT8_BY_TANH)})?")


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling: ``activation(x W^T + b)``, the activation under PyTorch's name."""

    inputs: int
    outputs: int
    bias: bool
    activation: str


@dataclass(frozen=True)
class TransformerSettings:
    """What sentence-transformers adds to an encoder.

    Attributes:
        max_seq_length: The limit of tokens, special tokens included; None if there is none.
        do_lower_case: Whether texts are lowercased before they are tokenized.
        file: The name of the file that says so.
        settings: The whole file.
    """

    max_seq_length: int | None
    do_lower_case: bool
    file: str = field(default="sentence_bert_config.json", compare=False)
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Step:
    """One entry of modules.json: its kind (``Pooling``) and its folder."""

    kind: str
    folder: Path


def read_steps(path: Path) -> list[Step]:
    """The steps of modules.json; where there is none, those whose folders lie there.

    CheckpointError: they are not the ones this library computes, in the order in which it does.
    """
    modules = read_json(path / "modules.json", default=[])
    try:
        steps = [Step(_kind(str(module["type"])), path / str(module["path"])) for module in modules]
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path / 'modules.json'} is no list of modules with type and path ({error!r})."
        ) from None
    if not steps:
        steps = [Step("Transformer", path), *_folders(path)]
    order = " ".join(step.kind for step in steps)
    if not _ORDER.fullmatch(order):
        raise CheckpointError(
            f"{path / 'modules.json'} asks for {order.replace(' ', ', ')}. This library computes Transformer, Pooling, "
            "any Dense, and Normalize, in this order; anything else would give other vectors than its authors'."
        )
    if steps[0].folder != path:
        raise CheckpointError(f"{path / 'modules.json'} puts the encoder into {steps[0].folder.name}, not the root.")
    return steps


def _kind(name: str) -> str:
    """``Pooling`` of ``sentence_transformers.models.Pooling``; the whole name of code that is not its own."""
    return name.rsplit(".", 1)[-1] if name.startswith("sentence_transformers.") else name


def _folders(path: Path) -> list[Step]:
    found = [folder for folder in path.glob("*_*") if folder.name.partition("_")[0].isdigit() and folder.is_dir()]
    ordered = sorted(found, key=lambda folder: int(folder.name.partition("_")[0]))
    return [Step(folder.name.partition("_")[2], folder) for folder in ordered]


def transformer_settings(path: Path) -> TransformerSettings:
    """The settings in sentence_bert_config.json, which older releases named after the encoder.

    CheckpointError: a setting this library does not honour, so that vectors would differ.
    """
    files = [path / f"sentence_{name}_config.json" for name in _ENCODERS]
    file = next((file for file in files if file.is_file()), files[0])
    config = read_json(file)
    for key, value in config.items():
        if key not in ("max_seq_length", "do_lower_case", "unpad_inputs") and value not in _NEUTRAL.get(key, _NOTHING):
            raise CheckpointError(f"{file} sets {key} to {value!r}, which is not supported.")
    limit = config.get("max_seq_length")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise CheckpointError(f"{file} gives max_seq_length as {limit!r}; it must be a positive integer.")
    return TransformerSettings(limit, bool(config.get("do_lower_case")), file.name, config)


def trained_pooling(steps: Sequence[Step]) -> str | None:
    """``mean``, ``cls`` or ``last`` from the pooling step's config.json; None where there is no such file."""
    files = [step.folder / "config.json" for step in steps if step.kind == "Pooling"]
    if not files or not files[0].is_file():
        return None
    config = read_json(files[0])
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else list(mode or [])
    modes += [name for flag, name in _POOLING_FLAGS.items() if config.get(flag)]
    modes = modes or ["mean"]  # sentence-transformers' own default
    if len(modes) > 1 or modes[0] not in _POOLINGS:
        raise CheckpointError(
            f"{files[0]} asks for {' + '.join(modes)} pooling; supported: one of {', '.join(POOLINGS)}."
        )
    if config.get("include_prompt") is False:
        raise CheckpointError(f"{files[0]} leaves prompts out of pooling, which is not supported (include_prompt).")
    return _POOLINGS[modes[0]]


def dense_layers(steps: Sequence[Step], tensors: Tensors, quantization: Mapping[str, Any], width: int) -> list[Dense]:
    """The dense layers, each beginning where the one before ends, the first at ``width``.

    A layer whose folder a conversion dropped is read off its tensors, ``dense.0.weight`` and so on; such layers have
    no activation, as in EmbeddingGemma.
    """
    folders = [step.folder for step in steps if step.kind == "Dense"]
    stored = sum(f"dense.{index}.weight" in tensors for index in range(16))
    layers = []
    for index in range(max(len(folders), stored)):
        file = folders[index] / "config.json" if index < len(folders) else None
        layer = _described(file) if file and file.is_file() else _measured(index, tensors, quantization)
        if layer.inputs != width:
            raise CheckpointError(f"Dense layer {index} takes {layer.inputs} values, but {width} reach it.")
        layers.append(layer)
        width = layer.outputs
    return layers


def _described(file: Path) -> Dense:
    config = read_json(file)
    name = str(config.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
    if name not in _ACTIVATIONS or config.get("use_residual"):
        raise CheckpointError(f"{file} asks for {name} or a residual; supported: {', '.join(_ACTIVATIONS)}.")
    for key in ("module_input_name", "module_output_name"):
        if config.get(key, _VECTOR) != _VECTOR:
            raise CheckpointError(f"{file} sets {key} to {config[key]!r}; only {_VECTOR!r} is computed.")
    try:
        return Dense(int(config["in_features"]), int(config["out_features"]), bool(config.get("bias", True)), name)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} does not give in_features and out_features ({error!r}).") from None


def _measured(index: int, tensors: Tensors, quantization: Mapping[str, Any]) -> Dense:
    if f"dense.{index}.weight" not in tensors:
        raise CheckpointError(f"modules.json names dense layer {index}, but neither its folder nor its weights exist.")
    outputs, inputs = tensors[f"dense.{index}.weight"].shape
    if f"dense.{index}.scales" in tensors:
        own = quantization.get(f"dense.{index}")
        entry = own if isinstance(own, Mapping) else quantization
        if "group_size" not in entry:
            raise CheckpointError(f"dense.{index} is quantized, but config.json's quantization gives no group_size.")
        inputs = tensors[f"dense.{index}.scales"].shape[1] * int(entry["group_size"])
    return Dense(inputs, outputs, f"dense.{index}.bias" in tensors, "Identity")
