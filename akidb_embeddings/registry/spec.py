"""The registry's entries."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class CardExample:
    """Similarities published by a model's authors, which ``akidb-embed verify`` reproduces.

    Attributes:
        queries: The example's queries.
        documents: The example's documents.
        scores: Cosine similarities, [len(queries)][len(documents)].
        source: The URL of the model card.
        query_prompt_name: The prompt of queries; None for the model's default prompt.
        document_prompt_name: The prompt of documents; None for the model's default prompt.
    """

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    source: str
    query_prompt_name: str | None = "query"
    document_prompt_name: str | None = "document"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model of the registry.

    ``pooling``, ``max_tokens`` and ``prompts`` are as trained; None or empty means that the model's files give them.

    Attributes:
        name: The short name.
        repo: The Hugging Face repository.
        architecture: config.json's ``model_type``.
        dimension: The length of its vectors.
        weights: How weights are stored: a dtype, "4 bits" or "8 bits".
        license: The license's name.
        size_bytes: The size of the download in bytes, for display.
        description: One line for display.
        revision: The commit hash; None for the main branch.
        bundled: Whether the model is part of this package.
        pooling: The pooling strategy.
        max_tokens: The largest number of tokens, special tokens included.
        prompts: Prompts by name.
        matryoshka: The lengths, below ``dimension``, to which vectors can be truncated.
        matryoshka_layer_norm: Whether a LayerNorm without weights precedes truncation. Full vectors get none, as in
            sentence-transformers, although the authors' example applies it to them too.
        card: Similarities published by the authors.
    """

    name: str
    repo: str
    architecture: str
    dimension: int
    weights: str
    license: str
    size_bytes: int
    description: str
    revision: str | None = None
    bundled: bool = False
    pooling: str | None = None
    max_tokens: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    matryoshka: Collection[int] = ()
    matryoshka_layer_norm: bool = False
    card: CardExample | None = None


def variant(spec: ModelSpec, weights: str, repo: str, size_bytes: int, revision: str | None = None) -> ModelSpec:
    """The same model with other weights, converted by mlx-community. A suffix of its name says how they are stored."""
    ending = {"4 bits": "4bit", "8 bits": "8bit", "bfloat16": "bf16", "float16": "fp16"}[weights]
    return replace(
        spec,
        name=f"{spec.name}-{ending}",
        repo=f"mlx-community/{repo}",
        weights=weights,
        size_bytes=size_bytes,
        revision=revision,
    )
