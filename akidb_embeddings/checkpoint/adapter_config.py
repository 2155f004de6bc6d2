"""The settings of a LoRA adapter, in PEFT's adapter_config.json. One that would be computed otherwise is refused."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.fields import FLAG, NUMBER, OBJECT, TEXT, Kind, check_fields, whole_from
from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.errors import CheckpointError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_FIELDS: Mapping[str, Kind] = {
    "base_model_name_or_path": TEXT,
    "r": whole_from(1),
    "lora_alpha": NUMBER,
    **dict.fromkeys(("use_rslora", "fan_in_fan_out"), FLAG),
    **dict.fromkeys(("rank_pattern", "alpha_pattern"), OBJECT),
}
# Settings that say where an adapter is from, how it was trained, or which modules it changes, which its tensors say.
_IRRELEVANT = frozenset((
    *_FIELDS, "auto_mapping", "peft_version", "revision", "task_type", "inference_mode", "lora_dropout",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "eva_config", "megatron_core",
    "runtime_config", "qalora_group_size", "ensure_weight_tying",
))  # fmt: skip
# Settings of which only these values are computed as a product that is added to the weights. The other initializations
# (pissa, olora, corda, loftq and so on) also change the model's weights when PEFT loads them.
_ALLOWED: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": (None, "none"),
    "init_lora_weights": (None, True, False, "gaussian", "orthogonal", "eva"),
}
_EMPTY: tuple[Any, ...] = (None, False, [], {}, "")
_ADVICE = (
    "Merge the adapter with PEFT's merge_and_unload, which computes it, save the model, and give that folder as the "
    "model."
)
_NO_ADAPTERS = (
    "Rerankers take no adapters: merge this one with PEFT's merge_and_unload, save the model, and give that folder."
)
_MOST_PATTERNS = 1000  # the largest models have 700 matrices
_LONGEST_PATTERN = 1000
# Names, which are regular expressions for PEFT. Without repetition and groups, which could take very long to match.
_NAME = r"\^?(?:[\w.-]|\\[.d])+"
_PATTERN = re.compile(rf"{_NAME}(?:\|{_NAME})*", re.ASCII)


@dataclass(frozen=True)
class Values:
    """A value of each module.

    Attributes:
        default: The value of modules that no pattern matches.
        patterns: Patterns of the other modules' names, and their values.
    """

    default: float
    patterns: tuple[tuple[re.Pattern[str], float], ...]

    def of(self, module: str) -> float:
        """The value of the first pattern that matches, as in PEFT."""
        return next((value for pattern, value in self.patterns if pattern.match(module)), self.default)


@dataclass(frozen=True)
class AdapterConfig:
    """The settings that LoRA's products depend on.

    Attributes:
        base: The name of the model that the adapter was trained on; None if it is not given.
    """

    base: str | None
    ranks: Values
    alphas: Values
    use_rslora: bool

    def rank(self, module: str) -> int:
        """The rank of the change of a module."""
        return int(self.ranks.of(module))

    def scaling(self, module: str) -> float:
        """The factor of the change of a module."""
        rank = self.rank(module)
        return self.alphas.of(module) / (math.sqrt(rank) if self.use_rslora else rank)


def read_adapter_config(path: Path) -> AdapterConfig:
    """Read the settings of the adapter in the folder ``path``.

    Raises:
        CheckpointError: The file is missing or damaged, or has a setting that is not supported.
    """
    file = path / ADAPTER_CONFIG
    if not file.is_file():
        raise CheckpointError(f"{path} is no LoRA adapter: it has no {ADAPTER_CONFIG}.")
    config = read_json(file)
    for key, value in config.items():
        allowed = _ALLOWED.get(key, _EMPTY)
        if key not in _IRRELEVANT and value not in allowed:
            described = ", ".join(repr(one) for one in allowed if one is not None) if key in _ALLOWED else "none"
            raise CheckpointError(f"{file} sets {key} to {value!r:.80}; supported: {described}. {_ADVICE}")
    if config.get("peft_type") is None:
        raise CheckpointError(f"{file} gives no peft_type; it must be 'LORA'.")
    check_fields(file, config, _FIELDS)
    for key in ("r", "lora_alpha"):
        if config.get(key) is None:
            raise CheckpointError(f"{file} does not give {key}, on which the adapter's scaling depends.")
    return AdapterConfig(
        base=config.get("base_model_name_or_path"),
        ranks=_values(file, config, "r", "rank_pattern", whole_from(1)),
        alphas=_values(file, config, "lora_alpha", "alpha_pattern", NUMBER),
        use_rslora=bool(config.get("use_rslora")),
    )


def refuse_adapter(path: Path, *, is_reranker: bool = False) -> None:
    """Refuse the folder of an adapter where a model's, or a reranker's, is expected.

    Raises:
        CheckpointError: It is an adapter's.
    """
    file = path / ADAPTER_CONFIG
    if file.is_file():
        base = read_json(file).get("base_model_name_or_path") or "another model"
        raise CheckpointError(
            f"{path} is no whole model but a LoRA adapter, which changes the weights of {base!s:.200}.",
            hint=_NO_ADAPTERS
            if is_reranker
            else "Give that model in its place, and this as {adapter}; a server takes "
            "adapters from its configuration file.",
        )


def _values(file: Path, config: Mapping[str, Any], key: str, pattern: str, kind: Kind) -> Values:
    """A setting of all modules, and that of those whose names match."""
    given: Mapping[str, Any] = config.get(pattern) or {}
    if len(given) > _MOST_PATTERNS:
        raise CheckpointError(f"{file} has {len(given)} entries in {pattern}; at most {_MOST_PATTERNS} are supported.")
    found = []
    for name, value in given.items():
        if len(name) > _LONGEST_PATTERN or not _PATTERN.fullmatch(name):
            raise CheckpointError(
                f"{file} has the entry {name!r:.80} in {pattern}; supported are names of modules or the last parts of "
                f"names, divided by '|' if there are several, without repetition and parentheses. {_ADVICE}"
            )
        if not kind.accepts(value):
            raise CheckpointError(
                f"{file} gives {value!r:.80} to {name!r:.80} in {pattern}; it must be {kind.allowed}."
            )
        # The whole name, or the end of it after a dot.
        found.append((re.compile(rf"(.*\.)?({name})$"), value))
    return Values(config[key], tuple(found))
