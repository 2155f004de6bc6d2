"""Which kind of model a folder holds."""

from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.kinds import kind_of, read_model
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry import MODELS, RERANKERS, ModelSpec, RerankerSpec, Spec
from tests.fixtures import BUNDLED, TINY, copy_model, edit_json, model_path
from tests.reranking.models import BERT, CHAT_TEMPLATE, CLASSIFIER, LABELS, ONE_SCORE, QWEN3, add_crossencoder_files

SILENT = (QWEN3, f"{QWEN3}-untied")


@pytest.mark.parametrize("path", [*map(model_path, TINY), model_path("tiny-pplx"), BUNDLED], ids=lambda path: path.name)
def test_models_that_make_vectors(path: Path) -> None:
    assert kind_of(path) is ModelSpec
    assert isinstance(read_model(path), Checkpoint)


@pytest.mark.parametrize("name", [*ONE_SCORE, LABELS])
def test_rerankers(name: str) -> None:
    assert kind_of(model_path(name)) is (Spec if name in SILENT else RerankerSpec)
    assert isinstance(read_model(model_path(name), kind=RerankerSpec), RerankerCheckpoint)


@pytest.mark.parametrize("name", SILENT)
def test_a_language_model_alone_may_be_either(name: str) -> None:
    assert isinstance(read_model(model_path(name)), Checkpoint)
    assert kind_of(model_path(name), RERANKERS["qwen3-reranker-8b"]) is RerankerSpec
    assert isinstance(read_model(model_path(name), RERANKERS["qwen3-reranker-8b"]), RerankerCheckpoint)
    assert kind_of(model_path(name), MODELS["qwen3-8b"]) is ModelSpec


@pytest.mark.parametrize(
    ("kept", "kind"),
    [
        (("modules.json",), RerankerSpec),
        (("1_LogitScore/config.json",), RerankerSpec),
        (("config_sentence_transformers.json",), RerankerSpec),
        (("chat_template.jinja",), RerankerSpec),
        ((), Spec),
    ],
)
def test_each_file_of_a_reranker_says_what_it_is(kept: tuple[str, ...], kind: Any, tmp_path: Path) -> None:
    path = copy_model(QWEN3, tmp_path / "model")
    add_crossencoder_files(path)
    for name in (
        *("modules.json", "1_LogitScore/config.json", "config_sentence_transformers.json", "chat_template.jinja"),
        "sentence_bert_config.json",
    ):
        if name not in kept:
            (path / name).unlink()
    if not (path / "1_LogitScore" / "config.json").is_file():
        (path / "1_LogitScore").rmdir()
    assert kind_of(path) is kind


def test_files_of_an_embedding_model_say_that_too(tmp_path: Path) -> None:
    path = copy_model("tiny-qwen3", tmp_path / "model", architectures=["Qwen3ForCausalLM"])
    assert kind_of(path) is ModelSpec
    (path / "modules.json").unlink()
    assert kind_of(path) is ModelSpec  # by its pooling
    edit_json(path / "config_sentence_transformers.json", model_type="SentenceTransformer")
    assert kind_of(path) is ModelSpec
    # A template for chats says nothing.
    silent = copy_model(QWEN3, tmp_path / "other")
    edit_json(silent / "tokenizer_config.json", chat_template="{% for message in messages %}{{ message }}{% endfor %}")
    assert kind_of(silent) is Spec


def test_only_language_models_that_answer_are_unclear(tmp_path: Path) -> None:
    path = copy_model("tiny-gemma3-causal", tmp_path / "model", architectures=["Gemma3ForCausalLM"])
    (path / "modules.json").unlink()
    assert kind_of(path) is ModelSpec


def test_a_classifier_without_its_head_makes_vectors(tmp_path: Path) -> None:
    path = copy_model("tiny-bert", tmp_path / "model", architectures=["BertForSequenceClassification"])
    assert kind_of(path) is ModelSpec
    assert isinstance(read_model(path), Checkpoint)


def test_the_other_kind_is_refused(tmp_path: Path) -> None:
    path = copy_model(QWEN3, tmp_path / "model")
    (path / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    with pytest.raises(CheckpointError, match="is a reranker: it makes scores of pairs, and no vectors"):
        read_model(path, kind=ModelSpec)
    for name in (BERT, CLASSIFIER):
        with pytest.raises(CheckpointError, match="is a reranker"):
            read_model(model_path(name), kind=ModelSpec)
    with pytest.raises(CheckpointError, match="is no reranker"):
        read_model(model_path("tiny-bert"), kind=RerankerSpec)
    (path / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("yes", "ja"))
    with pytest.raises(CheckpointError, match="a chat template for pairs of query and document that is not known"):
        kind_of(path)
