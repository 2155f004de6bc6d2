"""Reading of config.json: required keys, and settings whose values a forward pass must implement.

Every function raises CheckpointError for a value that it does not accept.
"""

from collections.abc import Mapping
from typing import Any

from akidb_embeddings.checkpoint.fields import NUMBER, whole_from
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Config


def required(config: Config, *keys: str) -> list[Any]:
    """The values of ``keys``.

    Raises:
        CheckpointError: A key is missing.
    """
    for key in keys:
        if config.get(key) is None:
            raise CheckpointError(f"config.json of this {config.get('model_type')} model lacks {key!r}.")
    return [config[key] for key in keys]


def supported(config: Config, key: str, default: Any, *allowed: Any) -> Any:
    """The value of ``key``.

    Raises:
        CheckpointError: It is not one of ``allowed``, the values that the forward pass implements.
    """
    value = config.get(key, default)
    if value not in allowed:
        raise CheckpointError(
            f"config.json sets {key} to {value!r}; this architecture is implemented for "
            f"{', '.join(map(repr, allowed))}. With another value, vectors would be wrong."
        )
    return value


def whole(config: Config, key: str, default: int, minimum: int = 1) -> int:
    """The value of ``key``.

    Raises:
        CheckpointError: It is not an integer, below ``minimum``, or more than 31 bits hold.
    """
    value = config.get(key, default)
    kind = whole_from(minimum)
    if not kind.accepts(value):
        raise CheckpointError(f"config.json gives {key} as {value!r:.80}; it must be {kind.allowed}.")
    return int(value)


def number(config: Config, key: str, default: float) -> float:
    """The value of ``key``.

    Raises:
        CheckpointError: It is not a positive, finite number.
    """
    value = config.get(key, default)
    if not NUMBER.accepts(value):
        raise CheckpointError(f"config.json gives {key} as {value!r:.80}; it must be {NUMBER.allowed}.")
    return float(value)


def read_layer_types(config: Config, layers: int) -> list[str]:
    """``full_attention`` or ``sliding_attention`` for each layer; empty if config.json has no ``layer_types``.

    Raises:
        CheckpointError: The list has another length, or another value.
    """
    allowed = ("sliding_attention", "full_attention")
    layer_types = config.get("layer_types") or []
    if not isinstance(layer_types, list) or (layer_types and len(layer_types) != layers):
        raise CheckpointError(
            f"config.json gives layer_types as {layer_types!r:.80}; it must list the types of {layers} layers."
        )
    return [str(supported({"layer_types": layer_type}, "layer_types", None, *allowed)) for layer_type in layer_types]


def rope_theta(config: Config, layer_type: str | None, legacy_key: str, default: float | None = None) -> float:
    """The base of rotary position embeddings.

    transformers 5 writes ``rope_parameters``, earlier versions write ``legacy_key``.

    Args:
        config: config.json.
        layer_type: The key in ``rope_parameters``, for architectures that have one entry per layer type; else None.
        legacy_key: The key that earlier versions of transformers write.
        default: The value if config.json has none.

    Raises:
        CheckpointError: The base is missing, or the embeddings are scaled (yarn, linear, …).
    """
    parameters = mapping(config, "rope_parameters") if layer_type is None else layer_entry(config, layer_type)
    for entry in (parameters, mapping(config, "rope_scaling")):
        supported(entry, "rope_type", entry.get("type", "default"), "default")
    if parameters.get("rope_theta") is not None:
        return number(parameters, "rope_theta", 0.0)
    if config.get(legacy_key) is None and default is not None:
        return default
    required(config, legacy_key)
    return number(config, legacy_key, 0.0)


def layer_entry(config: Config, layer_type: str) -> Config:
    """The entry of a layer type in ``rope_parameters``; empty if it is missing.

    Raises:
        CheckpointError: They are the same for all layers.
    """
    parameters = mapping(config, "rope_parameters")
    if parameters and not any(isinstance(entry, Mapping) for entry in parameters.values()):
        raise CheckpointError(
            f"config.json gives the same rope_parameters for all layers, {dict(parameters)!r}; this architecture "
            "has an entry per layer type."
        )
    return mapping(parameters, layer_type)


def mapping(config: Config, key: str) -> Config:
    """The object ``key``; empty if it is missing.

    Raises:
        CheckpointError: It is not an object.
    """
    value = config.get(key) or {}
    if not isinstance(value, Mapping):
        raise CheckpointError(f"config.json gives {key} as {value!r:.80}; it must be an object.")
    return value
