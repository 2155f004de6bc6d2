"""The object: its constructor, its signatures beside sentence-transformers' own, copies, and what is not there."""

import copy
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.errors import ArgumentError, ConfigurationError, InputError, ModelNotFoundError
from akidb_embeddings.sentence_transformers import MLXSentenceTransformer
from akidb_embeddings.sentence_transformers.arguments import SETTINGS
from tests.fixtures import DATA, adapter_path, copy_model, edit_json, model_path

SIGNATURES: dict[str, Any] = json.loads((DATA / "golden" / "encode-signatures.json").read_text(encoding="utf-8"))
# What trains, saves, or hands out parts of PyTorch, and what is deprecated there.
NOT_HERE = {
    *("active_adapter", "active_adapters", "add_adapter", "check_peft_compatible_model", "delete_adapter"),
    *("disable_adapters", "enable_adapters", "get_adapter_state_dict", "has_peft_compatible_model", "load_adapter"),
    *("set_adapter", "clear_placement_cache", "compile", "config", "cpu", "cuda", "dtype", "evaluate", "fit"),
    *("old_fit", "forward", "get_backend", "get_model_kwargs", "get_sentence_features", "is_singular_input", "load"),
    *("gradient_checkpointing_enable", "merge", "modalities", "model_card_data_class", "preprocess", "processor"),
    *("push_to_hub", "save", "save_pretrained", "save_to_hub", "set_pooling_include_prompt", "supports"),
    *("smart_batching_collate", "start_multi_process_pool", "stop_multi_process_pool", "encode_multi_process"),
    *("tokenize", "tokenizer", "transformers_model", "truncate_sentence_embeddings"),
}
OWN = {"service", "eval", "truncate_dim"}  # PyTorch has ``eval``, and an object there ``truncate_dim``


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def test_every_public_name_is_here_or_known_to_be_missing() -> None:
    here = public(MLXSentenceTransformer)
    assert here - OWN == SIGNATURES.keys() - NOT_HERE - {"__init__"}


@pytest.mark.parametrize("name", sorted(SIGNATURES.keys() - NOT_HERE - {"__init__", "to"}))
def test_signatures_are_the_same(name: str) -> None:
    ours = inspect.getattr_static(MLXSentenceTransformer, name)
    if SIGNATURES[name] == "property":
        assert isinstance(ours, property)
        return
    parameters = [one for one in inspect.signature(ours).parameters.values() if one.name != "self"]
    found = [
        [one.name, one.kind.description, "required" if one.default is inspect.Parameter.empty else one.default]
        for one in parameters
    ]
    assert found == SIGNATURES[name]


def test_every_argument_of_the_constructor_is_accepted_or_explained() -> None:
    ours = inspect.signature(MLXSentenceTransformer).parameters
    for name, _, default in SIGNATURES["__init__"]:
        if name == "model_name_or_path":
            assert name in ours
        elif name in ours:
            assert ours[name].default == default
        else:
            nothing: dict[str, Any] = {name: default}
            MLXSentenceTransformer(model_path("tiny-bert"), **nothing)
            something: dict[str, Any] = {name: "given"}
            with pytest.raises(ArgumentError, match=f"{name} .*not supported: ") as caught:
                MLXSentenceTransformer(model_path("tiny-bert"), **something)
            assert caught.value.field == name


def test_the_settings_are_those_of_the_configuration_that_have_no_other_name() -> None:
    given: dict[str, Any] = {
        "pooling": "cls",
        "max_tokens": 64,
        "truncate": "error",
        "memory": "compact",
        "compute": "strict",
    }
    model = MLXSentenceTransformer(model_path("tiny-bert"), **given)
    assert {name: getattr(model.service.config, name) for name in given} == given
    assert set(given) < set(SETTINGS)
    with pytest.raises(InputError, match="the limit is 64"):
        model.encode("word " * 300)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "onnx"}, "backend is 'onnx'"),
        ({"normalize": False}, "normalize_embeddings"),
        ({"dimensions": 8}, "truncate_dim"),
        ({"max_token": 8}, "Did you mean 'max_tokens'"),
        ({"default_prompt_name": "nobody"}, "default_prompt_name is 'nobody'"),
        ({"similarity_fn_name": "maxsim"}, "similarity_fn_name is 'maxsim'"),
        ({"truncate_dim": 5}, "truncate_dim is 5"),
        ({"truncate_dim": 0}, "truncate_dim is 0"),
        ({"default_prompt_name": ""}, "default_prompt_name is ''"),
        ({"similarity_fn_name": ""}, "similarity_fn_name is ''"),
        ({"max_tokens": 9999}, "max_tokens is 9999"),
    ],
)
def test_what_is_not_allowed_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MLXSentenceTransformer(model_path("tiny-bert"), **given)


