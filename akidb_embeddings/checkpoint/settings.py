"""A configuration applied to a checkpoint: requested settings, within the model's limits, else trained ones."""

import logging
from collections.abc import Collection
from dataclasses import dataclass

from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.prompts import find_prompt, instruct, passage_prompt, with_query_and_document
from akidb_embeddings.checkpoint.sparse import TORCH_FILE
from akidb_embeddings.checkpoint.token_vectors import DOCUMENT, QUERY, TokenVectors
from akidb_embeddings.config.embedding import DEFAULT_MAX_TOKENS, EmbeddingConfig
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.registry.outputs import DENSE, SPARSE

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """The effective settings of a service.

    Attributes:
        pooling: The pooling strategy; of a model without dense vectors, its output.
        normalize: Whether vectors are scaled to length 1.
        dimensions: The length of vectors; of sparse ones, that of the vocabulary.
        max_tokens: The largest number of tokens of a text, special tokens included.
        prompts: Prompts by name.
        default_prompt: The prompt of texts for which none is requested.
        layer_norm: Whether a LayerNorm precedes truncation.
        integers: Whether the model's vectors are integers within int8.
        query_tokens: The largest number of tokens of a query where that is another; None if not.
    """

    pooling: str
    normalize: bool
    dimensions: int
    max_tokens: int
    prompts: dict[str, str]
    default_prompt: str
    layer_norm: bool = False
    integers: bool = False
    query_tokens: int | None = None

    def token_limit(self, role: str | None = None) -> int:
        """The most tokens of a text that is a query or a document; ``max_tokens`` where that makes no difference."""
        return self.max_tokens if role != QUERY or self.query_tokens is None else self.query_tokens

    def prompt(self, name: str) -> str:
        """The prompt ``name``.

        Raises:
            ConfigurationError: There is no such prompt.
        """
        return find_prompt(self.prompts, name)


def apply_config(config: EmbeddingConfig, checkpoint: Checkpoint) -> Settings:
    """The effective settings of ``config`` with ``checkpoint``.

    Raises:
        ConfigurationError: The model does not support a setting.
    """
    _check_dense(config, checkpoint)
    dimensions = _dimensions(config, checkpoint)
    return Settings(
        pooling=_pooling(config, checkpoint),
        normalize=_normalizes(config, checkpoint),
        dimensions=dimensions,
        max_tokens=_max_tokens(config, checkpoint),
        prompts=_prompts(config, checkpoint),
        default_prompt=checkpoint.default_prompt,
        layer_norm=checkpoint.matryoshka_layer_norm and dimensions < checkpoint.dimension,
        integers=checkpoint.int8_by_tanh,
        query_tokens=None if checkpoint.late is None else _query_tokens(config, checkpoint, checkpoint.late),
    )


def check_output(checkpoint: Checkpoint, output: str) -> None:
    """Check that a model has an output.

    Raises:
        ConfigurationError: It does not; the message lists those that it has.
    """
    if output in checkpoint.outputs:
        return
    hint = ""
    if output == SPARSE and (checkpoint.path / TORCH_FILE).is_file():
        hint = f"{TORCH_FILE} is not read here, because PyTorch's format may run code: `akidb-embed convert` reads it."
    # In words of its own: commands have an option of that name, for a file.
    text = f"This model has no output {output!r}; it has {_listed(checkpoint.outputs)}."
    if output == DENSE:
        made = checkpoint.outputs[0]
        hint = f"encode(texts, output={made!r}) makes these; so do `akidb-embed embed` and the server's POST /embed."
    raise ConfigurationError(text, field="output", hint=hint)


def _listed(outputs: tuple[str, ...]) -> str:
    return " and ".join(map(repr, outputs))


def _check_dense(config: EmbeddingConfig, checkpoint: Checkpoint) -> None:
    """Refuse the settings of a dense vector where there is none."""
    given = {"pooling": config.pooling, "dimensions": config.dimensions, "normalize": config.normalize}
    for name, value in given.items():
        if DENSE not in checkpoint.outputs and value not in ("auto", None):
            raise ConfigurationError(
                field=name,
                source=config.source_of(name),
                reason=f"is {value!r}, which is for dense vectors; this model has {_listed(checkpoint.outputs)} alone.",
            )


def _normalizes(config: EmbeddingConfig, checkpoint: Checkpoint) -> bool:
    if DENSE not in checkpoint.outputs:
        return checkpoint.late is not None and checkpoint.late.normalize
    return True if config.normalize is None else config.normalize


def _pooling(config: EmbeddingConfig, checkpoint: Checkpoint) -> str:
    if config.pooling != "auto":
        if config.pooling not in (allowed := checkpoint.architecture.poolings):
            raise ConfigurationError(
                field="pooling",
                source=config.source_of("pooling"),
                reason=f"is {config.pooling!r}; {checkpoint.architecture.described(checkpoint.config)} allows "
                f"{' or '.join(allowed)}.",
            )
        return config.pooling
    if checkpoint.pooling is None:
        raise ConfigurationError(
            f"The folder {checkpoint.path.name} does not say how this {checkpoint.config['model_type']} model was "
            "pooled (it has no 1_Pooling/config.json). Set pooling to "
            f"{_join_alternatives(checkpoint.architecture.poolings)}, as its authors trained it."
        )
    return checkpoint.pooling


