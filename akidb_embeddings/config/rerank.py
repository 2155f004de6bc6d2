"""The settings of a rerank service: defaults and allowed values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from akidb_embeddings.config.model import ENGINE_RULES, LIMIT_RULES, MODEL_RULES, PROMPT_NAME, ModelConfig
from akidb_embeddings.config.rules import Rule

DEFAULT_PAIR_TOKENS = 8192
"""The limit in tokens while ``max_tokens`` is None, unless the model's own limit is smaller."""

ACTIVATIONS = ("model", "sigmoid", "identity")
"""What the argument ``activation`` of a call may be; "model" is the trained one."""

_RULES: Mapping[str, Rule] = {
    **MODEL_RULES,
    **LIMIT_RULES,
    "instruction": Rule(
        str, "an instruction in words, such as 'Retrieve duplicates of the question'", str.strip, optional=True
    ),
    "prompt_name": PROMPT_NAME,
    **ENGINE_RULES,
}
FIELDS = tuple(_RULES)
"""The names of ``RerankConfig``'s fields."""


@dataclass(frozen=True, kw_only=True)
class RerankConfig(ModelConfig):
    """A complete, valid set of settings of a reranker: immutable, hashable, picklable, compared by its values.

    Attributes:
        model_name: A registry name, a Hugging Face repository or a local folder.
        revision: Branch, tag or commit of the repository; None for the registry's, otherwise the main branch.
        max_tokens: Longest pair in tokens, query and special tokens included; at most the model's own limit. None for
            that limit, or 8192 if that is less.
        truncate: "end" cuts and flags longer pairs, "error" rejects them.
        instruction: The instruction of every query, for models that take one; None for the model's own.
        prompt_name: Name of the model's prompt for every query, instead of ``instruction``; None for its default.
        batch_size: Most pairs in one micro-batch on a CPU, 1 to 128. GPUs' are limited in tokens alone.
        memory: "fast", or "compact" for a smaller footprint at some cost in speed.
        compute: "fast", or "strict" to compute in float32 on GPUs, too. CPUs always do.
        warm_up: Whether a GPU computes the shapes of short pairs once after the model is loaded.
        keep_warm: For how many seconds after a request a GPU is kept from lowering its clock.
        max_queued_tokens: Tokens that may wait in the engine's queue before new requests are rejected.
        auto_download: Whether a model that is not on this machine may be downloaded.
        cache_dir: Folder for downloads, as a string with "~" expanded; None for the default cache.

    Raises:
        ConfigurationError: A key is unknown (ArgumentError), or a value has the wrong type or is out of range.
    """

    _section: ClassVar = "rerank"
    _rules: ClassVar = _RULES
    _exclusive: ClassVar = (("instruction", "prompt_name"),)

    model_name: str = "qwen3-reranker-0.6b-4bit"
    revision: str | None = None
    max_tokens: int | None = None
    truncate: str = "end"
    instruction: str | None = None
    prompt_name: str | None = None
    batch_size: int = 32
    memory: str = "fast"
    compute: str = "fast"
    warm_up: bool = True
    keep_warm: float = 0
    max_queued_tokens: int = 4_000_000
    auto_download: bool = True
    cache_dir: str | Path | None = None
