"""SPLADE: sentence-transformers' weights of the whole vocabulary, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import ConfigurationError, EmbeddingService, NonFiniteVectorError, sparse_similarity
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.conversion.convert import convert
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.service.shared import model_version
from tests.fixtures import adapter_path, copy_model, edit_json, golden, model_path
from tests.golden.texts import DOCUMENTS, QUERIES, TEXTS
from tests.outputs import check_sparse, golden_sparse

NAMES = ("tiny-splade", "tiny-splade-distilbert")
# Logits are differences of numbers near 100. Another pooling or activation moves weights by more than 1.
TOLERANCE = 5e-4
SHORT = [text for text in TEXTS if len(text) < 300][::3]


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, EmbeddingService]]:
    with EmbeddingService(str(model_path(NAMES[0]))) as one, EmbeddingService(str(model_path(NAMES[1]))) as other:
        yield dict(zip(NAMES, (one, other), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_those_of_sentence_transformers(name: str, services: dict[str, EmbeddingService]) -> None:
    service = services[name]
    for key, texts, prompt in (
        ("texts", TEXTS, None),
        ("queries", QUERIES, "query"),
        ("documents", DOCUMENTS, "document"),
    ):
        found = service.encode(texts, prompt_name=prompt, output="sparse").vectors
        check_sparse(found, golden_sparse(name, key), TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_similarities_are_those_of_sentence_transformers(name: str, services: dict[str, EmbeddingService]) -> None:
    queries = services[name].encode(QUERIES, prompt_name="query", output="sparse").vectors
    documents = services[name].encode(DOCUMENTS, prompt_name="document", output="sparse").vectors
    assert sparse_similarity(queries, documents) == pytest.approx(golden(name)["similarities"], rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_has_the_same_weights_alone_and_among_others(name: str, services: dict[str, EmbeddingService]) -> None:
    together = services[name].encode(SHORT, output="sparse").vectors
    check_sparse([services[name].encode([text], output="sparse").vectors[0] for text in SHORT], together, 1e-4)


def test_there_is_no_dense_vector(services: dict[str, EmbeddingService]) -> None:
    service = services["tiny-splade"]
    assert service.outputs == ("sparse",)
    assert service.dimension == int(service.checkpoint.config["vocab_size"])
    for call in (service.embed, service.embed_queries, service.embed_documents, service.encode):
        with pytest.raises(ConfigurationError, match="no output 'dense'; it has 'sparse'"):
            call(["a"])
    assert service.fingerprint() == service.encode(["a"], output="sparse").fingerprint
    with pytest.raises(ConfigurationError, match=r"pooling is 'mean', which is for dense vectors.*'sparse' alone"):
        service.with_options(pooling="mean")
    for setting in ({"dimensions": 4}, {"normalize": False}):
        with pytest.raises(ConfigurationError, match=f"{next(iter(setting))} is .*, which is for dense vectors"):
            EmbeddingService(str(model_path("tiny-splade")), **setting)


def test_the_highest_weights_are_kept_where_the_folder_limits_their_number(
    tmp_path: Path, services: dict[str, EmbeddingService]
) -> None:
    folder = copy_model("tiny-splade", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", max_active_dims=4, truncate_dim=3)
    whole = services["tiny-splade"].encode(SHORT, output="sparse")
    with EmbeddingService(str(folder)) as service:
        found = service.encode(SHORT, output="sparse")
        assert service.dimension == services["tiny-splade"].dimension  # truncate_dim is for dense vectors
        assert model_version(service.config) != model_version(services["tiny-splade"].config)
    assert found.fingerprint != whole.fingerprint
    for vector, every in zip(found.vectors, whole.vectors, strict=True):
        highest = sorted(zip(every.values, every.indices, strict=True), reverse=True)[:4]
        assert sorted(zip(vector.values, vector.indices, strict=True), reverse=True) == highest
    edit_json(folder / "config_sentence_transformers.json", max_active_dims=0)
    with pytest.raises(CheckpointError, match="max_active_dims"):
        EmbeddingService(str(folder))


def lora(folder: Path, layer: str, ending: tuple[str, str], shapes: tuple[tuple[int, int], tuple[int, int]]) -> Any:
    """Write an adapter of one layer, and return its change."""
    copy_model(adapter_path("tiny-bert-lora"), folder)
    edit_json(folder / "adapter_config.json", rank_pattern={}, alpha_pattern={}, r=2, lora_alpha=2, use_rslora=False)
    generator = np.random.default_rng(0)
    down, up = (generator.standard_normal(shape).astype(np.float32) for shape in shapes)
    names = [f"base_model.model.{layer}{end}" for end in ending]
    save_file(dict(zip(names, (down, up), strict=True)), folder / "adapter_model.safetensors")
    return up @ down


def test_an_adapter_changes_the_head_as_merged_weights_do(tmp_path: Path) -> None:
    layer = "cls.predictions.transform.dense"
    change = lora(tmp_path / "adapter", layer, (".lora_A.weight", ".lora_B.weight"), ((2, 32), (32, 2)))
    merged = copy_model("tiny-splade", tmp_path / "merged")
    weights = load_file(merged / "model.safetensors")
    weights[f"{layer}.weight"] += change
    save_file(weights, merged / "model.safetensors")
    adapted = EmbeddingService(str(model_path("tiny-splade")), adapter=tmp_path / "adapter")
    with adapted, EmbeddingService(str(merged)) as reference:
        expected = reference.encode(SHORT, output="sparse").vectors
        check_sparse(adapted.encode(SHORT, output="sparse").vectors, expected, TOLERANCE)


def test_an_adapter_to_a_table_that_is_also_the_last_layer_is_refused(tmp_path: Path) -> None:
    table = "bert.embeddings.word_embeddings"
    lora(tmp_path / "adapter", table, (".lora_embedding_A", ".lora_embedding_B"), ((2, 400), (32, 2)))
    with pytest.raises(CheckpointError, match="token embeddings, which are also the last layer"):
        EmbeddingService(str(model_path("tiny-splade")), adapter=tmp_path / "adapter")


def test_prompts_are_those_of_the_folder(services: dict[str, EmbeddingService]) -> None:
    assert services["tiny-splade-distilbert"].resolve_prompt(prompt_name="query") == "query: "


def test_no_weight_is_lost_where_the_model_is_damaged(tmp_path: Path) -> None:
    folder = copy_model("tiny-splade", tmp_path / "model")
    weights: Any = mx.load(str(folder / "model.safetensors"))
    weights["cls.predictions.bias"] = mx.full((400,), float("nan"))
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    with EmbeddingService(str(folder)) as service, pytest.raises(NonFiniteVectorError):
        service.encode(["a river"], output="sparse")


def test_stored_weights_of_the_last_layer_count_more_than_tied_ones(tmp_path: Path) -> None:
    folder = copy_model("tiny-splade", tmp_path / "model")
    weights: Any = mx.load(str(folder / "model.safetensors"))
    weights["cls.predictions.decoder.weight"] = mx.zeros((400, 32))
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    with EmbeddingService(str(folder)) as service:
        [vector] = service.encode(["a"], output="sparse").vectors
        positive = int((weights["cls.predictions.bias"] > 0).sum())
        assert len(vector) == positive


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_folder_makes_the_same(name: str, tmp_path: Path) -> None:
    convert(model_path(name), tmp_path / "converted")
    with EmbeddingService(str(tmp_path / "converted")) as service:
        check_sparse(
            service.encode(QUERIES, prompt_name="query", output="sparse").vectors,
            golden_sparse(name, "queries"),
            TOLERANCE,
        )
    with pytest.raises(ConfigurationError, match="makes no dense vectors"):
        convert(model_path(name), tmp_path / "measured", measure=True)
    assert not (tmp_path / "measured").exists()


@pytest.mark.parametrize(
    ("file", "entries", "words"),
    [
        ("1_SpladePooling/config.json", {"pooling_strategy": "mean"}, "'mean' of 'relu'; supported: max or sum"),
        ("1_SpladePooling/config.json", {"activation_function": "gelu"}, "'max' of 'gelu'"),
        ("1_SpladePooling/config.json", {"activation_function": ["relu"]}, "activation_function as"),
        ("sentence_bert_config.json", {"transformer_task": "feature-extraction"}, "transformer_task"),
        ("config.json", {"tie_word_embeddings": False}, "decoder.weight, which is not tied"),
        ("config.json", {"hidden_act": "silu"}, "hidden_act"),
    ],
)
def test_what_would_make_other_weights_is_refused(
    tmp_path: Path, file: str, entries: dict[str, Any], words: str
) -> None:
    folder = copy_model("tiny-splade", tmp_path / "model")
    edit_json(folder / file, **entries)
    with pytest.raises(CheckpointError, match=words):
        EmbeddingService(str(folder))


def test_other_modules_and_architectures_are_refused(tmp_path: Path) -> None:
    folder = copy_model("tiny-splade", tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    extra = {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
    (folder / "modules.json").write_text(json.dumps([*modules, extra]))
    with pytest.raises(CheckpointError, match="supports Transformer and SpladePooling for sparse vectors"):
        read_checkpoint(folder)
    other = copy_model("tiny-xlm-roberta", tmp_path / "other")
    (other / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=r"masked language model of xlm-roberta, which is not implemented"):
        read_checkpoint(other)
