"""Whether a model gives the similarities its authors published, and by how much it differs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from akidb_embeddings.config import EmbeddingConfig
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.hub import get_model_info
from akidb_embeddings.precision import Similarities, similarity
from akidb_embeddings.registry import MODELS, CardExample
from akidb_embeddings.service import EmbeddingService

# Cards give four digits, of runs in bfloat16 that are 3e-3 off themselves.
_TOLERANCE = 0.005
# What quantization adds. Measured with all-MiniLM-L6-v2, as the largest difference on its card and the root mean
# square over all pairs of 43 texts: 8 bits 0.002 and 0.002, 6 bits 0.011 and 0.006, 5 bits 0.014 and 0.017, 4 bits
# 0.022 and 0.036. Each limit is three times the latter or so. What goes wrong by mistake stands out at 8 bits: pooling
# the last token instead of the mean gives 0.13 on that card, the first 0.61. Below 4 bits (3 bits: 0.11, 2 bits: 0.26)
# similarities are no longer the published ones, and the limit does not grow with them.
_TOLERANCES = {8: 0.01, 6: 0.03, 5: 0.06}
_COARSEST = 0.1


@dataclass(frozen=True)
class Verification:
    """Published and computed similarities, ``[queries, documents]``.

    ``bits`` is None for weights that are not quantized; ``tolerance`` is the largest difference that rounding explains.
    """

    name: str
    card: CardExample
    bits: int | None
    computed: Similarities
    tolerance: float

    @property
    def published(self) -> Similarities:
        """What the authors say."""
        return np.array(self.card.scores, dtype=np.float32)

    @property
    def differences(self) -> Similarities:
        """Computed minus published."""
        return self.computed - self.published

    @property
    def largest(self) -> float:
        """The largest difference, either way."""
        return float(np.abs(self.differences).max())

    @property
    def reproduced(self) -> bool:
        """Whether every difference is within the tolerance."""
        return self.largest <= self.tolerance


def tolerance(bits: int | None) -> float:
    """The largest difference from published similarities that ``bits`` a weight explain."""
    return _TOLERANCE if bits is None else _TOLERANCES.get(bits, _COARSEST)


def verify(
    name: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    auto_download: bool = True,
) -> Verification:
    """Compute what the card of the model ``name`` shows, as it was trained, whatever is configured.

    Raises ConfigurationError where nothing is published, and what ``EmbeddingService`` raises.
    """
    card = _card(name, revision, cache_dir)
    config = EmbeddingConfig(model_name=name, revision=revision, cache_dir=cache_dir, auto_download=auto_download)
    with EmbeddingService(config=config) as service:
        queries = service.embed_queries(card.queries)
        documents = service.embed_documents(card.documents)
        bits = service.checkpoint.quantization.get("bits")
    return Verification(name, card, bits, similarity(queries, documents), tolerance(bits))


def _card(name: str, revision: str | None, cache_dir: str | Path | None) -> CardExample:
    spec = get_model_info(name, revision=revision, cache_dir=cache_dir).spec
    if spec is None or spec.card is None:
        known = ", ".join(spec.name for spec in MODELS.values() if spec.card is not None)
        raise ConfigurationError(f"No similarities to verify {name!r} with are known; they are for {known}.")
    return spec.card
