"""Rotary position embeddings of decoders, and how config.json stretches them to longer texts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.checkpoint.arguments import layer_entry, mapping, number, required, supported, whole
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Config

Frequencies = NDArray[np.float64]


@dataclass(frozen=True)
class Rope:
    """Rotary position embeddings, which pair the two halves of a head.

    Attributes:
        theta: Their base, if they are not stretched.
        periods: How many tokens each pair takes for one radian, [D / 2]; None for ``theta ** (2 i / D)``.
        factor: The factor of what they rotate.
        query_beta: How much queries grow with every ``query_span`` tokens, by Llama 4's formula; 0 for not at all.
        query_span: The number of tokens for which queries remain as they are.
    """

    theta: float
    periods: mx.array | None = None
    factor: float = 1.0
    query_beta: float = 0.0
    query_span: int = 0

    def __call__(self, x: mx.array) -> mx.array:
        """Rotate keys [B, heads, L, D]."""
        base = self.theta if self.periods is None else None
        rotated = mx.fast.rope(x, x.shape[-1], traditional=False, base=base, scale=1.0, offset=0, freqs=self.periods)
        return rotated if self.factor == 1 else rotated * self.factor

    def queries(self, x: mx.array) -> mx.array:
        """Rotate queries [B, heads, L, D]."""
        rotated, length = self(x), x.shape[2]
        if not self.query_beta or length <= self.query_span:
            return rotated
        growth = 1 + self.query_beta * np.log1p(np.arange(length) // self.query_span)
        return rotated * mx.array(growth[:, None].astype(np.float32)).astype(x.dtype)


def read_rope(config: Config, head_dim: int, query_growth: bool = False) -> Rope:
    """The rotary position embeddings that config.json describes, the same for all layers.

    Args:
        config: config.json.
        head_dim: D.
        query_growth: Whether the architecture reads ``llama_4_scaling_beta``.

    Raises:
        CheckpointError: They are of a kind, or have a setting, that is not implemented.
    """
    entry = _entry(config)
    kind = rope_kind(entry)
    if kind == "default" and not query_growth:
        return Rope(_theta(config, entry))
    known = _COMMON | (_SETTINGS[supported({"rope_type": kind}, "rope_type", None, *_SETTINGS)])
    if unknown := sorted(set(entry) - known - ({"llama_4_scaling_beta"} if query_growth else set())):
        raise CheckpointError(
            f"config.json's rotary embeddings have {', '.join(unknown)}, which is not implemented for the type {kind}."
        )
    supported(entry, "partial_rotary_factor", None, None, 1)
    supported(config, "partial_rotary_factor", None, None, 1)
    theta, beta, span = _theta(config, entry), 0.0, 0
    if query_growth:
        required(entry, "llama_4_scaling_beta", "original_max_position_embeddings")
        beta, span = number(entry, "llama_4_scaling_beta", 0.0), _span(entry)
    if kind == "default":
        return Rope(theta, None, 1.0, beta, span)
    frequencies, factor = _STRETCHED[kind](entry, theta, head_dim)
    return Rope(theta, mx.array((1 / frequencies).astype(np.float32)), factor, beta, span)


def read_layer_rope(config: Config, layer_type: str, legacy_key: str, default: float, head_dim: int) -> Rope:
    """The same of the layers of a type, where each type has its own. Only those of full attention are stretched by
    transformers 4's ``rope_scaling``.

    Args:
        config: config.json.
        layer_type: The key in ``rope_parameters``.
        legacy_key: The key of the base that transformers 4 writes.
        default: The base if config.json has none.
        head_dim: D.

    Raises:
        CheckpointError: As for ``read_rope``.
    """
    entry = layer_entry(config, layer_type)
    theta = None if entry.get("rope_theta") is not None else config.get(legacy_key, default)
    scaling = config.get("rope_scaling") if layer_type == "full_attention" else None
    return read_rope({"rope_parameters": entry, "rope_scaling": scaling, "rope_theta": theta}, head_dim)


def _entry(config: Config) -> Config:
    """transformers 5's ``rope_parameters``, else transformers 4's ``rope_scaling``."""
    new, old = mapping(config, "rope_parameters"), mapping(config, "rope_scaling")
    if new and old and _said(new) != _said(old):
        raise CheckpointError(
            f"config.json gives rope_parameters as {dict(new)!r} and rope_scaling as {dict(old)!r}; they disagree."
        )
    if any(isinstance(value, Mapping) for value in new.values()):
        raise CheckpointError(
            f"config.json gives rope_parameters by layer type, {dict(new)!r:.200}; this architecture has one for all."
        )
    return new or old


def _theta(config: Config, entry: Config) -> float:
    """The base, which some files give twice."""
    given = {float(number(source, "rope_theta", 0.0)) for source in (config, entry) if source.get("rope_theta")}
    if len(given) > 1:
        raise CheckpointError(
            f"config.json gives rope_theta as {config['rope_theta']} and as {entry['rope_theta']}; they disagree."
        )
    required(config if not given else {"rope_theta": given}, "rope_theta")
    return given.pop()


def rope_kind(entry: Config) -> str:
    """The kind of scaling that an entry names; "default" for none.

    Raises:
        CheckpointError: It names two.
    """
    kinds = {str(entry[key]) for key in ("rope_type", "type") if entry.get(key)}
    if len(kinds) > 1:
        raise CheckpointError(
            f"config.json gives the rotary embeddings' rope_type as {entry['rope_type']!r} and type as "
            f"{entry['type']!r}; they disagree."
        )
    return kinds.pop() if kinds else "default"


def _said(entry: Config) -> Config:
    """What an entry says, whatever it calls the type. The base is compared on its own."""
    said = {key: value for key, value in _given(entry).items() if key not in ("rope_type", "type", "rope_theta")}
    return {**said, "rope_type": rope_kind(entry)}


def _span(entry: Config) -> int:
    required(entry, "original_max_position_embeddings")
    return whole(entry, "original_max_position_embeddings", 0)


def _plain(theta: float, head_dim: int) -> Frequencies:
    """Radians per token of each pair, float64 [head_dim / 2]."""
    return np.asarray(theta ** -(np.arange(0, head_dim, 2) / head_dim))


def _linear(entry: Config, theta: float, head_dim: int) -> tuple[Frequencies, float]:
    """Positions divided by ``factor``."""
    required(entry, "factor")
    return _plain(theta, head_dim) / number(entry, "factor", 0.0), 1.0


def _llama3(entry: Config, theta: float, head_dim: int) -> tuple[Frequencies, float]:
    """Llama 3.1's: slow pairs are slower by ``factor``, fast ones as they were, those between in proportion."""
    required(entry, "factor", "low_freq_factor", "high_freq_factor")
    factor, low, high = (number(entry, key, 0.0) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    if low >= high:
        raise CheckpointError(f"config.json gives low_freq_factor as {low}, not below high_freq_factor, {high}.")
    plain = _plain(theta, head_dim)
    turns = _span(entry) * plain / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - kept) * plain / factor + kept * plain, 1.0


