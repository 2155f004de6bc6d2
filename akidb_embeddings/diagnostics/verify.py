"""Verifying a model: it must reproduce the similarities that its authors published, and pass all ``checks``."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from akidb_embeddings.checkpoint.checkpoint import Checkpoint, read_checkpoint
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.diagnostics.checks import Check, run_checks
from akidb_embeddings.diagnostics.stored_weights import misread_tensor
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.hub.download import get_model_info, resolve_model
from akidb_embeddings.hub.names import find_spec
from akidb_embeddings.registry import MODELS, CardExample
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.precision import Similarities, similarity

# Cards give four digits, but from runs in bfloat16, whose own error is 3e-3.
_TOLERANCE = 0.005
# Tolerances by bits per weight. Measured with all-MiniLM-L6-v2, as the largest difference on its card and the root mean
# square over all pairs of 43 texts: 8 bits 0.002 and 0.002, 6 bits 0.011 and 0.006, 5 bits 0.014 and 0.017, 4 bits
# 0.022 and 0.036. Each limit is about three times the latter. Mistakes are still visible at 8 bits: pooling the last
# token instead of the mean gives 0.13 on that card, the first token 0.61. Below 4 bits (3 bits: 0.11, 2 bits: 0.26),
# similarities no longer match the published ones, so the limit does not grow further.
_TOLERANCES = {8: 0.01, 6: 0.03, 5: 0.06}
_COARSEST = 0.1


@dataclass(frozen=True)
class Comparison:
    """Published and computed similarities.

    Attributes:
        card: The texts and the published similarities.
        computed: float32 [queries, documents].
        tolerance: The largest difference that rounding explains.
    """

    card: CardExample
    computed: Similarities
    tolerance: float

    @property
    def published(self) -> Similarities:
        """The authors' similarities, float32 [queries, documents]."""
        return np.array(self.card.scores, dtype=np.float32)

    @property
    def differences(self) -> Similarities:
        """Computed minus published similarities, float32 [queries, documents]."""
        return self.computed - self.published

    @property
    def largest(self) -> float:
        """The largest absolute difference."""
        return float(np.abs(self.differences).max())

    @property
    def reproduced(self) -> bool:
        """Whether every difference is within the tolerance."""
        return self.largest <= self.tolerance


@dataclass(frozen=True)
class Verification:
    """The result of verifying a model.

    Attributes:
        name: The model's name.
        bits: Bits per weight; None if the weights are not quantized.
        comparison: None if no similarities are published, or the vectors are not finite.
        checks: Results of the checks that every model must pass.
    """

    name: str
    bits: int | None
    comparison: Comparison | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether all checks passed, and the published similarities, if any, were reproduced."""
        return all(check.passed for check in self.checks) and (self.comparison is None or self.comparison.reproduced)


def tolerance(bits: int | None) -> float:
    """Return the largest difference from published similarities that rounding explains.

    Args:
        bits: Bits per weight; None for weights that are not quantized.
    """
    return _TOLERANCE if bits is None else _TOLERANCES.get(bits, _COARSEST)


def verify(
    name: str,
    *,
    card: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    auto_download: bool = True,
) -> Verification:
    """Compute the similarities on a model's card, and run all checks. The user's configuration is not used.

    Args:
        name: A registry name, a repository or a folder.
        card: Registry name of the model whose card to use, for a folder or repository with the same model; None for
            the model's own card, if it has one.
        revision: Branch, tag or commit of the repository.
        cache_dir: Where models are cached; None for the default.
        auto_download: Whether the model may be downloaded.

    Returns:
        The results.

    Raises:
        ConfigurationError: No similarities are published for ``card``.
        EmbeddingError: What ``EmbeddingService`` raises.
    """
    example = _model_card(name, revision, cache_dir) if card is None else _registry_card(card)
    config = EmbeddingConfig(
        model_name=name, revision=revision, cache_dir=cache_dir, auto_download=auto_download, normalize=True
    )
    service, assumed = _open_service(config)
    with service:
        bits = service.checkpoint.quantization.get("bits")
        checks = (*assumed, *run_checks(service), _check_reading(service.checkpoint))
        comparison = None
        if example and all(check.passed for check in checks if check.name == "finite"):
            queries = service.encode(example.queries, prompt_name=example.query_prompt_name).vectors
            documents = service.encode(example.documents, prompt_name=example.document_prompt_name).vectors
            comparison = Comparison(example, similarity(queries, documents), tolerance(bits))
    return Verification(name, bits, comparison, checks)


def _open_service(config: EmbeddingConfig) -> tuple[EmbeddingService, list[Check]]:
    """Open the service. If the model does not say how it is pooled, the mean is used, and a failed check returned."""
    files = resolve_model(
        config.model_name, revision=config.revision, cache_dir=config.cache_dir, auto_download=config.auto_download
    )
    if read_checkpoint(files.path, files.spec).pooling is not None:
        return EmbeddingService(config=config), []
    text = "the folder does not say mean, cls or last; the following is computed with mean"
    return EmbeddingService(config=config.with_values(pooling="mean")), [Check("pooling", False, text)]


def _check_reading(checkpoint: Checkpoint) -> Check:
    fault = misread_tensor(checkpoint)
    return Check("weights as stored", not fault, fault or "NumPy reads the same numbers from the files")


def _model_card(name: str, revision: str | None, cache_dir: str | Path | None) -> CardExample | None:
    spec = get_model_info(name, revision=revision, cache_dir=cache_dir).spec
    return spec.card if spec else None


def _registry_card(name: str) -> CardExample:
    spec = find_spec(name)
    if spec is None or spec.card is None:
        known = ", ".join(spec.name for spec in MODELS.values() if spec.card is not None)
        raise ConfigurationError(field="card", reason=f"is {name!r}; similarities are only published for {known}.")
    return spec.card