def _join_alternatives(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def warn_about_normalization(config: EmbeddingConfig, checkpoint: Checkpoint) -> None:
    """Warn if vectors are normalized because ``normalize`` is None, although the authors' are not."""
    if config.normalize is None and not checkpoint.normalize and DENSE in checkpoint.outputs:
        _log.warning(
            "%s was trained without normalization, but its vectors are normalized here. Set normalize to False for the "
            "authors' vectors, or to True to disable this warning.",
            config.model_name,
        )


def warn_about_base(config: EmbeddingConfig, checkpoint: Checkpoint) -> None:
    """Warn if the adapter names another model as its base. No error: the same model has several names and folders."""
    base = checkpoint.adapter and checkpoint.adapter.base
    if base and _last_part(base) not in {_last_part(config.model_name), _last_part(checkpoint.path.name)}:
        _log.warning(
            "The adapter %s was trained on %s, and changes %s here. If that is another model, vectors mean nothing.",
            config.adapter,
            base[:200],
            config.model_name,
        )


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()


def _dimensions(config: EmbeddingConfig, checkpoint: Checkpoint) -> int:
    requested, full = config.dimensions, checkpoint.dimension
    if requested is None:
        return checkpoint.truncate_dim or full
    if requested > full:
        raise ConfigurationError(
            field="dimensions",
            source=config.source_of("dimensions"),
            limit=full,
            reason=f"is {requested}; this model gives {full} at most.",
        )
    if requested != full and requested not in checkpoint.matryoshka and not config.untrained_dimensions:
        trained = {length for length in checkpoint.matryoshka if length < full} | {full}
        alone = " alone" if len(trained) == 1 else ""
        raise ConfigurationError(
            field="dimensions",
            source=config.source_of("dimensions"),
            reason=f"is {requested}; this model was trained for {describe_lengths(trained)}{alone}.",
            hint="With {untrained_dimensions} in the configuration vectors are truncated anyway, at an unknown loss of "
            "quality.",
        )
    return requested


def describe_lengths(lengths: Collection[int]) -> str:
    """Lengths as text, with three or more consecutive ones as a range: "8, 32 to 1024"."""
    runs: list[list[int]] = []
    for length in sorted(lengths):
        if not runs or length != runs[-1][-1] + 1:
            runs.append([])
        runs[-1].append(length)
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def largest_limit(checkpoint: Checkpoint, role: str = DOCUMENT) -> int:
    """The largest number of tokens that can be configured; for token vectors, of queries or of documents."""
    late = checkpoint.late
    if late is not None and role == QUERY and late.expansion is not None and late.expansion.fixed:
        return late.expansion.length
    length = None if late is None else late.query_length if role == QUERY else late.document_length
    return checkpoint.max_tokens if length is None else min(length, checkpoint.positions)


def _max_tokens(config: EmbeddingConfig, checkpoint: Checkpoint) -> int:
    """The configured limit; without one, the model's, but at most ``DEFAULT_MAX_TOKENS``."""
    limit = largest_limit(checkpoint)
    if config.max_tokens is None:
        return min(DEFAULT_MAX_TOKENS, limit)
    if config.max_tokens > limit:
        raise ConfigurationError(
            field="max_tokens",
            source=config.source_of("max_tokens"),
            limit=limit,
            reason=f"is {config.max_tokens}; the limit of {config.model_name} is {limit}.",
        )
    return config.max_tokens


def _query_tokens(config: EmbeddingConfig, checkpoint: Checkpoint, late: TokenVectors) -> int:
    """The limit of queries: the model's, and the configured one, unless that leaves no room for their expansion."""
    expansion = late.expansion
    floor = 1 if expansion is None else expansion.length
    if config.max_tokens is not None and config.max_tokens < floor:
        raise ConfigurationError(
            field="max_tokens",
            source=config.source_of("max_tokens"),
            limit=floor,
            reason=f"is {config.max_tokens}; queries of this model have {floor} tokens at least.",
        )
    limit = largest_limit(checkpoint, QUERY)
    if expansion is not None and expansion.fixed:
        return limit
    return max(floor, min(limit, config.max_tokens or DEFAULT_MAX_TOKENS))


def _prompts(config: EmbeddingConfig, checkpoint: Checkpoint) -> dict[str, str]:
    """The model's prompts, with the configured ones for queries and documents."""
    prompts = with_query_and_document(checkpoint.prompts)
    chosen = {}
    for kind, text, name in (
        ("query", config.query_prompt, config.query_prompt_name),
        ("document", config.document_prompt, config.document_prompt_name),
    ):
        if text is not None:
            chosen[kind] = text
        elif name is not None:
            chosen[kind] = find_prompt(prompts, name, f"{kind}_prompt_name")
    if config.task is not None:
        chosen["query"] = instruct(checkpoint.prompts, config.task, prefix="query_")
    return prompts | chosen


def lacks_query_prompt(config: EmbeddingConfig, checkpoint: Checkpoint) -> bool:
    """Whether queries get no prompt, although the model has prompts and the configuration does not ask for none."""
    chosen = config.query_prompt, config.query_prompt_name, config.task
    return any(checkpoint.prompts.values()) and "query" not in checkpoint.prompts and chosen == (None, None, None)


def doubtful_document_prompt(config: EmbeddingConfig, checkpoint: Checkpoint) -> str | None:
    """The name of the prompt that documents may be meant to have, because the model's ``document`` is missing or empty.

    None if there is no such prompt, or the configuration decides.
    """
    is_configured = (config.document_prompt, config.document_prompt_name) != (None, None)
    return None if is_configured else passage_prompt(checkpoint.prompts)
