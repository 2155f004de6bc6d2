"""What is read from a model folder, and what the registry adds to it."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.registry import MODELS
from tests.fixtures import BUNDLED, copy_model, edit_json, golden, model_path
from tests.golden.texts import TEXTS


def test_what_the_bundled_model_says() -> None:
    checkpoint = read_checkpoint(BUNDLED, MODELS["minilm-l6-v2"])
    assert (checkpoint.pooling, checkpoint.normalize, checkpoint.dimension) == ("mean", True, 384)
    assert checkpoint.max_tokens == 256  # not tokenizer.json's 128, nor tokenizer_config.json's 512
    assert checkpoint.quantization["bits"] == 8


def test_prompts_of_the_folder_come_before_the_registry(tmp_path: Path) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    spec = replace(MODELS["bge-small-en-v1.5"], dimension=32, prompts={"query": "registry: "})
    assert read_checkpoint(folder, spec).prompts["query"].startswith("Instruct: ")
    named_otherwise = replace(spec, prompts={"clustering": "cluster: "})
    assert read_checkpoint(folder, named_otherwise).prompts.keys() == {"query", "document", "clustering"}
    (folder / "config_sentence_transformers.json").unlink()
    assert read_checkpoint(folder, spec).prompts == {"query": "registry: "}
    assert read_checkpoint(folder).prompts == {}


def test_an_empty_prompt_of_the_folder_does_not_displace_the_registrys(tmp_path: Path) -> None:
    """sentence-transformers 5 writes empty ones for every model that it saves without prompts."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", prompts={"query": "", "document": "", "other": ""})
    spec = replace(MODELS["multilingual-e5-small"], dimension=32)
    assert read_checkpoint(folder, spec).prompts == {"query": "query: ", "document": "passage: ", "other": ""}
    assert read_checkpoint(folder).prompts == {"query": "", "document": "", "other": ""}


def test_default_prompt_name_precedes_plain_texts(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", prompts={"p": "the of "}, default_prompt_name="p")
    with EmbeddingService(str(folder)) as service, EmbeddingService(str(model_path("tiny-bert"))) as plain:
        np.testing.assert_array_equal(service.embed(["cat"]), plain.embed(["the of cat"]))
        np.testing.assert_array_equal(service.encode(["cat"], prompt="").vectors, plain.embed(["cat"]))


def test_a_model_without_normalize_is_normalized_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Equal configurations give equal vectors, whether a value was given or is the default."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([m for m in modules if not m["type"].endswith("Normalize")]))
    with EmbeddingService(str(folder)) as service:
        assert abs(np.linalg.norm(service.embed(["cat"])) - 1) < 1e-6
    assert "set normalize to False" in caplog.text.replace("Set", "set")
    with EmbeddingService(str(folder), normalize=False) as service:
        assert abs(np.linalg.norm(service.embed(["cat"])) - 1) > 0.1


def test_normalized_token_vectors_are_no_normalized_sentences(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """sentence-transformers 6 pools before this step, so that its vectors are those without it."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    (folder / "2_Normalize").mkdir()
    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    (folder / "2_Normalize" / "config.json").write_text(json.dumps(names))
    assert not read_checkpoint(folder).normalize
    with EmbeddingService(str(folder), normalize=False, max_tokens=2048) as service:
        vectors = service.embed(TEXTS)
    np.testing.assert_allclose(vectors, golden("tiny-bert")["texts_mean"], rtol=0, atol=1e-5)
    assert "trained without normalization" not in caplog.text
    EmbeddingService(str(folder)).close()
    assert "was trained without normalization" in caplog.text


def test_the_dimension_that_the_authors_cut_to(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", truncate_dim=8)
    with EmbeddingService(str(folder)) as service, EmbeddingService(str(folder), dimensions=32) as told:
        assert (service.dimension, told.dimension) == (8, 32)


@pytest.mark.parametrize(
    ("config", "description", "registered", "trained"),
    [
        ({}, {}, (), set()),
        ({}, {}, (16, 8), {8, 16}),
        ({}, {}, range(8, 33), set(range(8, 33))),
        ({}, {"truncate_dim": 4}, (), {4}),
        ({}, {"truncate_dim": 4}, (16,), {4, 16}),
        ({"matryoshka_dimensions": [16, 8]}, {}, (24,), {8, 16}),
        ({"matryoshka_dimensions": [16, 8], "is_matryoshka": True}, {"truncate_dim": 4}, (), {4, 8, 16}),
        ({"is_matryoshka": True}, {}, (16,), {16}),
        ({"is_matryoshka": True}, {}, (), set(range(1, 33))),
        ({"is_matryoshka": True, "matryoshka_minimum": 8}, {"truncate_dim": 4}, (), {4, *range(8, 33)}),
        ({"is_matryoshka": False}, {}, (16,), {16}),
    ],
)
def test_the_lengths_that_vectors_were_trained_for(
    tmp_path: Path, config: dict[str, Any], description: dict[str, Any], registered: Any, trained: set[int]
) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model", **config)
    edit_json(folder / "config_sentence_transformers.json", **description)
    spec = dataclasses.replace(MODELS["minilm-l6-v2"], dimension=32, matryoshka=registered)
    assert set(read_checkpoint(folder, spec).matryoshka) == trained
    if not registered:
        assert set(read_checkpoint(folder).matryoshka) == trained


def test_the_registry_names_the_query_prompt_that_the_folder_calls_otherwise(tmp_path: Path) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", prompts={"web_search_query": "Search: ", "document": "d: "})
    spec = dataclasses.replace(
        MODELS["minilm-l6-v2"], dimension=32, prompts={"query": "Search: ", "document": "registry: "}
    )
    assert read_checkpoint(folder, spec).prompts == {
        "web_search_query": "Search: ",
        "document": "d: ",
        "query": "Search: ",
    }
