"""The rerankers of the registry against the facts they were made from."""

import re

import pytest

from akidb_embeddings.registry import BUNDLED, MODELS, REFUSED, RERANKERS, SPECS, ModelSpec, RerankerSpec
from akidb_embeddings.registry.architectures import ARCHITECTURES
from akidb_embeddings.registry.spec import variant


def test_no_name_is_of_both_kinds() -> None:
    assert SPECS == {**MODELS, **RERANKERS}
    assert len(SPECS) == len(MODELS) + len(RERANKERS)
    assert all(isinstance(spec, ModelSpec) for spec in MODELS.values())
    assert all(isinstance(spec, RerankerSpec) for spec in RERANKERS.values())
    assert BUNDLED in MODELS


@pytest.mark.parametrize("spec", RERANKERS.values(), ids=lambda spec: spec.name)
def test_entries_are_whole(spec: RerankerSpec) -> None:
    assert RERANKERS[spec.name] is spec
    assert spec.name == spec.name.lower()
    assert "/" in spec.repo
    assert re.fullmatch("[0-9a-f]{40}", spec.revision or "")
    assert spec.architecture in ARCHITECTURES
    assert spec.weights in ("4 bits", "8 bits", "bfloat16", "float16", "float32")
    assert spec.license in ("Apache-2.0", "MIT")
    assert spec.max_tokens in (512, 8192, 32768)
    assert spec.activation in ("sigmoid", "identity")
    assert spec.scores == ("logits" if spec.activation == "identity" else "0 to 1")
    assert spec.languages
    assert spec.size_bytes > 10_000_000
    assert bool(spec.instruction) == (spec.architecture == "qwen3")


def test_what_is_published() -> None:
    """Of the authors' files and cards: limits, activations, the instruction to the letter."""
    facts = {spec.name: (spec.max_tokens, spec.activation) for spec in RERANKERS.values()}
    assert facts["ms-marco-minilm-l6-v2"] == facts["ms-marco-minilm-l12-v2"] == (512, "identity")
    assert facts["bge-reranker-base"] == facts["bge-reranker-large"] == (512, "sigmoid")
    assert facts["bge-reranker-v2-m3"] == facts["gte-reranker-modernbert-base"] == (8192, "sigmoid")
    assert facts["qwen3-reranker-0.6b"] == facts["qwen3-reranker-0.6b-4bit"] == (32768, "identity")
    instructions = {spec.instruction for spec in RERANKERS.values() if spec.architecture == "qwen3"}
    assert instructions == {"Given a web search query, retrieve relevant passages that answer the query"}


@pytest.mark.parametrize(
    ("name", "parameters", "bits"),
    [
        ("ms-marco-minilm-l6-v2", 22_713_601, 32),
        ("ms-marco-minilm-l12-v2", 33_360_385, 32),
        ("mmarco-minilm-l12", 117_641_089, 32),
        ("bge-reranker-base", 278_044_931, 32),
        ("gte-reranker-modernbert-base", 149_605_633, 32),
        ("granite-embedding-reranker-english-r2", 149_605_633, 32),
        ("qwen3-reranker-0.6b-4bit", 595_776_512, 4.5),
        ("qwen3-reranker-0.6b", 595_776_512, 16),
        ("qwen3-reranker-4b", 4_021_784_576, 16),
        ("qwen3-reranker-8b", 8_188_548_096, 16),
    ],
)
def test_sizes_are_those_of_the_parameters_and_a_tokenizer(name: str, parameters: int, bits: float) -> None:
    weights = parameters * bits / 8
    assert weights < RERANKERS[name].size_bytes < weights * 1.003 + 24_000_000


def test_no_two_names_share_files() -> None:
    places = [(spec.repo, spec.revision) for spec in SPECS.values()]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("spec", [spec for spec in RERANKERS.values() if spec.card], ids=lambda spec: spec.name)
def test_examples_have_a_score_for_each_document(spec: RerankerSpec) -> None:
    assert spec.card
    assert len(spec.card.scores) == len(spec.card.documents) > 1
    assert spec.card.source.startswith("https://huggingface.co/")
    assert spec.card.activation in ("sigmoid", "identity")
    assert spec.card.activation == "identity" or all(0 < score < 1 for score in spec.card.scores)


def test_a_conversion_has_the_facts_of_its_original() -> None:
    spec = RERANKERS["bge-reranker-v2-m3"]
    converted = variant(spec, "8 bits", "x", 5)
    assert (converted.name, converted.repo, converted.weights) == (
        "bge-reranker-v2-m3-8bit",
        "mlx-community/x",
        "8 bits",
    )
    assert (converted.activation, converted.card, converted.revision) == (spec.activation, spec.card, None)


@pytest.mark.parametrize("repo", REFUSED)
def test_refusals_name_a_reranker_that_there_is(repo: str) -> None:
    assert repo.count("/") == 1
    assert repo not in {spec.repo for spec in SPECS.values()}
    [alternative] = re.findall("'(.+?)'", REFUSED[repo])
    assert alternative in RERANKERS
