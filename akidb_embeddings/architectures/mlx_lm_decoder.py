"""Decoders of any architecture that mlx-lm implements, without the language-model head.

mlx-lm builds the layers and names the tensors. Its linear layers and embedding tables are then replaced by this
library's, so that weights are stored as the backend requires and each tensor is used once or named in an error.
"""

import importlib
import inspect
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.checkpoint.architecture import mlx_lm_file
from akidb_embeddings.checkpoint.arguments import mapping, required, supported
from akidb_embeddings.compute.backend import WeightStorage
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.layers import Packed, expanded
from akidb_embeddings.compute.pooling import select_tokens
from akidb_embeddings.compute.runtime import import_nn, mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Config

_PACKAGE = "_akidb_mlx_lm"
_DECODERS = ("model", "transformer", "backbone")  # mlx-lm's names for the layers before the head
_IMPLIED_SETTINGS: Mapping[
    str, tuple[Any, ...]
] = {  # the values that mlx-lm's models assume for settings they do not read
    "rope_theta": (None, 10000),
    "rope_scaling": (None, {}),
    "partial_rotary_factor": (None, 1),
}
# Architectures whose hidden states matched transformers' with a cosine of 0.999999: random models, mlx-lm 0.32.2.
_VERIFIED = {
    "apertus", "cohere", "cohere2", "exaone4", "gemma", "gemma2", "glm4", "gpt2", "granite", "helium", "lfm2",
    "llama", "mamba", "mamba2", "ministral3", "mixtral", "nemotron", "olmo2", "olmo3", "olmoe", "phi", "phi3",
    "qwen2", "qwen3", "qwen3_moe", "qwen3_next", "seed_oss", "smollm3", "stablelm", "starcoder2",
}  # fmt: skip
# Architectures that use SiLU and ignore config.json's activation.
_ALWAYS_SILU = {
    "cohere", "cohere2", "exaone4", "glm4", "granite", "helium", "llama", "ministral3", "mixtral", "olmo2", "olmo3",
    "olmoe", "phi3", "qwen2", "qwen3", "qwen3_moe", "qwen3_next", "seed_oss", "smollm3", "stablelm",
}  # fmt: skip
# Architectures that differ from transformers for some values of a setting: the setting, its safe values, the reason.
_KNOWN_DIFFERENCES = {
    "jamba": ("num_experts", (None, 0, 1), "it weighs a token's experts differently"),
    "mamba2": ("n_groups", (1,), "it normalizes all groups together"),
}
_PREFIX_TOKENS = 8
_log = logging.getLogger(__name__)


