"""Decoders of any architecture that mlx-lm has, up to the hidden states that its language model's head would take.

mlx-lm builds the layers and names the tensors. Its linear maps and embedding tables are then exchanged for this
library's, so that weights are kept as the backend wants them and each tensor is used once or named in an error.
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
from numpy.typing import NDArray

from akidb_embeddings.architectures import Encoder
from akidb_embeddings.checkpoint.architecture import mlx_lm_file
from akidb_embeddings.checkpoint.arguments import mapping, required, supported
from akidb_embeddings.compute.backend import WeightStorage
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.layers import Packed, expanded
from akidb_embeddings.compute.runtime import import_nn, mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Config

_PACKAGE = "_akidb_mlx_lm"
_DECODERS = ("model", "transformer", "backbone")  # what mlx-lm's classes call what comes before the head
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {  # what mlx-lm's models do where they do not read a setting
    "rope_theta": (None, 10000),
    "rope_scaling": (None, {}),
    "partial_rotary_factor": (None, 1),
}
# Those whose hidden states agreed with transformers' to a cosine of 0.999999: random checkpoints, mlx-lm 0.32.2.
_COMPARED = {
    "apertus", "cohere", "cohere2", "exaone4", "gemma", "gemma2", "glm4", "gpt2", "granite", "helium", "lfm2",
    "llama", "mamba", "mamba2", "ministral3", "mixtral", "nemotron", "olmo2", "olmo3", "olmoe", "phi", "phi3",
    "qwen2", "qwen3", "qwen3_moe", "qwen3_next", "seed_oss", "smollm3", "stablelm", "starcoder2",
}  # fmt: skip
# Those that gate with SiLU, whatever config.json says.
_SILU = {
    "cohere", "cohere2", "exaone4", "glm4", "granite", "helium", "llama", "ministral3", "mixtral", "olmo2", "olmo3",
    "olmoe", "phi3", "qwen2", "qwen3", "qwen3_moe", "qwen3_next", "seed_oss", "smollm3", "stablelm",
}  # fmt: skip
# Those of which it is known when they do not: a setting, the values up to which all is well, and why.
_DIFFERENT = {
    "jamba": ("num_experts", (None, 0, 1), "it weighs a token's experts otherwise"),
    "mamba2": ("n_groups", (1,), "it normalizes all groups as one"),
}
_PROBE = 8  # tokens
_log = logging.getLogger(__name__)


class Decoder:
    """mlx-lm's module that gives hidden states, without a cache: each call sees its own texts and nothing else."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, ids: mx.array, lengths: NDArray[np.int32]) -> mx.array:
        # Causal, so that padding on the right is seen by no real token; ``_probe`` has made sure.
        states: mx.array = self.module(ids, cache=None)
        return states


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    file = mlx_lm_file(config)
    assert file is not None  # the architecture was found by it
    who = f"mlx-lm's {file.stem}"
    _tell_differences(config, file.stem, who)
    model, name = _model(file, config, who)
    tensors = _renamed(model, weights.encoder, who)
    if not any(key.startswith(f"{name}.") for key in tensors):
        # A decoder alone, as sentence-transformers saves it, lacks its name before every tensor's. Another model, for
        # renaming changes some.
        prefixed = {key if key.startswith("lm_head.") else f"{name}.{key}": x for key, x in weights.encoder.items()}
        model, name = _model(file, config, who)
        tensors = _renamed(model, prefixed, who)
    heads = tuple(f"{child}." for child in model.children() if child != name)
    weights.encoder = {key: x for key, x in tensors.items() if not (heads and key.startswith(heads))}
    decoder = model[name]
    decoder.eval()
    _fill(decoder, name, weights)
    encoder = Decoder(decoder)
    _probe(encoder, config, who)
    return encoder


def _tell_differences(config: Config, name: str, who: str) -> None:
    key, same, why = _DIFFERENT.get(name, ("", (None,), ""))
    if config.get(key) not in same:
        raise CheckpointError(f"{who} gives other vectors than transformers where {key} is {config[key]!r}: {why}.")
    if name in _SILU:
        supported(config, "hidden_act", None, None, "silu", "swish")
    if name not in _COMPARED:
        _log.warning(
            "%s is none of the architectures whose vectors were compared with those of transformers. Compare some "
            "before you rely on them.",
            who,
        )


def _model(file: Path, config: Config, who: str) -> tuple[Any, str]:
    """mlx-lm's model with no weights yet, and the name of the part of it that ends before the head."""
    try:
        code = _import(file)
        model = code.Model(_arguments(config, code.ModelArgs, who))
    except CheckpointError:
        raise
    except (Exception, SystemExit) as error:  # whatever mlx-lm's code raises for a config it cannot use
        raise CheckpointError(f"{who} cannot be built from config.json: {error!r}") from error
    for name in _DECODERS:
        if isinstance(model.get(name), Mapping):  # MLX's modules are dictionaries
            return model, name
    raise CheckpointError(f"{who} gives no hidden states, only logits: embeddings cannot be had from it.")


def _import(file: Path) -> ModuleType:
    """mlx-lm's module, imported below a package of our own.

    ``import mlx_lm`` would run the rest of it too: it imports transformers, which takes seconds, and lowers the
    process's limit of open files for good.
    """
    if _PACKAGE not in sys.modules:
        package = ModuleType(_PACKAGE)
        package.__path__ = [str(file.parents[1])]
        sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.models.{file.stem}")