def _yarn(entry: Config, theta: float, head_dim: int) -> tuple[Frequencies, float]:
    """YaRN (Peng et al., 2023): as Llama 3.1's, but in proportion to the index of the pair, and with a factor."""
    required(entry, "factor")
    factor, plain = number(entry, "factor", 0.0), _plain(theta, head_dim)
    fast, slow = number(_given(entry), "beta_fast", 32.0), number(_given(entry), "beta_slow", 1.0)
    first, last = (_pair_of(turns, _span(entry), theta, head_dim) for turns in (fast, slow))
    if supported(entry, "truncate", True, True, False):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    width = last - first if last != first else 0.001
    slowed = np.clip((np.arange(head_dim // 2) - first) / width, 0, 1)
    return slowed * plain / factor + (1 - slowed) * plain, _attention_factor(_given(entry), factor)


def _pair_of(turns: float, span: int, theta: float, head_dim: int) -> float:
    """The index, as a real number, of the pair that turns so often within ``span`` tokens."""
    return head_dim * math.log(span / (turns * 2 * math.pi)) / (2 * math.log(theta))


def _attention_factor(entry: Config, factor: float) -> float:
    def grown(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0

    if "attention_factor" in entry:
        return number(entry, "attention_factor", 1.0)
    if entry.get("mscale") and entry.get("mscale_all_dim"):
        return grown(number(entry, "mscale", 1.0)) / grown(number(entry, "mscale_all_dim", 1.0))
    return grown(1.0)


def _given(entry: Config) -> Config:
    """Without the settings that are null, which count as missing."""
    return {key: value for key, value in entry.items() if value is not None}


_COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
_SPAN = "original_max_position_embeddings"
_SETTINGS: Mapping[str, set[str]] = {
    "default": {_SPAN},
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", _SPAN},
    "yarn": {
        *("factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate", _SPAN),
        "max_position_embeddings",  # the stretched length, which nothing is computed from
    },
}
_STRETCHED: Mapping[str, Callable[[Config, float, int], tuple[Frequencies, float]]] = {
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}
