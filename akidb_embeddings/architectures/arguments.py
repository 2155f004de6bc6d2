"""Reading config.json: required keys, and settings that must be the ones a forward pass implements."""

from collections.abc import Mapping
from typing import Any

from akidb_embeddings.architectures import Config
from akidb_embeddings.errors import CheckpointError


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


def layer_kinds(config: Config) -> list[str]:
    """``full_attention`` or ``sliding_attention`` for each layer; empty where config.json does not list them."""
    allowed = ("sliding_attention", "full_attention")
    kinds = config.get("layer_types") or []
    return [str(supported({"layer_types": kind}, "layer_types", None, *allowed)) for kind in kinds]


def rope_theta(config: Config, kind: str | None, legacy_key: str, default: float | None = None) -> float:
    """The base of rotary position embeddings; CheckpointError where nothing gives it and there is no ``default``.

    transformers 5 writes ``rope_parameters`` (by layer type where ``kind`` is given), earlier ones a key of its own.
    Scaled variants (yarn, linear, …) are refused.
    """
    parameters = _mapping(config, "rope_parameters")
    if kind is not None:
        parameters = _mapping(parameters, kind)
    for entry in (parameters, _mapping(config, "rope_scaling")):
        supported(entry, "rope_type", entry.get("type", "default"), "default")
    theta = parameters.get("rope_theta") or config.get(legacy_key) or default
    return float(theta if theta is not None else required(config, legacy_key)[0])


def _mapping(config: Config, key: str) -> Config:
    value = config.get(key) or {}
    if not isinstance(value, Mapping):
        raise CheckpointError(f"config.json gives {key} as {value!r}; it must be an object.")
    return value
