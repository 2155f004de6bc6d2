"""How near the vectors of a converted model are to those of its original: cosines over the built-in texts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.checkpoint.settings import Settings
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.diagnostics.sample_texts import DOCUMENTS, QUERIES
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import Vectors

# Past the windows of local attention, and short enough for models that would take an hour for a whole book.
_MAX_TOKENS = 1024
# Where nothing says how a model is pooled: all tokens count, so the mean tells most of what became of them.
_ASSUMED_POOLING = "mean"


@dataclass(frozen=True)
class Quality:
    """Cosine similarities of each text's two vectors.

    ``pooling`` is what both were pooled with; ``assumed``: nothing says that the model was trained with it.
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
    """Embed the built-in texts with the model in each folder, one after the other, and compare.

    Prompts and pooling are those of ``converted``, for both; texts are cut where either model must.
    Raises what ``EmbeddingService`` raises; NonFiniteVectorError where one of the models gives NaN.
    """
    before, after = read_checkpoint(original), read_checkpoint(converted)
    pooling = after.pooling or before.pooling
    config = EmbeddingConfig(
        pooling=pooling or _ASSUMED_POOLING,
        normalize=True,
        max_tokens=min(before.max_tokens, after.max_tokens, _MAX_TOKENS),
    )
    vectors, settings = _vectors(converted, config, None)
    reference, _ = _vectors(original, config, settings)
    similarities = tuple(cosines(reference, vectors).tolist())
    return Quality((*QUERIES, *DOCUMENTS), similarities, config.pooling, pooling is None)


def cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """Cosine similarity row by row, ``[n]``, in float64; 0 where a vector is zero."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(wide_a, axis=1) * np.linalg.norm(wide_b, axis=1)
    result: NDArray[np.float64] = np.minimum((wide_a * wide_b).sum(1) / np.where(lengths > 0, lengths, 1.0), 1.0)
    return result


def _vectors(folder: Path, config: EmbeddingConfig, settings: Settings | None) -> tuple[Vectors, Settings]:
    """Vectors of the built-in texts with the prompts of ``settings``, or of the folder's own."""
    # Absolute, so that it is taken for a folder, whatever it is called.
    with EmbeddingService(config=config.with_values(model_name=str(folder.absolute()))) as service:
        used = settings or service.settings
        queries = service.encode(QUERIES, prompt=used.prompt("query"), wait=True)
        documents = service.encode(DOCUMENTS, prompt=used.prompt("document"), wait=True)
        return np.concatenate([queries.vectors, documents.vectors]), used
