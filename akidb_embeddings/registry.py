"""The models known by a short name. Data only; ``hub`` finds their files, ``checkpoint`` reads them.

The folder of a model always has the last word: what stands here fills in what a conversion dropped
(pooling, prompts, maximum length) and is checked against the folder where both speak (dimension).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class CardExample:
    """Similarities a model's authors published, to be reproduced by ``akidb-embed verify``."""

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]  # cosine similarity, [len(queries)][len(documents)]
    source: str


@dataclass(frozen=True)
class ModelSpec:
    """One entry of the registry.

    ``pooling``, ``prompts`` and ``max_tokens`` are what the authors trained; ``None`` or empty means that
    the model's own files say it. ``size_bytes`` is the download's size, for display.
    """

    name: str
    repo: str
    dimension: int
    license: str
    size_bytes: int
    description: str
    revision: str | None = None
    bundled: bool = False
    pooling: str | None = None
    max_tokens: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    card: CardExample | None = None


_QWEN3_CARD = CardExample(
    queries=("What is the capital of China?", "Explain gravity"),
    documents=(
        "The capital of China is Beijing.",
        "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is "
        "responsible for the movement of planets around the sun.",
    ),
    scores=((0.7646, 0.1414), (0.1355, 0.6000)),
    source="https://huggingface.co/Qwen/Qwen3-Embedding-0.6B",
)

_GEMMA_CARD = CardExample(
    queries=("Which planet is known as the Red Planet?",),
    documents=(
        "Venus is often called Earth's twin because of its similar size and proximity.",
        "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
        "Jupiter, the largest planet in our solar system, has a prominent red spot.",
        "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
    ),
    scores=((0.3011, 0.6359, 0.4930, 0.4889),),
    source="https://huggingface.co/google/embeddinggemma-300m",
)

_MINILM_CARD = CardExample(
    queries=("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."),
    documents=("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."),
    scores=((1.0000, 0.6660, 0.1046), (0.6660, 1.0000, 0.1411), (0.1046, 0.1411, 1.0000)),
    source="https://sbert.net/docs/quickstart.html",
)

_SPECS = (
    ModelSpec(
        name="qwen3-0.6b-4bit",
        repo="mlx-community/Qwen3-Embedding-0.6B-4bit-DWQ",
        dimension=1024,
        license="Apache-2.0",
        size_bytes=335_000_000,
        description="Qwen3-Embedding-0.6B, 4 bits: multilingual, 1024 dimensions (Matryoshka from 32)",
        pooling="last",
        max_tokens=32768,
        prompts={
            "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
            "document": "",
        },
        card=_QWEN3_CARD,
    ),
    ModelSpec(
        name="gemma-300m-4bit",
        repo="mlx-community/embeddinggemma-300m-4bit",
        dimension=768,
        license="Gemma",
        size_bytes=173_000_000,
        description="EmbeddingGemma-300m, 4 bits: multilingual, 768 dimensions (Matryoshka 512, 256, 128)",
        pooling="mean",
        max_tokens=2048,
        prompts={"query": "task: search result | query: ", "document": "title: none | text: "},
        card=_GEMMA_CARD,
    ),
    ModelSpec(
        name="minilm-l6-v2",
        repo="sentence-transformers/all-MiniLM-L6-v2",
        dimension=384,
        license="Apache-2.0",
        size_bytes=25_500_000,
        description="all-MiniLM-L6-v2, 8 bits: English, small and fast, bundled with this package",
        bundled=True,
        pooling="mean",
        max_tokens=256,
        card=_MINILM_CARD,
    ),
)

MODELS: Mapping[str, ModelSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})
BUNDLED = next(spec.name for spec in _SPECS if spec.bundled)
"""The model that is always there."""
