"""The quality of a converted model: cosines between its vectors and its original's, over built-in texts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.checkpoint.settings import Settings
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.diagnostics.sample_texts import DOCUMENTS, QUERIES
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import Vectors, row_cosines

# Longer than windows of local attention, and short enough for models that would take an hour for a whole book.
_MAX_TOKENS = 1024
# For models that do not say how they are pooled. The mean depends on all tokens, so it shows most of the loss.
_ASSUMED_POOLING = "mean"


@dataclass(frozen=True)
class Quality:
    """Cosine similarities of each text's two vectors.

    Attributes:
        texts: The texts.
        cosines: One similarity per text.
        pooling: The pooling of both models.
        assumed: Whether the pooling is a guess, because neither model says how it was trained.
    """

    texts: tuple[str, ...]
    cosines: tuple[float, ...]
    pooling: str
    assumed: bool

    @property
    def mean(self) -> float:
        """The mean cosine."""
        return float(np.mean(self.cosines))

    @property
    def worst(self) -> float:
        """The lowest cosine."""
        return min(self.cosines)

    @property
    def worst_text(self) -> int:
        """The index of the text with the lowest cosine."""
        return self.cosines.index(self.worst)


def compare(original: Path, converted: Path) -> Quality:
    """Embed the built-in texts with two models, one after the other, and compare the vectors.

    Both use the prompts and the pooling of ``converted``, and the lower of their token limits.

    Args:
        original: Folder of the original model.
        converted: Folder of the converted model.

    Returns:
        The similarities of all texts.

    Raises:
        EmbeddingError: What ``EmbeddingService`` raises; UnusableVectorError if a model gives NaN or zeros.
    """
    before, after = read_checkpoint(original), read_checkpoint(converted)
    pooling = after.pooling or before.pooling
    config = EmbeddingConfig(
        pooling=pooling or _ASSUMED_POOLING,
        normalize=True,
        max_tokens=min(before.max_tokens, after.max_tokens, _MAX_TOKENS),
    )
    vectors, settings = _embed_samples(converted, config, None)
    reference, _ = _embed_samples(original, config, settings)
    similarities = tuple(row_cosines(reference, vectors).tolist())
    return Quality((*QUERIES, *DOCUMENTS), similarities, config.pooling, pooling is None)


def _embed_samples(folder: Path, config: EmbeddingConfig, settings: Settings | None) -> tuple[Vectors, Settings]:
    """Embed the built-in texts with the prompts of ``settings``, or the folder's own; float32 [n, dimension]."""
    # An absolute path is always taken as a folder, never as a model's name.
    with EmbeddingService(config=config.with_values(model_name=str(folder.absolute()))) as service:
        used = settings or service.settings
        queries = service.encode(QUERIES, prompt=used.prompt("query"), wait=True)
        documents = service.encode(DOCUMENTS, prompt=used.prompt("document"), wait=True)
        return np.concatenate([queries.vectors, documents.vectors]), used
