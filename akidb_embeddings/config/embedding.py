"""The settings of an embedding service: defaults and allowed values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from akidb_embeddings.config.model import ENGINE_RULES, LIMIT_RULES, MODEL_RULES, PROMPT_NAME, REVISION, ModelConfig
from akidb_embeddings.config.rules import BOOLEAN, COUNT, Rule, choice
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.registry.poolings import POOLINGS

DEFAULT_MAX_TOKENS = 512
"""The limit in tokens while ``max_tokens`` is None, unless the model's own limit is smaller."""

_PROMPT = Rule(str, "a string (empty for no prompt)", optional=True)
_TASK = Rule(str, "an instruction in words, such as 'Retrieve duplicates of the question'", str.strip, optional=True)

_RULES: Mapping[str, Rule] = {
    **MODEL_RULES,
    "adapter": Rule(str, "a Hugging Face repository or a local folder", str.strip, optional=True),
    "adapter_revision": REVISION,
    "pooling": choice("auto", *POOLINGS),
    "normalize": BOOLEAN._replace(optional=True),
    "dimensions": COUNT._replace(optional=True),
    "untrained_dimensions": BOOLEAN,
    **LIMIT_RULES,
    "query_prompt": _PROMPT,
    "document_prompt": _PROMPT,
    "query_prompt_name": PROMPT_NAME,
    "document_prompt_name": PROMPT_NAME,
    "task": _TASK,
    **ENGINE_RULES,
}
FIELDS = tuple(_RULES)
"""The names of ``EmbeddingConfig``'s fields."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig(ModelConfig):
    """A complete, valid set of settings: immutable, hashable, picklable, compared by its values.

    Only values count: equal configurations are equivalent, whatever their sources.

    Attributes:
        model_name: Short name in the registry, Hugging Face repository id, or local folder.
        revision: Branch, tag or commit of the repository; None for the registry's, else the main branch.
        adapter: LoRA adapter in PEFT's layout, as a Hugging Face repository or local folder, that is merged into the
            model's weights; None for none.
        adapter_revision: Branch, tag or commit of the adapter's repository; None for the main branch.
        pooling: "auto" (as the model was trained), "mean", "cls" or "last".
        normalize: Whether vectors are scaled to length 1. None: yes, with a warning if the model was trained without.
        dimensions: Length to which vectors are cut, for models trained for it (Matryoshka); None for the full length.
        untrained_dimensions: Whether ``dimensions`` may be a length that the model was not trained for.
        max_tokens: Longest text in tokens, special tokens and prompt included; at most the model's own limit. None for
            that limit, or 512 if that is less.
        truncate: "end" cuts and flags longer texts, "error" rejects them.
        query_prompt: Text put before every query; None for the model's own, "" for none.
        document_prompt: Text put before every document; None for the model's own, "" for none.
        query_prompt_name: Name of the model's prompt to put before every query, instead of ``query_prompt``.
        document_prompt_name: Name of the model's prompt to put before every document, instead of ``document_prompt``.
        task: Instruction for queries, instead of either, for models whose query prompt contains one.
        batch_size: Most texts in one micro-batch on a CPU, 1 to 128. GPUs need more to be busy: their micro-batches are
            limited in tokens alone, by the GPU's memory.
        memory: "fast", or "compact" for a smaller footprint at some cost in speed.
        compute: "fast", or "strict" to compute in float32 on GPUs, too, with products that are not rounded to TF32.
            CPUs always do.
        warm_up: Whether a GPU computes the shapes of queries once after the model is loaded, while no text waits.
        keep_warm: For how many seconds after a request a GPU is kept from lowering its clock, by a small forward pass
            every second.
        max_queued_tokens: Tokens that may wait in the engine's queue before new requests are rejected.
        auto_download: Whether a model that is not on this machine may be downloaded.
        cache_dir: Folder for downloads, as a string with "~" expanded; None for the default cache.

    Raises:
        ConfigurationError: A key is unknown (ArgumentError), or a value has the wrong type or is out of range.
    """

    _section: ClassVar = "embedding"
    _rules: ClassVar = _RULES
    _exclusive: ClassVar = (("query_prompt", "query_prompt_name", "task"), ("document_prompt", "document_prompt_name"))
    _belonging: ClassVar = {
        "model_name": ("revision", "adapter", "adapter_revision"),
        "adapter": ("adapter_revision",),
    }

    model_name: str = "qwen3-0.6b-4bit"
    revision: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None
    pooling: str = "auto"
    normalize: bool | None = None
    dimensions: int | None = None
    untrained_dimensions: bool = False
    max_tokens: int | None = None
    truncate: str = "end"
    query_prompt: str | None = None
    document_prompt: str | None = None
    query_prompt_name: str | None = None
    document_prompt_name: str | None = None
    task: str | None = None
    batch_size: int = 32
    memory: str = "fast"
    compute: str = "fast"
    warm_up: bool = True
    keep_warm: float = 0
    max_queued_tokens: int = 4_000_000
    auto_download: bool = True
    cache_dir: str | Path | None = None

    @classmethod
    def _check(cls, values: Mapping[str, Any], source: str = "") -> None:
        super()._check(values, source)
        if values.get("adapter_revision") is not None and values.get("adapter") is None:
            raise ConfigurationError(
                field="adapter_revision",
                reason=f"is {values['adapter_revision']!r}, but there is no adapter; leave it out.",
                source=source,
            )
