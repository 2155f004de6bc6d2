"""What the registry knows of a model: plain values."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class CardExample:
    """Similarities a model's authors published, to be reproduced by ``akidb-embed verify``.

    The names of prompts are those the card puts before queries and documents; None where it puts none, or what the
    model has for texts of no kind.
    """

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]  # cosine similarity, [len(queries)][len(documents)]
    source: str
    query_prompt_name: str | None = "query"
    document_prompt_name: str | None = "document"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One entry of the registry.

    ``architecture`` is config.json's ``model_type``; ``weights`` says how they are stored. ``pooling``, ``prompts`` and
    ``max_tokens`` are what the authors trained; ``None`` or empty means that the model's own files say it.
    ``matryoshka``: the lengths, below the full one, to which they trained vectors to be cut. ``matryoshka_layer_norm``:
    whether a LayerNorm without weights comes before the cut; whole vectors get none, as in sentence-transformers,
    though the authors' example has one there too. ``size_bytes`` is the download's size, for display.
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
    """The same model with other weights, converted by mlx-community; its name ends with how they are stored."""
    ending = {"4 bits": "4bit", "8 bits": "8bit", "bfloat16": "bf16", "float16": "fp16"}[weights]
    return replace(
        spec,
        name=f"{spec.name}-{ending}",
        repo=f"mlx-community/{repo}",
        weights=weights,
        size_bytes=size_bytes,
        revision=revision,
    )
