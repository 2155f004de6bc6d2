"""Checks of config.json: the type of each value that this library reads, and sizes that the tensors can carry."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.fields import (
    FLAG,
    LARGEST_WHOLE,
    NUMBER,
    OBJECT,
    TEXT,
    Kind,
    check_fields,
    list_of,
    one_of,
    whole_from,
)
from akidb_embeddings.checkpoint.safetensors import Tensors
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Architecture, Config

_MOST_ARCHITECTURES = 64
_MOST_LENGTHS = 2**16
_MOST_LAYERS = 2**14
# A packed matrix has up to 16 weights in each number, with 2 bits per weight.
_PACKED = 16
_IDENTITY: Mapping[str, Kind] = {
    "model_type": TEXT,
    "architectures": list_of(TEXT, _MOST_ARCHITECTURES),
    "auto_map": OBJECT,
}
_SIZES = ("hidden_size", "vocab_size")
_OWN_SIZES = (
    "intermediate_size",
    "head_dim",
    "num_attention_heads",
    "num_key_value_heads",
    "num_labels",
    "block_ff_dim",
)
_COMMON: Mapping[str, Kind] = {
    "max_position_embeddings": whole_from(1),
    **dict.fromkeys(("sliding_window", "attention_chunk_size"), whole_from(0)),
    **dict.fromkeys(("is_matryoshka", "matryoshka_layer_norm"), FLAG),
    "matryoshka_dimensions": list_of(whole_from(1), _MOST_LENGTHS),
    "matryoshka_minimum": whole_from(1),
    **dict.fromkeys(("rope_parameters", "rope_scaling", "quantization", "quantization_config"), OBJECT),
}
_OWN: Mapping[str, Kind] = {  # those of this library's architectures; others may give them other types
    "layer_types": list_of(TEXT, _MOST_LAYERS),
    **dict.fromkeys(("local_attention", "global_attn_every_n_layers", "sliding_window"), whole_from(1)),
    **dict.fromkeys(("sliding_window_pattern", "_sliding_window_pattern"), whole_from(1)),
    **dict.fromkeys(("layer_norm_eps", "norm_eps", "rms_norm_eps", "query_pre_attn_scalar"), NUMBER),
    **dict.fromkeys(("rope_theta", "global_rope_theta", "local_rope_theta", "rope_local_base_freq"), NUMBER),
    "rotary_emb_base": NUMBER,
    "full_attn_idxs": list_of(whole_from(0), _MOST_LAYERS),
    **dict.fromkeys(("conv_L_cache", "block_multiple_of"), whole_from(1)),
    "block_ffn_dim_multiplier": NUMBER,
    **dict.fromkeys(("conv_bias", "block_auto_adjust_ff_dim"), FLAG),
    **dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "use_bidirectional_attention", "is_causal"), FLAG),
}
# mlx-lm's architectures have hundreds of settings. These are the names of those that it counts up to.
_LAYERS = re.compile(r".*(layers?|blocks)|depth")
_COUNTS = re.compile(r"(n|num)_.*|.*_(heads?|experts)")
_LARGEST_COUNT = 2**17
_UNBOUNDED = re.compile(r".*(theta|base|freq).*")
_QUANTIZATION: Mapping[str, Kind] = {  # what MLX's kernels have
    "bits": one_of(2, 3, 4, 5, 6, 8),
    "group_size": one_of(16, 32, 64, 128),
    "mode": one_of("affine", "mxfp4", "mxfp8", "nvfp4"),
}


def check_identity(file: Path, config: Config) -> None:
    """Check what says which architecture a config.json is of.

    Raises:
        CheckpointError: A value has another type.
    """
    check_fields(file, config, _IDENTITY)


def check_config(file: Path, config: Config, architecture: Architecture, tensors: Tensors) -> None:
    """Check the values of a config.json.

    No size exceeds the largest axis of a tensor, and there are no more layers than tensors.

    Raises:
        CheckpointError: A value has another type, is not finite, or is more than the tensors can carry.
    """
    is_packed = any(name.endswith(".scales") for name in tensors)
    largest = max((size for location in tensors.values() for size in location.shape), default=1)
    most = max(1, min(LARGEST_WHOLE, largest * (_PACKED if is_packed else 1)))
    size = whole_from(1, most)
    layers = whole_from(1, max(1, len(tensors)))
    check_fields(file, config, {**_COMMON, **dict.fromkeys(_SIZES, size), "num_hidden_layers": layers})
    if architecture.computed_by:
        _check_others(file, config, len(tensors), max(largest, _LARGEST_COUNT))
    else:
        # GTE's models may have no token types.
        check_fields(file, config, {**_OWN, **dict.fromkeys(_OWN_SIZES, size), "type_vocab_size": whole_from(0, most)})
    if is_packed:
        for key in ("quantization", "quantization_config"):
            for entry in _entries(config.get(key)):
                check_fields(file, entry, _QUANTIZATION)


def _check_others(file: Path, config: Config, layers: int, most: int) -> None:
    """Check the settings of an architecture whose settings are not known: no count and no number is unbounded."""
    for key, value in config.items():
        limit = layers if _LAYERS.fullmatch(key) else most if _COUNTS.fullmatch(key) else LARGEST_WHOLE
        if type(value) is int and abs(value) > limit and not _UNBOUNDED.fullmatch(key):
            raise CheckpointError(f"{file} gives {key} as {value!r:.80}; the model's tensors can carry {limit}.")


def _entries(quantization: Any) -> list[Mapping[str, Any]]:
    """The quantization of the model, and those of layers."""
    if not isinstance(quantization, Mapping):
        return []
    return [quantization, *(entry for entry in quantization.values() if isinstance(entry, Mapping))]
