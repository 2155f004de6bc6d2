"""Verifying a model: it must reproduce the numbers that its authors published, and pass all checks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.kinds import kind_of, read_model
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.diagnostics.adapter_checks import check_effect, wrong_change
from akidb_embeddings.diagnostics.checks import Check
from akidb_embeddings.diagnostics.comparison import (
    Comparison,
    ScoreComparison,
    SimilarityComparison,
    score_tolerance,
    tolerance,
)
from akidb_embeddings.diagnostics.output_checks import check_sparse, check_tokens
from akidb_embeddings.diagnostics.score_checks import check_scores
from akidb_embeddings.diagnostics.stored_weights import misread_tensor
from akidb_embeddings.diagnostics.vector_checks import check_vectors
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.hub.either import resolve_either
from akidb_embeddings.hub.names import find_spec
from akidb_embeddings.registry import MODELS, RERANKERS, CardExample, ModelSpec, RerankerSpec, RerankExample, Spec
from akidb_embeddings.registry.outputs import DENSE, SPARSE, TOKENS
from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.service.reading import read_configured
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.precision import similarity

Kind = Literal["embedding", "reranker"]
# Of pairs: the checks need no longer ones, and those of 8192 tokens would take minutes on a CPU.
_MAX_TOKENS = 512


@dataclass(frozen=True)
class Verification:
    """The result of verifying a model.

    Attributes:
        name: The model's name.
        kind: Whether it makes vectors or scores.
        is_kind_assumed: Whether that is a guess, because neither the model's files nor the caller say it.
        bits: Bits per weight; None if the weights are not quantized.
        comparison: None if no numbers are published, or the model's are not finite.
        checks: Results of the checks that every model of its kind must pass.
    """

    name: str
    kind: Kind
    is_kind_assumed: bool
    bits: int | None
    comparison: Comparison | None
    checks: tuple[Check, ...]

    @property
    def numbers(self) -> str:
        """What is published for models of this kind, in words."""
        return "similarities" if self.kind == "embedding" else "scores"

    @property
    def passed(self) -> bool:
        """Whether all checks passed, and the published numbers, if any, were reproduced."""
        return all(check.passed for check in self.checks) and (self.comparison is None or self.comparison.reproduced)


def verify(
    name: str,
    *,
    card: str | None = None,
    kind: type[Spec] = Spec,
    revision: str | None = None,
    adapter: str | None = None,
    adapter_revision: str | None = None,
    cache_dir: str | Path | None = None,
    auto_download: bool = True,
) -> Verification:
    """Compute the similarities or scores on a model's card, and run all checks, whatever the user has configured.

    Args:
        name: A registry name, a repository or a folder.
        card: Registry name of the model whose card to use, for a folder or repository with the same model; None for
            the model's own card, if it has one.
        kind: ``RerankerSpec`` or ``ModelSpec``, for a folder that does not say of which kind it is; ``Spec`` for the
            card's kind or, without a card, what the folder says.
        revision: Branch, tag or commit of the repository.
        adapter: A LoRA adapter to the model, a repository or a folder, without a card; None for none.
        adapter_revision: Branch, tag or commit of the adapter's repository.
        cache_dir: Where models are cached; None for the default.
        auto_download: Whether the model may be downloaded.

    Raises:
        ConfigurationError: Nothing is published for ``card``, it is of another kind than the model, or it or a
            reranker is given with an adapter.
        EmbeddingError: What ``EmbeddingService`` or ``RerankService`` raises.
    """
    named = None if card is None else _registry_spec(card)
    location: dict[str, Any] = {"revision": revision, "cache_dir": cache_dir, "auto_download": auto_download}
    files = resolve_either(name, **location)
    found = kind_of(files.path, files.spec)
    if named is not None:
        _check_kind_of_card(named, name, found)
        kind = type(named)
    checkpoint, spec = read_model(files.path, files.spec, kind), named or files.spec
    if adapter is not None:
        _check_adapter_fits(name, checkpoint, adapter, card)
        spec = None  # what is published is of the model alone
    if isinstance(checkpoint, RerankerCheckpoint):
        max_tokens = min(_MAX_TOKENS, checkpoint.max_tokens)
        with RerankService(config=RerankConfig(model_name=name, max_tokens=max_tokens, **location)) as reranker:
            return _verify_scores(reranker, spec if isinstance(spec, RerankerSpec) else None)
    config = EmbeddingConfig(model_name=name, adapter=adapter, adapter_revision=adapter_revision, **location)
    with EmbeddingService(config=_as_trained(config)) as service:
        result = _verify_vectors(service, spec if isinstance(spec, ModelSpec) else None)
    return replace(result, is_kind_assumed=found is kind is Spec)


def _check_adapter_fits(name: str, checkpoint: Checkpoint | RerankerCheckpoint, adapter: str, card: str | None) -> None:
    if isinstance(checkpoint, RerankerCheckpoint):
        raise ConfigurationError(field="adapter", reason=f"is {adapter!r}, but {name} is a reranker.")
    if card is not None:
        raise ConfigurationError(
            field="card", reason=f"is {card!r}, whose numbers are of the model without the adapter {adapter!r}."
        )


def _as_trained(config: EmbeddingConfig) -> EmbeddingConfig:
    """The configuration with what the checks need: vectors of length 1, where the model has a vector per text."""
    checkpoint = read_configured(config)
    if DENSE not in checkpoint.outputs:
        return config
    return config.with_values(normalize=True, pooling="mean" if checkpoint.pooling is None else "auto")


def _verify_vectors(service: EmbeddingService, spec: ModelSpec | None) -> Verification:
    checkpoint, example = service.checkpoint, _card(spec)
    bits = checkpoint.quantization.get("bits")
    checks = (*_check_pooling(checkpoint), *_check_outputs(service), _check_reading(checkpoint))
    if _is_finite(checks):
        checks = (*checks, *check_effect(service))
    comparison = None
    if isinstance(example, CardExample) and DENSE in service.outputs and _is_finite(checks):
        queries = service.encode(example.queries, prompt_name=example.query_prompt_name).vectors
        documents = service.encode(example.documents, prompt_name=example.document_prompt_name).vectors
        comparison = SimilarityComparison(example, similarity(queries, documents), tolerance(bits))
    return Verification(service.config.model_name, "embedding", False, bits, comparison, checks)


def _verify_scores(service: RerankService, spec: RerankerSpec | None) -> Verification:
    checkpoint, example, labels = service.checkpoint, _card(spec), service.labels
    bits = checkpoint.quantization.get("bits")
    if example is not None and len(labels) > 1:
        raise ConfigurationError(
            field="card",
            reason=f"has one score for each pair, but {service.config.model_name} gives {len(labels)}: "
            f"{', '.join(labels)}.",
        )
    checks = (*check_scores(service), *_check_activation(checkpoint, spec), _check_reading(checkpoint))
    comparison = None
    if isinstance(example, RerankExample) and _is_finite(checks):
        pairs = [(example.query, document) for document in example.documents]
        scores = service.score(pairs, activation=example.activation)
        comparison = ScoreComparison(example, scores, score_tolerance(example, bits))
    return Verification(service.config.model_name, "reranker", False, bits, comparison, checks)


def _check_outputs(service: EmbeddingService) -> Iterator[Check]:
    """All checks of each output. Names of checks begin with the output if it is not the model's first."""
    run = {DENSE: check_vectors, SPARSE: check_sparse, TOKENS: check_tokens}
    for output in service.outputs:
        for check in run[output](service):
            yield check if output == service.outputs[0] else replace(check, name=f"{output}: {check.name}")