def _arguments(config: Config, kind: Any, who: str) -> Any:
    """mlx-lm's arguments; CheckpointError where it would pass over a setting that vectors depend on."""
    known = inspect.signature(kind).parameters
    settings = {key: _untagged(value) for key, value in config.items()}
    if "rope_parameters" not in known:
        settings |= _flat_rope(config, who)
        for key, neutral in _NEUTRAL.items():
            if key not in known and settings.get(key) not in neutral:
                raise CheckpointError(f"config.json sets {key} to {settings[key]!r}, which {who} does not read.")
    for rope in (settings.get("rope_scaling"), settings.get("rope_parameters")):
        if isinstance(rope, Mapping) and {"longrope", "su"} & {rope.get("rope_type"), rope.get("type")}:
            raise CheckpointError(
                "config.json asks for rotary positions of the kind 'longrope', for which mlx-lm takes the factors of "
                "long texts whatever a text's length: its vectors would be others than its authors'."
            )
    arguments = kind.from_dict(settings)
    if settings.get("rope_scaling") and "rope_scaling" in known and not arguments.rope_scaling:
        raise CheckpointError(f"config.json sets rope_scaling to {settings['rope_scaling']}, which {who} cannot do.")
    return arguments


def _untagged(value: Any) -> Any:
    """transformers 5 writes an infinity as ``{"__float__": "Infinity"}``."""
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    return float(value["__float__"]) if isinstance(value, Mapping) and "__float__" in value else value


def _flat_rope(config: Config, who: str) -> dict[str, Any]:
    """transformers 5's ``rope_parameters`` in the keys of transformers 4, which most of mlx-lm's models read."""
    rope, former = mapping(config, "rope_parameters"), mapping(config, "rope_scaling")
    if rope and former.get("rope_type", former.get("type", "default")) not in ("default", rope.get("rope_type")):
        raise CheckpointError(
            f"config.json gives rope_parameters as {dict(rope)!r} and rope_scaling as {dict(former)!r}; they disagree."
        )
    entries = list(rope.values())
    if entries and isinstance(entries[0], Mapping):  # by layer type
        if any(entry != entries[0] for entry in entries):
            raise CheckpointError(f"config.json gives rope_parameters by layer type, which {who} does not read.")
        rope = entries[0]
    flat = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    scaling = dict(rope or former)
    scaling["type"] = scaling["rope_type"] = scaling.get("rope_type") or scaling.get("type") or "default"
    return {**flat, "rope_scaling": None if scaling["type"] == "default" else scaling}


def _renamed(model: Any, tensors: dict[str, mx.array], who: str) -> dict[str, mx.array]:
    """The tensors as mlx-lm names, joins and shapes them."""
    try:
        renamed: dict[str, mx.array] = model.sanitize(tensors) if hasattr(model, "sanitize") else tensors
    except Exception as error:  # whatever mlx-lm's code raises for tensors it does not expect
        raise CheckpointError(f"{who} cannot use the checkpoint's tensors: {error!r}") from error
    return renamed


def _fill(decoder: Any, name: str, weights: Weights) -> None:
    """Give every layer of mlx-lm's module its weights."""
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
            layer = _experts(module, full, weights)
        _put(decoder, path, layer)


def _experts(module: Any, name: str, weights: Weights) -> Any:
    """Layers of other kinds, such as the experts' matrices ``[experts, out, in]``: mlx-lm's own, packed or plain."""
    stored = weights.matrix(name, *module.weight.shape)
    if not isinstance(stored, Packed) or weights.storage is WeightStorage.EXPANDED:
        module.weight = expanded(stored, weights.dtype)
        mx.eval(module.weight)
        return module
    q = stored.quantization
    quantized = module.to_quantized(group_size=q.group_size, bits=q.bits, mode=q.mode)
    quantized.weight, quantized.scales, quantized.biases = stored.weight, stored.scales, stored.biases
    return quantized


def _put(root: Any, path: str, layer: Any) -> None:
    """Set the attribute, or the list's element, that ``path`` (``layers.0.mlp.up_proj``) leads to."""
    *parents, last = path.split(".")
    for part in parents:
        root = root[int(part)] if isinstance(root, list) else root[part]
    if isinstance(root, list):
        root[int(last)] = layer
    else:
        setattr(root, last, layer)


def _probe(encoder: Decoder, config: Config, who: str) -> None:
    """One forward of two rows that begin alike: their beginnings must have the same states, whatever follows."""
    hidden, words = required(config, "hidden_size", "vocab_size")
    beginning = np.arange(1, _PROBE + 1)
    ids = np.stack([np.append(beginning, beginning + end) for end in (_PROBE, 3 * _PROBE)]) % words
    try:
        states = np.array(encoder(mx.array(ids.astype(np.int32)), np.full(2, 2 * _PROBE)).astype(mx.float32))
    except Exception as error:  # whatever mlx-lm's code raises
        raise CheckpointError(f"{who} does not compute hidden states here: {error!r}") from error
    if states.shape != (2, 2 * _PROBE, hidden):
        raise CheckpointError(
            f"{who} gives an array of shape {states.shape} for {2 * _PROBE} tokens of two texts instead of hidden "
            f"states of size {hidden}: embeddings cannot be had from it."
        )
    one, other = states[:, :_PROBE]
    if np.abs(one - other).max() > 1e-2 * np.abs(one).max():
        raise CheckpointError(
            f"In {who}, tokens see what follows them, so that a text's vector would depend on its neighbours' lengths."
        )