def test_nothing_is_downloaded_where_that_is_forbidden(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        MLXSentenceTransformer("BAAI/bge-small-en-v1.5", cache_folder=tmp_path, local_files_only=True)


def test_no_configuration_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "embedding_config.yaml").write_text("embedding: {query_prompt: 'q: ', max_tokens: 8}\n")
    monkeypatch.chdir(tmp_path)
    model = MLXSentenceTransformer(model_path("tiny-bert"))
    assert (model.max_seq_length, model.prompts) == (2048, {"query": "", "document": ""})


def test_prompts_that_are_given_replace_the_models_own() -> None:
    model = MLXSentenceTransformer(
        model_path("tiny-modernbert"), prompts={"query": "q: ", "mine": "m: ", "other": None}
    )
    assert model.prompts == {"query": "q: ", "document": "search_document: ", "mine": "m: "}
    np.testing.assert_allclose(model.encode_query("x"), model.encode("x", prompt="q: "), atol=1e-6)
    model.prompts["mine"] = "n: "
    np.testing.assert_allclose(model.encode("x", prompt_name="mine"), model.encode("x", prompt="n: "), atol=1e-6)
    wrong: Any = {"query": 5}
    with pytest.raises(InputError, match="type int"):
        MLXSentenceTransformer(model_path("tiny-bert"), prompts=wrong)


def test_a_similarity_of_several_vectors_is_not_taken_for_one_of_single_ones(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", similarity_fn_name="maxsim")
    assert MLXSentenceTransformer(folder).similarity_fn_name == "cosine"


@pytest.mark.parametrize("how", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy, copy.deepcopy])
def test_copies_give_the_same_vectors(how: Any) -> None:
    model = MLXSentenceTransformer(model_path("tiny-bert"), prompts={"query": "q: "}, similarity_fn_name="dot")
    model.max_seq_length = 16
    other = how(model)
    assert other.service is not model.service
    assert (other.prompts, other.similarity_fn_name, other.max_seq_length) == (model.prompts, "dot", 16)
    np.testing.assert_array_equal(other.encode_query("fox"), model.encode_query("fox"))


def test_it_says_what_it_is() -> None:
    model = MLXSentenceTransformer(model_path("tiny-bert"))
    assert "MLXSentenceTransformer" in repr(model)
    assert "32" in repr(model)
    assert model.device == "cpu"
    with pytest.raises(InputError, match="only a device"):
        model.to(np.float16)


@pytest.mark.parametrize(("name", "output"), [("tiny-splade", "sparse"), ("tiny-colbert", "tokens")])
def test_a_model_without_dense_vectors_is_refused(name: str, output: str) -> None:
    with pytest.raises(ConfigurationError, match=f"makes no dense vectors but '{output}'.*EmbeddingService") as caught:
        MLXSentenceTransformer(str(model_path(name)))
    assert caught.value.field == "model_name"


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_levels_and_bits_have_no_similarity(precision: str) -> None:
    model = MLXSentenceTransformer(model_path("tiny-bert"))
    whole = model.encode(["a cat", "a dog"])
    packed = model.encode(["a cat", "a dog"], precision=precision)
    for wrong in (packed, list(packed), packed[0]):
        with pytest.raises(InputError, match=f"embeddings2 is of the dtype {packed.dtype}") as caught:
            model.similarity(whole, wrong)
        assert caught.value.field == "embeddings2"
        with pytest.raises(InputError, match="embeddings1"):
            model.similarity_pairwise(wrong, wrong)
    assert model.similarity([[1, 0], [0, 1]], [1, 0]).tolist() == [[1.0], [0.0]]


def test_an_adapter_is_that_of_the_service() -> None:
    adapter = adapter_path("tiny-bert-lora")
    model = MLXSentenceTransformer(model_path("tiny-bert"), adapter=str(adapter))
    with EmbeddingService(model_path("tiny-bert"), adapter=adapter, max_tokens=2048) as service:
        np.testing.assert_allclose(model.encode(["a cat"]), service.embed(["a cat"]), atol=1e-5)