class Decoder:
    """mlx-lm's decoder, called without a key-value cache, so that calls are independent."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, texts: Inputs) -> mx.array:
        # No mask: attention is causal (see ``_check_causality``), so real tokens do not see the padding on the right.
        return select_tokens(self.module(texts.ids, cache=None), texts.tokens)


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    file = mlx_lm_file(config)
    assert file is not None  # ``find_architecture`` has found it
    label = f"mlx-lm's {file.stem}"
    _check_known_differences(config, file.stem, label)
    model, name = _create_model(file, config, label)
    tensors = _sanitize(model, weights.encoder, label)
    if not any(key.startswith(f"{name}.") for key in tensors):
        # sentence-transformers saves a decoder without the prefix of its tensors' names. A new model, because
        # ``sanitize`` modifies some models.
        prefixed = {key if key.startswith("lm_head.") else f"{name}.{key}": x for key, x in weights.encoder.items()}
        model, name = _create_model(file, config, label)
        tensors = _sanitize(model, prefixed, label)
    heads = tuple(f"{child}." for child in model.children() if child != name)
    weights.encoder = {key: x for key, x in tensors.items() if not (heads and key.startswith(heads))}
    decoder = model[name]
    decoder.eval()
    _load_weights(decoder, name, weights)
    encoder = Decoder(decoder)
    _check_causality(encoder, config, label)
    return encoder


def _check_known_differences(config: Config, name: str, label: str) -> None:
    key, safe_values, why = _KNOWN_DIFFERENCES.get(name, ("", (None,), ""))
    if config.get(key) not in safe_values:
        raise CheckpointError(f"{label} gives other vectors than transformers where {key} is {config[key]!r}: {why}.")
    if name in _ALWAYS_SILU:
        supported(config, "hidden_act", None, None, "silu", "swish")
    if name not in _VERIFIED:
        _log.warning(
            "%s is not one of the architectures whose vectors were compared with those of transformers. Compare some "
            "before you rely on them.",
            label,
        )


def _create_model(file: Path, config: Config, label: str) -> tuple[Any, str]:
    """mlx-lm's model, still without the checkpoint's weights, and the name of its decoder."""
    try:
        module = _import(file)
        model = module.Model(_model_arguments(config, module.ModelArgs, label))
    except CheckpointError:
        raise
    except (Exception, SystemExit) as error:  # mlx-lm raises any exception for an unusable config
        raise CheckpointError(f"{label} cannot be built from config.json: {error!r}") from error
    for name in _DECODERS:
        if isinstance(model.get(name), Mapping):  # MLX's modules are dictionaries
            return model, name
    raise CheckpointError(f"{label} returns only logits, no hidden states, so it cannot compute embeddings.")


def _import(file: Path) -> ModuleType:
    """mlx-lm's module, imported as part of a package of this library.

    ``import mlx_lm`` would also import transformers, which takes seconds, and permanently lower the process's limit of
    open files.
    """
    if _PACKAGE not in sys.modules:
        package = ModuleType(_PACKAGE)
        package.__path__ = [str(file.parents[1])]
        sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.models.{file.stem}")


def _model_arguments(config: Config, arguments_class: Any, label: str) -> Any:
    """mlx-lm's model arguments; CheckpointError if it would ignore a setting that affects vectors."""
    parameters_read = inspect.signature(arguments_class).parameters
    settings = {key: _decode_float(value) for key, value in config.items()}
    if "rope_parameters" not in parameters_read:
        settings |= _flatten_rope(config, label)
        for key, implied in _IMPLIED_SETTINGS.items():
            if key not in parameters_read and settings.get(key) not in implied:
                raise CheckpointError(f"config.json sets {key} to {settings[key]!r}, which {label} does not read.")
    for rope in (settings.get("rope_scaling"), settings.get("rope_parameters")):
        if isinstance(rope, Mapping) and {"longrope", "su"} & {rope.get("rope_type"), rope.get("type")}:
            raise CheckpointError(
                "config.json sets the rope type 'longrope', for which mlx-lm uses the factors of long texts for all "
                "texts. The vectors would differ from the authors'."
            )
    arguments = arguments_class.from_dict(settings)
    if settings.get("rope_scaling") and "rope_scaling" in parameters_read and not arguments.rope_scaling:
        raise CheckpointError(
            f"config.json sets rope_scaling to {settings['rope_scaling']}, which {label} does not support."
        )
    return arguments


def _decode_float(value: Any) -> Any:
    """Decode floats that transformers 5 writes as ``{"__float__": "Infinity"}``."""
    if isinstance(value, list):
        return [_decode_float(item) for item in value]
    return float(value["__float__"]) if isinstance(value, Mapping) and "__float__" in value else value


def _flatten_rope(config: Config, label: str) -> dict[str, Any]:
    """transformers 5's ``rope_parameters`` as transformers 4's keys, which most of mlx-lm's models read."""
    rope, legacy = mapping(config, "rope_parameters"), mapping(config, "rope_scaling")
    if rope and legacy.get("rope_type", legacy.get("type", "default")) not in ("default", rope.get("rope_type")):
        raise CheckpointError(
            f"config.json gives rope_parameters as {dict(rope)!r} and rope_scaling as {dict(legacy)!r}; they disagree."
        )
    entries = list(rope.values())
    if entries and isinstance(entries[0], Mapping):  # by layer type
        if any(entry != entries[0] for entry in entries):
            raise CheckpointError(f"config.json gives rope_parameters by layer type, which {label} does not read.")
        rope = entries[0]
    flattened = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    scaling = dict(rope or legacy)
    scaling["type"] = scaling["rope_type"] = scaling.get("rope_type") or scaling.get("type") or "default"
    return {**flattened, "rope_scaling": None if scaling["type"] == "default" else scaling}


