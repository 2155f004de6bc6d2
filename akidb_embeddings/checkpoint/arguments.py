"""Reading config.json: required keys, and settings that must be the ones a forward pass implements."""

from collections.abc import Mapping
from typing import Any

from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Config


def required(config: Config, *keys: str) -> list[Any]:
    """The values of ``keys``; CheckpointError names the missing one."""
    for key in keys:
        if config.get(key) is None:
            raise CheckpointError(f"config.json of this {config.get('model_type')} model lacks {key!r}.")
    return [config[key] for key in keys]


def supported(config: Config, key: str, default: Any, *allowed: Any) -> Any:
    """The value of ``key``; CheckpointError where it is none of those the forward pass knows."""
    value = config.get(key, default)
    if value not in allowed:
        raise CheckpointError(
            f"config.json sets {key} to {value!r}; this architecture is implemented for "
            f"{', '.join(map(repr, allowed))}. Computing with another would give wrong vectors."
        )
    return value


def whole(config: Config, key: str, default: int, minimum: int = 1) -> int:
    """The integer ``key``; CheckpointError where it is something else, or below ``least``."""
    value = config.get(key, default)
    if type(value) is not int or value < minimum:
        raise CheckpointError(f"config.json gives {key} as {value!r}; it must be an integer from {minimum}.")
    return value


def number(config: Config, key: str, default: float) -> float:
    """The positive number ``key``; CheckpointError where it is something else."""
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise CheckpointError(f"config.json gives {key} as {value!r}; it must be a positive number.")
    return float(value)


def read_layer_types(config: Config, layers: int) -> list[str]:
    """``full_attention`` or ``sliding_attention`` for each layer; empty where config.json does not list them."""
    allowed = ("sliding_attention", "full_attention")
    layer_types = config.get("layer_types") or []
    if not isinstance(layer_types, list) or (layer_types and len(layer_types) != layers):
        raise CheckpointError(
            f"config.json gives layer_types as {layer_types!r}; it must list the kinds of {layers} layers."
        )
    return [str(supported({"layer_types": layer_type}, "layer_types", None, *allowed)) for layer_type in layer_types]


def rope_theta(config: Config, layer_type: str | None, legacy_key: str, default: float | None = None) -> float:
    """The base of rotary position embeddings; CheckpointError where nothing gives it and there is no ``default``.

    transformers 5 writes ``rope_parameters`` (by layer type where ``kind`` is given), earlier ones a key of its own.
    Scaled variants (yarn, linear, …) are refused.
    """
    parameters = mapping(config, "rope_parameters")
    if layer_type is not None:
        if parameters and not any(isinstance(entry, Mapping) for entry in parameters.values()):
            raise CheckpointError(
                f"config.json gives rope_parameters for all layers alike, {dict(parameters)!r}; this architecture has "
                "an entry for each kind of layer."
            )
        parameters = mapping(parameters, layer_type)
    for entry in (parameters, mapping(config, "rope_scaling")):
        supported(entry, "rope_type", entry.get("type", "default"), "default")
    if parameters.get("rope_theta") is not None:
        return number(parameters, "rope_theta", 0.0)
    if config.get(legacy_key) is None and default is not None:
        return default
    required(config, legacy_key)
    return number(config, legacy_key, 0.0)


def mapping(config: Config, key: str) -> Config:
    """The object ``key``, empty where it is missing; CheckpointError where it is something else."""
    value = config.get(key) or {}
    if not isinstance(value, Mapping):
        raise CheckpointError(f"config.json gives {key} as {value!r}; it must be an object.")
    return value
