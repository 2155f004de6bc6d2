"""A configuration applied to a checkpoint: what is asked for, what the model allows, what was trained."""

import hashlib
import json
import logging
from dataclasses import dataclass

from akidb_embeddings.checkpoint import Checkpoint
from akidb_embeddings.config import EmbeddingConfig
from akidb_embeddings.errors import ConfigurationError

_log = logging.getLogger(__name__)

# sentence-transformers' names for the prompt of a document, in its order.
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class Settings:
    """What is in force for one service. ``dimensions`` is the length of its vectors, ``prompts`` by name."""

    pooling: str
    normalize: bool
    dimensions: int
    max_tokens: int
    prompts: dict[str, str]
    default_prompt: str

    def prompt(self, name: str) -> str:
        """The prompt called ``name``; ConfigurationError lists the known ones."""
        try:
            return self.prompts[name]
        except KeyError:
            known = ", ".join(map(repr, self.prompts))
            raise ConfigurationError(f"prompt_name is {name!r}; this model has {known}. Or give prompt=TEXT.") from None


def apply_config(config: EmbeddingConfig, checkpoint: Checkpoint) -> Settings:
    """What ``config`` means for ``checkpoint``. ConfigurationError where the model cannot do what is asked."""
    return Settings(
        pooling=_pooling(config, checkpoint),
        normalize=_normalize(config, checkpoint),
        dimensions=_dimensions(config, checkpoint),
        max_tokens=_max_tokens(config, checkpoint),
        prompts=_prompts(config, checkpoint),
        default_prompt=checkpoint.default_prompt,
    )


def fingerprint(checkpoint: Checkpoint, settings: Settings, prompt: str) -> str:
    """A name for the space that vectors lie in: where it is equal, equal texts give equal vectors.

    It covers the model's files (so revision and quantization), pooling, dimensions, normalization, the limit of tokens
    and the prompt. The words before the hash are for people.
    """
    facts = [checkpoint.digest, settings.pooling, settings.dimensions, settings.normalize, settings.max_tokens, prompt]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]
    bits = f"{checkpoint.quantization['bits']}bit-" if "bits" in checkpoint.quantization else ""
    return f"{checkpoint.config['model_type']}-{bits}{settings.pooling}-{settings.dimensions}-{digest}"


def _pooling(config: EmbeddingConfig, checkpoint: Checkpoint) -> str:
    if config.pooling != "auto":
        return config.pooling
    if checkpoint.pooling is None:
        raise ConfigurationError(
            f"Nothing in the folder {checkpoint.path.name} says how this {checkpoint.config['model_type']} model was "
            "pooled (there is no 1_Pooling/config.json). Set pooling to mean, cls or last, as its authors trained it."
        )
    return checkpoint.pooling


def _normalize(config: EmbeddingConfig, checkpoint: Checkpoint) -> bool:
    if config.normalize and not checkpoint.normalize and not config.was_given("normalize"):
        _log.warning(
            "%s was trained without normalization, and its vectors are normalized here. Set normalize to False for "
            "its authors' vectors, or to True to be asked no more.",
            config.model_name,
        )
    return config.normalize


def _dimensions(config: EmbeddingConfig, checkpoint: Checkpoint) -> int:
    if config.dimensions is not None and config.dimensions > checkpoint.dimension:
        raise ConfigurationError(f"dimensions is {config.dimensions}; this model gives {checkpoint.dimension} at most.")
    return config.dimensions or checkpoint.truncate_dim or checkpoint.dimension


def _max_tokens(config: EmbeddingConfig, checkpoint: Checkpoint) -> int:
    """The default bows to a smaller limit; a value that someone chose does not, and is refused."""
    if config.max_tokens <= checkpoint.max_tokens:
        return config.max_tokens
    if config.was_given("max_tokens"):
        source = config.sources["max_tokens"]
        where = "" if source == "constructor" else f" (from {source})"
        raise ConfigurationError(
            f"max_tokens is {config.max_tokens}{where}; the limit of {config.model_name} is {checkpoint.max_tokens}."
        )
    return checkpoint.max_tokens


def _prompts(config: EmbeddingConfig, checkpoint: Checkpoint) -> dict[str, str]:
    """The model's prompts, with ``query`` and ``document`` always among them."""
    prompts = dict(checkpoint.prompts)
    documents = [prompts[name] for name in _DOCUMENT_PROMPTS if name in prompts]
    # Not the default prompt: sentence-transformers keeps it for texts of which nobody says what they are.
    prompts["document"] = documents[0] if documents else ""
    prompts.setdefault("query", "")
    if config.query_prompt is not None:
        prompts["query"] = config.query_prompt
    if config.document_prompt is not None:
        prompts["document"] = config.document_prompt
    return prompts