def _sanitize(model: Any, tensors: dict[str, mx.array], label: str) -> dict[str, mx.array]:
    """The tensors, renamed, fused and reshaped by mlx-lm."""
    try:
        renamed: dict[str, mx.array] = model.sanitize(tensors) if hasattr(model, "sanitize") else tensors
    except Exception as error:  # mlx-lm raises any exception for unexpected tensors
        raise CheckpointError(f"{label} cannot use the checkpoint's tensors: {error!r}") from error
    return renamed


def _load_weights(decoder: Any, name: str, weights: Weights) -> None:
    """Load the weights of every layer of mlx-lm's decoder."""
    nn, utils = import_nn()
    parameters = utils.tree_flatten(decoder.parameters())
    layers = {path: module for path, module in decoder.named_modules() if hasattr(module, "to_quantized")}
    matrices = {f"{path}.weight" for path in layers}
    biases = {f"{path}.bias" for path, module in layers.items() if type(module) is nn.Linear}
    others = [
        (path, weights.parameter(f"{name}.{path}", array))
        for path, array in parameters
        if path not in matrices | biases
    ]
    decoder.update(utils.tree_unflatten(others))
    for path, module in layers.items():
        full = f"{name}.{path}"
        layer: Any
        if type(module) is nn.Linear:
            outputs, inputs = module.weight.shape
            layer = weights.linear(full, inputs, outputs, "bias" in module)
        elif type(module) is nn.Embedding:
            layer = weights.embedding(full, *module.weight.shape)
        else:
            layer = _load_other_layer(module, full, weights)
        _set_module(decoder, path, layer)


def _load_other_layer(module: Any, name: str, weights: Weights) -> Any:
    """Load any other layer, such as the experts' matrices [experts, out, in]. It remains mlx-lm's, packed or not."""
    weight = weights.matrix(name, *module.weight.shape)
    if not isinstance(weight, Packed) or weights.storage is WeightStorage.EXPANDED:
        module.weight = expanded(weight, weights.dtype)
        mx.eval(module.weight)
        return module
    q = weight.quantization
    quantized = module.to_quantized(group_size=q.group_size, bits=q.bits, mode=q.mode)
    quantized.weight, quantized.scales, quantized.biases = weight.weight, weight.scales, weight.biases
    return quantized


def _set_module(root: Any, path: str, layer: Any) -> None:
    """Set the attribute or list element at ``path`` (``layers.0.mlp.up_proj``)."""
    *parents, last = path.split(".")
    for part in parents:
        root = root[int(part)] if isinstance(root, list) else root[part]
    if isinstance(root, list):
        root[int(last)] = layer
    else:
        setattr(root, last, layer)


def _check_causality(encoder: Decoder, config: Config, label: str) -> None:
    """Check with one forward pass that the states of a common prefix do not depend on the tokens after it."""
    hidden, vocab_size = required(config, "hidden_size", "vocab_size")
    prefix = np.arange(1, _PREFIX_TOKENS + 1)
    ids = np.stack([np.append(prefix, prefix + end) for end in (_PREFIX_TOKENS, 3 * _PREFIX_TOKENS)]) % vocab_size
    try:
        texts = Inputs(mx.array(ids.astype(np.int32)), np.full(2, 2 * _PREFIX_TOKENS, dtype=np.int32))
        states = np.array(encoder(texts).astype(mx.float32))
    except Exception as error:  # mlx-lm raises any exception
        raise CheckpointError(f"{label} does not compute hidden states here: {error!r}") from error
    if states.shape != (2, 2 * _PREFIX_TOKENS, hidden):
        raise CheckpointError(
            f"{label} returns an array of shape {states.shape} for two texts of {2 * _PREFIX_TOKENS} tokens instead of "
            f"hidden states of size {hidden}, so it cannot compute embeddings."
        )
    first, second = states[:, :_PREFIX_TOKENS]
    if np.abs(first - second).max() > 1e-2 * np.abs(first).max():
        raise CheckpointError(
            f"In {label}, tokens attend to later ones, so a text's vector would depend on the lengths of other texts."
        )