def _is_finite(checks: Iterable[Check]) -> bool:
    return all(check.passed for check in checks if check.name == "finite")


def _check_pooling(checkpoint: Checkpoint) -> Iterator[Check]:
    if checkpoint.pooling is None:
        yield Check("pooling", False, "the folder does not say mean, cls or last; the following is computed with mean")


def _check_activation(checkpoint: RerankerCheckpoint, spec: RerankerSpec | None) -> Iterator[Check]:
    """The card does not show which activation the folder gives: its own numbers may be from before the activation."""
    if spec is not None and spec.activation is not None:
        passed = checkpoint.activation == spec.activation
        text = f"{checkpoint.activation}, as sentence-transformers applies"
        if not passed:
            text = f"the folder gives {checkpoint.activation}; sentence-transformers applies {spec.activation}"
        yield Check("activation", passed, f"{text} to {spec.repo}")


def _check_reading(checkpoint: BaseCheckpoint) -> Check:
    fault = misread_tensor(checkpoint) or (wrong_change(checkpoint.adapter) if checkpoint.adapter else "")
    return Check("weights as stored", not fault, fault or "NumPy reads the same numbers from the files")


def _card(spec: ModelSpec | RerankerSpec | None) -> CardExample | RerankExample | None:
    return None if spec is None else spec.card


def _registry_spec(name: str) -> ModelSpec | RerankerSpec:
    """The entry whose card is to be used."""
    spec = find_spec(name)
    if not isinstance(spec, ModelSpec | RerankerSpec) or spec.card is None:
        known = [one.name for one in MODELS.values() if one.card] + [one.name for one in RERANKERS.values() if one.card]
        raise ConfigurationError(
            field="card", reason=f"is {name!r}; similarities and scores are only published for {', '.join(known)}."
        )
    return spec


def _check_kind_of_card(named: Spec, model: str, kind: type[Spec]) -> None:
    if kind not in (Spec, type(named)):
        names = {ModelSpec: "an embedding model", RerankerSpec: "a reranker"}
        raise ConfigurationError(
            field="card", reason=f"is {named.name!r}, {names[type(named)]}, but {model} is {names[kind]}."
        )
