"""Whether a model gives the similarities its authors published, and does what every model must do."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.diagnostics.checks import Check, run_checks
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.hub.download import get_model_info, resolve_model
from akidb_embeddings.hub.resolve import find_spec
from akidb_embeddings.registry import MODELS, CardExample
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.precision import Similarities, similarity

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
class Comparison:
    """Published and computed similarities, ``[queries, documents]``.

    ``tolerance`` is the largest difference that rounding explains.
    """

    card: CardExample
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


@dataclass(frozen=True)
class Verification:
    """What was found out about the model ``name``.

    ``bits`` is None for weights that are not quantized; ``comparison`` is None where no similarities are published, or
    the vectors are no numbers; ``checks`` are what must hold for every model.
    """

    name: str
    bits: int | None
    comparison: Comparison | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether all checks passed, and the published similarities, if there are any, were reproduced."""
        return all(check.passed for check in self.checks) and (self.comparison is None or self.comparison.reproduced)


def tolerance(bits: int | None) -> float:
    """The largest difference from published similarities that ``bits`` a weight explain."""
    return _TOLERANCE if bits is None else _TOLERANCES.get(bits, _COARSEST)


def verify(
    name: str,
    *,
    card: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    auto_download: bool = True,
) -> Verification:
    """Compute what the card of the model ``name`` shows, and run the checks, as it was trained, whatever is configured.

    ``card`` is the registry's name of the model whose card to take, for a folder or a repository that holds the same
    model; None for the model's own, if it has one.

    Raises ConfigurationError where nothing is published for ``card``, and what ``EmbeddingService`` raises.
    """
    example = _card(name, revision, cache_dir) if card is None else _card_of(card)
    config = EmbeddingConfig(
        model_name=name, revision=revision, cache_dir=cache_dir, auto_download=auto_download, normalize=True
    )
    service, assumed = _open(config)
    with service:
        bits = service.checkpoint.quantization.get("bits")
        checks = (*assumed, *run_checks(service))
        comparison = None
        if example and all(check.passed for check in checks if check.name == "finite"):
            queries = service.encode(example.queries, prompt_name=example.query_prompt_name).vectors
            documents = service.encode(example.documents, prompt_name=example.document_prompt_name).vectors
            comparison = Comparison(example, similarity(queries, documents), tolerance(bits))
    return Verification(name, bits, comparison, checks)


def _open(config: EmbeddingConfig) -> tuple[EmbeddingService, list[Check]]:
    """The service; where nothing says how the model is pooled, one that takes the mean, and a check that failed."""
    files = resolve_model(
        config.model_name, revision=config.revision, cache_dir=config.cache_dir, auto_download=config.auto_download
    )
    if read_checkpoint(files.path, files.spec).pooling is not None:
        return EmbeddingService(config=config), []
    text = "nothing in the folder says mean, cls or last; what follows is computed with mean"
    return EmbeddingService(config=config.with_values(pooling="mean")), [Check("pooling", False, text)]


def _card(name: str, revision: str | None, cache_dir: str | Path | None) -> CardExample | None:
    spec = get_model_info(name, revision=revision, cache_dir=cache_dir).spec
    return spec.card if spec else None


def _card_of(name: str) -> CardExample:
    spec = find_spec(name)
    if spec is None or spec.card is None:
        known = ", ".join(spec.name for spec in MODELS.values() if spec.card is not None)
        raise ConfigurationError(f"No similarities of {name!r} are known; they are for {known}.")
    return spec.card
