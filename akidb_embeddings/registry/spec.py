"""The registry's entries."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar


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


@dataclass(frozen=True)
class RerankExample:
    """Scores published by a reranker's authors.

    Attributes:
        query: The example's query.
        documents: The example's documents.
        scores: Their scores, [len(documents)].
        source: The URL of the model card.
        activation: What had been applied to the logits: "sigmoid", or "identity" for none.
    """

    query: str
    documents: tuple[str, ...]
    scores: tuple[float, ...]
    source: str
    activation: str


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One model of the registry, of either kind.

    Attributes:
        name: The short name.
        repo: The Hugging Face repository.
        architecture: Its key in ``ARCHITECTURES``: config.json's ``model_type``, or what tells it from a twin.
        weights: How weights are stored: a dtype, "4 bits" or "8 bits".
        license: The license's name.
        size_bytes: The size of the download in bytes, for display.
        description: One line for display.
        revision: The commit hash; None for the main branch.
        bundled: Whether the model is part of this package.
        max_tokens: The largest number of tokens as trained, special tokens included; None if the model's files give it.
    """

    name: str
    repo: str
    architecture: str
    weights: str
    license: str
    size_bytes: int
    description: str
    revision: str | None = None
    bundled: bool = False
    max_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """One embedding model of the registry.

    ``pooling`` and ``prompts`` are as trained; None or empty means that the model's files give them.

    Attributes:
        dimension: The length of its vectors.
        pooling: The pooling strategy.
        prompts: Prompts by name.
        matryoshka: The lengths, below ``dimension``, to which vectors can be truncated.
        matryoshka_layer_norm: Whether a LayerNorm without weights precedes truncation. Full vectors get none, as in
            sentence-transformers, although the authors' example applies it to them too.
        card: Similarities published by the authors.
        gets_final_token: Whether texts end with the architecture's final token where the tokenizer appends none; False
            if the tokenizer decides alone.
    """

    dimension: int
    pooling: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    matryoshka: Collection[int] = ()
    matryoshka_layer_norm: bool = False
    card: CardExample | None = None
    gets_final_token: bool = True


@dataclass(frozen=True, kw_only=True)
class RerankerSpec(Spec):
    """One reranker of the registry: a model that scores a query and a document together.

    Attributes:
        languages: The languages it was trained for, for display.
        activation: What sentence-transformers applies to the logits of the authors' own files: "sigmoid", or "identity"
            for nothing. It fills in what a conversion dropped; None if the model's files give it.
        instruction: The instruction of models that take one, unless the caller gives another; None if it takes none.
        card: Scores published by the authors.
    """

    languages: str
    activation: str | None = None
    instruction: str | None = None
    card: RerankExample | None = None

    @property
    def scores(self) -> str:
        """What its scores are, for display; "" if only the model's files say."""
        return {"sigmoid": "0 to 1", "identity": "logits", None: ""}[self.activation]


AnySpec = TypeVar("AnySpec", bound=Spec)


def variant(spec: AnySpec, weights: str, repo: str, size_bytes: int, revision: str | None = None) -> AnySpec:
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
