"""The registry against the facts it was made from, and against the model that is here."""

import hashlib
import json

from akidb_embeddings.checkpoint import read_checkpoint
from akidb_embeddings.registry import MODELS
from tests.fixtures import BUNDLED


def test_names_and_dimensions() -> None:
    assert {name: spec.dimension for name, spec in MODELS.items()} == {
        "qwen3-0.6b-4bit": 1024,
        "gemma-300m-4bit": 768,
        "minilm-l6-v2": 384,
    }
    assert all(name == spec.name and "/" in spec.repo for name, spec in MODELS.items())


def test_prompts_to_the_letter() -> None:
    assert MODELS["qwen3-0.6b-4bit"].prompts["query"].endswith("answer the query\nQuery:")
    assert MODELS["gemma-300m-4bit"].prompts == {
        "query": "task: search result | query: ",
        "document": "title: none | text: ",
    }


def test_card_examples_have_a_score_for_each_pair() -> None:
    for spec in MODELS.values():
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
