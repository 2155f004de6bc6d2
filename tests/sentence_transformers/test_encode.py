"""``encode`` and its kin against what sentence-transformers 6.2 computed, and what they refuse."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.errors import ArgumentError, ConfigurationError, InputError
from akidb_embeddings.sentence_transformers import MLXSentenceTransformer
from tests.fixtures import copy_model, edit_json, golden, model_path
from tests.golden.encode_variants import BASE, CALLS, MODELS, SIMILARITIES, TEXTS, edit_model
from tests.golden.texts import counted_text

ATOL = 2e-6
Loaded = dict[str, MLXSentenceTransformer]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("models")
    return {name: MLXSentenceTransformer(edit_model(copy_model(BASE, folder / name), name)) for name in MODELS}


@pytest.fixture(name="plain")
def plain_model(models: Loaded) -> MLXSentenceTransformer:
    return models["plain"]


def expected(model: str, what: str) -> Any:
    return golden("encode-variants")[f"{model}|{what}"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", MODELS)
def test_vectors_are_those_of_sentence_transformers(models: Loaded, name: str, call: str) -> None:
    method, given = CALLS[call]
    vectors, theirs = getattr(models[name], method)(TEXTS, **given), expected(name, call)
    assert (vectors.dtype, vectors.shape) == (theirs.dtype, theirs.shape)
    if theirs.dtype == np.float32:
        np.testing.assert_allclose(vectors, theirs, atol=ATOL * np.abs(theirs).max() * 10)
    elif given["precision"] in ("int8", "uint8"):  # levels are rounded down, so the last bit of a float may move one
        differences = np.abs(vectors.astype(int) - theirs.astype(int))
        assert differences.max() <= 1
        assert (differences > 0).mean() < 0.05
    else:
        np.testing.assert_array_equal(vectors, theirs)


@pytest.mark.parametrize("name", MODELS)
def test_a_single_text_has_a_single_vector(models: Loaded, name: str) -> None:
    np.testing.assert_allclose(models[name].encode(TEXTS[0]), expected(name, "single"), atol=ATOL * 10)
    assert models[name].encode(TEXTS[0], precision="ubinary").ndim == 1


@pytest.mark.parametrize("name", MODELS)
def test_lengths_and_the_context_that_changes_them(models: Loaded, name: str) -> None:
    model, length = models[name], int(expected(name, "dimension"))
    assert model.get_embedding_dimension() == model.get_sentence_embedding_dimension() == length
    with model.truncate_embeddings(8):
        assert model.get_embedding_dimension() == 8
        np.testing.assert_allclose(model.encode(TEXTS), expected(name, "context"), atol=ATOL * 10)
    assert model.get_embedding_dimension() == length


@pytest.mark.parametrize("similarity", [None, *SIMILARITIES])
@pytest.mark.parametrize("name", MODELS)
def test_similarities_are_those_of_sentence_transformers(models: Loaded, name: str, similarity: str | None) -> None:
    model, pair = models[name], (expected(name, "encode"), expected(name, "query"))
    if similarity is None:
        theirs = expected(name, "own similarity")
        np.testing.assert_allclose(model.similarity(*pair), theirs, rtol=1e-5, atol=1e-5)
        return
    own, model.similarity_fn_name = model.similarity_fn_name, similarity
    scores, by_rows = model.similarity(*pair), model.similarity_pairwise(*pair)
    model.similarity_fn_name = own
    assert scores.dtype == by_rows.dtype == np.float32
    np.testing.assert_allclose(scores, expected(name, similarity), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(by_rows, expected(name, f"{similarity} pairwise"), rtol=1e-5, atol=1e-4)


def test_similarities_take_rows_and_lists_and_refuse_the_rest(plain: MLXSentenceTransformer) -> None:
    vectors = plain.encode(TEXTS[:2])
    np.testing.assert_array_equal(plain.similarity(vectors[0], list(vectors)), plain.similarity(vectors[:1], vectors))
    assert plain.similarity_pairwise(vectors[0], vectors[1]).shape == ()
    with pytest.raises(InputError, match="same length"):
        plain.similarity(vectors, vectors[:, :5])
    with pytest.raises(InputError, match="as many rows"):
        plain.similarity_pairwise(vectors, vectors[:1])
    with pytest.raises(InputError, match="embeddings2"):
        plain.similarity(vectors, [[[1.0]]])


@pytest.mark.parametrize(
    "form", [tuple, iter, np.array, lambda texts: np.array(texts, dtype=object)], ids=["tuple", "iterator", "U", "O"]
)
def test_texts_come_in_any_iterable_and_by_both_names(plain: MLXSentenceTransformer, form: Any) -> None:
    theirs = plain.encode(TEXTS[:3])
    np.testing.assert_array_equal(plain.encode(form(TEXTS[:3])), theirs)
    older: dict[str, Any] = {"sentences": form(TEXTS[:3])}
    np.testing.assert_array_equal(plain.encode(**older), theirs)
    assert plain.encode([]).shape == (0, plain.get_embedding_dimension())
    assert plain.encode([], precision="int8").dtype == np.int8


def test_arguments_without_effect_change_nothing(plain: MLXSentenceTransformer) -> None:
    theirs = plain.encode(TEXTS)
    given: dict[str, Any] = {"batch_size": 2, "device": ["cpu", "cuda:1"], "chunk_size": 3, "precision": None}
    np.testing.assert_array_equal(plain.encode(TEXTS, **given), theirs)
    assert plain.to("cuda") is plain.eval() is plain


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"output_value": "token_embeddings"}, InputError, "output_value is 'token_embeddings'"),
        ({"output_value": None}, InputError, "output_value is None"),
        ({"precision": "float16"}, InputError, "precision is 'float16'"),
        ({"precision": "int8"}, InputError, "the ranges of several vectors"),
        ({"batch_size": 0}, InputError, "batch_size is 0"),
        ({"pool": {"processes": []}}, ArgumentError, "pool.*all cores"),
        ({"task": "query"}, ArgumentError, "task.*encode_query"),
        ({"processing_kwargs": {}}, ArgumentError, "processing_kwargs.*max_seq_length"),
        ({"normalise_embeddings": True}, ArgumentError, "Did you mean 'normalize_embeddings'"),
        ({"sentences": ["x"]}, ArgumentError, "inputs and sentences"),
        ({"prompt_name": "nobody"}, ConfigurationError, "prompt_name is 'nobody'"),
        ({"prompt": 5}, InputError, "type int"),
        ({"truncate_dim": 9}, ConfigurationError, "truncate_dim is 9"),
        ({"truncate_dim": 33}, ConfigurationError, "truncate_dim is 33.*32 at most"),
        ({"truncate_dim": 0}, ConfigurationError, "truncate_dim is 0"),
    ],
)
def test_what_cannot_be_honoured_is_an_error(
    plain: MLXSentenceTransformer, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    for method in (plain.encode, plain.encode_query, plain.encode_document):
        with pytest.raises(error, match=message):
            method("text", **given)


@pytest.mark.parametrize(("texts", "message"), [(5, "type int"), (["x", None], r"texts\[1\] is None"), (b"x", "bytes")])
def test_what_is_no_text_is_an_error(plain: MLXSentenceTransformer, texts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plain.encode(texts)


def test_an_untrained_length_is_cut_where_that_is_wanted() -> None:
    model = MLXSentenceTransformer(model_path(BASE), untrained_dimensions=True)
    np.testing.assert_array_equal(model.encode(TEXTS, truncate_dim=9), model.encode(TEXTS)[:, :9])


def test_texts_are_read_to_the_models_own_limit() -> None:
    """The service reads 512 tokens of any model, unless it is told otherwise."""
    model, text = MLXSentenceTransformer(model_path("tiny-bert")), counted_text(40)
    assert model.max_seq_length == model.get_max_seq_length() == model.service.checkpoint.max_tokens == 2048
    whole = model.encode(text)
    model.max_seq_length = 16
    assert model.max_seq_length == 16
    with EmbeddingService(model_path("tiny-bert"), max_tokens=16) as service:
        np.testing.assert_allclose(model.encode(text), service.embed([text])[0], atol=ATOL)
    assert np.abs(model.encode(text) - whole).max() > 1e-4
    with pytest.raises(ConfigurationError, match="max_seq_length is 4096"):
        model.max_seq_length = 4096
    nothing: Any = None
    with pytest.raises(InputError, match="max_seq_length is None"):
        model.max_seq_length = nothing
    assert model.max_seq_length == 16


def test_a_model_without_a_document_prompt_gets_its_passage_prompt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not as in sentence-transformers, which adds an empty ``document`` and never gets to ``passage``."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", prompts={"passage": "passage: "})
    model = MLXSentenceTransformer(folder)
    with caplog.at_level(logging.WARNING, "akidb_embeddings"):
        vectors = model.encode_document(TEXTS)
    assert "sentence-transformers 5 and 6 would embed them without" in caplog.text
    np.testing.assert_allclose(vectors, model.encode(TEXTS, prompt="passage: "), atol=ATOL)
    assert "Give prompts={'document': …}" in caplog.text
    other = MLXSentenceTransformer(folder, prompts={"passage": "other: "})
    np.testing.assert_allclose(other.encode_document(TEXTS), other.encode(TEXTS, prompt="other: "), atol=ATOL)
    bare = MLXSentenceTransformer(folder, prompts={"document": ""})
    np.testing.assert_allclose(bare.encode_document(TEXTS), bare.encode(TEXTS), atol=ATOL)


@pytest.mark.parametrize("inputs", [{"text": "a"}, {"a", "b"}, frozenset("a")])
def test_what_has_no_order_or_other_items_is_refused(inputs: Any, plain: MLXSentenceTransformer) -> None:
    with pytest.raises(InputError, match=f"inputs is of type {type(inputs).__name__}; a text or a list"):
        plain.encode(inputs)


def test_integers_keep_their_own_forms() -> None:
    model = MLXSentenceTransformer(model_path("tiny-pplx"))
    vectors = model.encode(["a cat", "a dog"])
    np.testing.assert_array_equal(vectors, np.rint(vectors))
    with pytest.raises(InputError, match="integers by themselves"):
        model.encode(["a cat", "a dog"], precision="int8")


def test_a_layer_norm_comes_before_the_cut(tmp_path: Path) -> None:
    folder = copy_model("tiny-nomic-bert", tmp_path / "model", matryoshka_layer_norm=True, matryoshka_dimensions=[16])
    model = MLXSentenceTransformer(folder)
    with EmbeddingService(folder, dimensions=16) as service:
        vectors = model.encode(TEXTS, truncate_dim=16, normalize_embeddings=True)
        np.testing.assert_allclose(vectors, service.embed(TEXTS), atol=1e-4)


def test_tensors_are_made_of_the_same_numbers(plain: MLXSentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch is not installed here: an object with the functions that are used stands in."""
    theirs = plain.encode(TEXTS)
    monkeypatch.setitem(sys.modules, "torch", None)
    arguments: list[dict[str, Any]] = [{"convert_to_tensor": True}, {"convert_to_numpy": False}]
    for argument in arguments:
        with pytest.raises(ConfigurationError, match="needs PyTorch"):
            plain.encode(TEXTS, **argument)
    methods = {"detach": np.ndarray.view, "is_floating_point": lambda one: True, "float": np.ndarray.view}
    tensor = type("Tensor", (np.ndarray,), methods)
    torch = SimpleNamespace(from_numpy=lambda one: one.view(tensor), is_tensor=lambda one: isinstance(one, tensor))
    monkeypatch.setitem(sys.modules, "torch", torch)
    whole, parts = plain.encode(TEXTS, convert_to_tensor=True), plain.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(whole, tensor)
    assert isinstance(parts, list)
    assert plain.encode(TEXTS[0], convert_to_tensor=True).ndim == 1
    np.testing.assert_array_equal(whole, theirs)
    np.testing.assert_array_equal(np.stack(parts), theirs)
    assert isinstance(plain.similarity(whole, theirs), tensor)
    assert isinstance(plain.similarity(parts, theirs), tensor)
    assert not isinstance(plain.similarity(theirs, theirs), tensor)


def test_a_progress_bar_counts_texts(plain: MLXSentenceTransformer, capsys: pytest.CaptureFixture[str]) -> None:
    plain.encode(TEXTS, show_progress_bar=True)
    assert f"{len(TEXTS)}/{len(TEXTS)}" in capsys.readouterr().err
    plain.encode(TEXTS)
    assert capsys.readouterr().err == ""
