"""The classes that a config.json names: transformers', and those of the model's own code."""

from collections.abc import Mapping
from typing import Any


def named_classes(config: Mapping[str, Any]) -> set[str]:
    """All of them."""
    return {remote_class(config), *(config.get("architectures") or ())}


def remote_class(config: Mapping[str, Any]) -> str:
    """The class of the model's own code (auto_map); "" if config.json names none."""
    code = config.get("auto_map") or {}
    return str(code.get("AutoModel") or "").rpartition(".")[2] if isinstance(code, Mapping) else ""
