"""The registry against the facts it was made from, and against the model that is here."""

import hashlib
import json
import re

import pytest

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.registry import MODELS, SPECS, ModelSpec
from akidb_embeddings.registry.architectures import ARCHITECTURES
from akidb_embeddings.registry.poolings import POOLINGS
from tests.fixtures import BUNDLED, model_path

LICENSES = (
    *("Apache-2.0", "Gemma", "MIT", "CC-BY-NC-4.0", "NVIDIA Open Model", "NVIDIA non-commercial", "OpenMDW-1.1"),
    *("not stated", "LFM Open"),
)


def test_names_and_dimensions() -> None:
    dimensions = {name: spec.dimension for name, spec in MODELS.items()}
    assert dimensions["qwen3-0.6b-4bit"] == 1024
    assert dimensions["gemma-300m-4bit"] == 768
    assert dimensions["minilm-l6-v2"] == 384
    assert next(iter(MODELS)) == EmbeddingConfig().model_name
    assert all(name == spec.name and "/" in spec.repo for name, spec in MODELS.items())


@pytest.mark.parametrize("spec", MODELS.values(), ids=lambda spec: spec.name)
def test_entries_are_whole(spec: ModelSpec) -> None:
    assert spec.architecture in ARCHITECTURES
    assert spec.pooling in POOLINGS
    assert spec.max_tokens
    assert re.fullmatch("[0-9a-f]{40}", spec.revision or "0" * 40)
    assert spec.weights in ("4 bits", "8 bits", "bfloat16", "float16", "float32")
    assert spec.license in LICENSES
    assert all(1 <= length < spec.dimension for length in spec.matryoshka if length != spec.dimension)
    assert all(name and isinstance(text, str) for name, text in spec.prompts.items())
    assert spec.size_bytes > 10_000_000


def test_every_architecture_has_a_model() -> None:
    without_entry = {"bidirectional_qwen2"}  # computed from folders and repositories
    assert {spec.architecture for spec in SPECS.values()} == set(ARCHITECTURES) - without_entry


def test_prompts_to_the_letter() -> None:
    assert MODELS["qwen3-0.6b-4bit"].prompts["query"].endswith("answer the query\nQuery:")
    gemma = MODELS["gemma-300m-4bit"].prompts
    assert gemma["query"] == "task: search result | query: "
    assert gemma["document"] == "title: none | text: "
    assert gemma["STS"] == gemma["PairClassification"] == "task: sentence similarity | query: "
    published = json.loads((model_path("tiny-gemma3") / "config_sentence_transformers.json").read_text())["prompts"]
    assert gemma.items() <= published.items()


def test_instructions_end_as_their_authors_wrote_them() -> None:
    ends = {name: spec.prompts["query"].partition("\n")[2] for name, spec in MODELS.items() if "query" in spec.prompts}
    assert {name for name, end in ends.items() if end == "Query:"} == {
        name for name in MODELS if "qwen3" in name or "octen" in name
    }
    with_space = {"harrier-0.6b", "harrier-270m", "harrier-27b", "multilingual-e5-large-instruct", "stella-en-400m-v5"}
    with_space |= {name for name in MODELS if "f2llm" in name}
    assert {name for name, end in ends.items() if end == "Query: "} == with_space


def test_lengths_that_vectors_may_be_cut_to() -> None:
    assert set(MODELS["qwen3-0.6b-4bit"].matryoshka) == set(range(32, 1025))
    assert set(MODELS["gemma-300m-4bit"].matryoshka) == {512, 256, 128}
    assert not MODELS["minilm-l6-v2"].matryoshka
    assert all(0 < length <= spec.dimension for spec in MODELS.values() for length in spec.matryoshka)


def test_card_examples_have_a_score_for_each_pair() -> None:
    for spec in (spec for spec in MODELS.values() if spec.card is not None):
        assert spec.card
        assert len(spec.card.scores) == len(spec.card.queries)
        assert {len(row) for row in spec.card.scores} == {len(spec.card.documents)}


def test_the_bundled_model_agrees_with_its_entry() -> None:
    spec = MODELS["minilm-l6-v2"]
    checkpoint = read_checkpoint(BUNDLED, spec)
    assert (checkpoint.pooling, checkpoint.max_tokens) == (spec.pooling, spec.max_tokens)
    assert abs((BUNDLED / "model.safetensors").stat().st_size / spec.size_bytes - 1) < 0.1


def test_the_bundled_files_are_those_that_were_made() -> None:
    source = json.loads((BUNDLED / "SOURCE.json").read_text())
    assert source["source_sha256"]["model.safetensors"].startswith("53aa5117")
    assert (BUNDLED / "LICENSE").read_text().strip().startswith("Apache License")
    for name, checksum in source["sha256"].items():
        assert hashlib.sha256((BUNDLED / name).read_bytes()).hexdigest() == checksum, name
