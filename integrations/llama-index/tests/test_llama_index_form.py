"""MLXEmbedding's serialized form, of which the hash of a pipeline is made: equal exactly where vectors are."""

import copy
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index_helpers import COPIES, DECIDING, FORMS, INCIDENTAL, MODEL, NAMED, TEXTS
from llama_index_helpers import no_noise as no_noise
from llama_index_helpers import no_settings as no_settings

from akidb_embeddings import ConfigurationError, EmbeddingConfig, close_shared_services, shared_service
from tests.fixtures import copy_model, edit_json


def test_the_serialized_form_is_plain_and_is_not_changed_by_reading_it() -> None:
    embedding = MLXEmbedding(MODEL, **DECIDING | INCIDENTAL)
    data = embedding.to_dict()
    before = copy.deepcopy(data)
    MLXEmbedding.from_dict(data)
    assert data == before == json.loads(embedding.to_json())
    assert data["class_name"] == MLXEmbedding.class_name() == "MLXEmbedding"
    assert data["model_name"] == MODEL
    assert not INCIDENTAL.keys() & data.keys()


def test_the_serialized_form_holds_every_value_as_it_was_set() -> None:
    """Equal objects have equal forms, and a form holds no key that depends on who set what."""
    by_default, as_the_model = MLXEmbedding(MODEL), MLXEmbedding(MODEL, max_tokens=None, normalize=None)
    assert by_default == as_the_model == MLXEmbedding(config=EmbeddingConfig(**by_default.config.to_dict()))
    assert by_default.to_dict() == as_the_model.to_dict()
    assert (by_default.to_dict()["max_tokens"], by_default.to_dict()["normalize"]) == (None, None)
    for settings in ({}, {"max_tokens": 512}, {"normalize": True}, {"normalize": False}):
        embedding = MLXEmbedding(**{"model_name": MODEL} | settings)
        again = MLXEmbedding.from_dict(embedding.to_dict())
        assert again == embedding
        assert again.to_dict() == embedding.to_dict()
        assert again.config == embedding.config
        assert again.to_dict().keys() == by_default.to_dict().keys()


def test_a_serialized_form_takes_further_fields() -> None:
    data = MLXEmbedding(MODEL, max_tokens=48).to_dict()
    other = MLXEmbedding.from_dict(data, embed_batch_size=7, batch_size=3, query_prompt="q: ")
    assert other == MLXEmbedding(MODEL, max_tokens=48, embed_batch_size=7, batch_size=3, query_prompt="q: ")
    with pytest.raises(ConfigurationError, match="dimension"):
        MLXEmbedding.from_dict(data | {"dimension": 3})


@pytest.mark.parametrize(
    "change",
    [{name: value} for name, value in (DECIDING | NAMED | {"task": "Find it"}).items()]
    + [
        {"model_name": "tiny"},
        {"revision": "abc"},
        {"adapter": "org/adapter"},
        {"max_tokens": 256},
        {"query_prompt": ""},
        {"document_prompt": ""},
    ],
    ids=str,
)
def test_what_decides_the_vectors_is_in_the_serialized_form(change: dict[str, Any], tmp_path: Path) -> None:
    copy_model("tiny-bert", tmp_path / "tiny")
    assert MLXEmbedding(**{"model_name": MODEL} | change).to_dict() != MLXEmbedding(MODEL).to_dict()


@pytest.mark.parametrize(
    "change",
    [{name: value} for name, value in INCIDENTAL.items()]
    + [{"embeddings_cache": SimpleKVStore()}, {"callback_manager": CallbackManager([])}, {"rate_limiter": object()}],
    ids=lambda change: str(*change),
)
def test_what_does_not_is_not(change: dict[str, Any]) -> None:
    expected = MLXEmbedding(MODEL)
    changed = MLXEmbedding(MODEL, **change)
    assert changed.to_dict() == expected.to_dict()
    assert changed.to_json() == expected.to_json()


def test_loading_the_model_changes_nothing(tmp_path: Path) -> None:
    for model in (MODEL, str(copy_model("tiny-bert", tmp_path / "model"))):
        embedding = MLXEmbedding(model)
        before = embedding.to_dict()
        embedding.get_text_embedding("a")
        assert embedding.to_dict() == before
        assert before["model_version"]
        close_shared_services()
        assert embedding.to_dict() == before


def _edit(name: str, **entries: Any) -> Callable[[Path], None]:
    return lambda model: edit_json(model / name, **entries)


def _other_weights(model: Path) -> None:
    file = model / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-8:] = bytes(8)
    file.write_bytes(content)


def _without_normalization(model: Path) -> None:
    modules = json.loads((model / "modules.json").read_text())
    (model / "modules.json").write_text(json.dumps([one for one in modules if not one["type"].endswith("Normalize")]))


def _other_tokenizer(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))


CHANGES: dict[str, Callable[[Path], None]] = {
    "weights": _other_weights,
    "config": _edit("config.json", layer_norm_eps=0.1),
    "tokenizer": _other_tokenizer,
    "case": _edit("tokenizer_config.json", do_lower_case=False),
    "limit": _edit("sentence_bert_config.json", max_seq_length=7),
    "steps": _without_normalization,
    "pooling": _edit("1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True),
    "query prompt": _edit("config_sentence_transformers.json", prompts={"query": "find: "}),
    "document prompt": _edit("config_sentence_transformers.json", prompts={"passage": "text: "}),
    "dimensions": _edit("config_sentence_transformers.json", truncate_dim=8),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_model_folder_that_gives_other_vectors_has_another_form(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    model = copy_model("tiny-bert", tmp_path / "model")
    embedding = MLXEmbedding(model)
    before = embedding.to_dict()
    change(model)
    assert embedding.to_dict() != before


def test_settings_of_an_older_release_count_too(tmp_path: Path) -> None:
    # sentence-transformers once named the file after the encoder.
    model = copy_model("tiny-bert", tmp_path / "model")
    (model / "sentence_bert_config.json").unlink(missing_ok=True)
    forms, results = [], []
    for limit in (30, 10):
        edit_json(model / "sentence_roberta_config.json", max_seq_length=limit)
        embedding = MLXEmbedding(model)
        forms.append(embedding.to_dict())
        results.append(shared_service(embedding.config).encode(TEXTS[-1:]).vectors.tolist())  # no warning of cut texts
        close_shared_services()
    assert results[0] != results[1]
    assert forms[0] != forms[1]


def test_modules_need_not_be_numbered(tmp_path: Path) -> None:
    model = copy_model("tiny-bert", tmp_path / "model")
    (model / "1_Pooling").rename(model / "Pooling")
    modules = json.loads((model / "modules.json").read_text())
    modules[1]["path"] = "Pooling"
    (model / "modules.json").write_text(json.dumps(modules))
    forms, results = [], []
    for is_mean in (True, False):
        edit_json(model / "Pooling/config.json", pooling_mode_mean_tokens=is_mean, pooling_mode_cls_token=not is_mean)
        embedding = MLXEmbedding(model)
        forms.append(embedding.to_dict())
        results.append(embedding.get_text_embedding("a few words"))
        close_shared_services()
    assert results[0] != results[1]
    assert forms[0] != forms[1]


def test_notes_in_a_model_folder_do_not_count(tmp_path: Path) -> None:
    model = copy_model("tiny-bert", tmp_path / "model")
    embedding = MLXEmbedding(model)
    before = embedding.to_dict()
    (model / "README.md").write_text("A note.")
    (model / "model.safetensors").touch()
    assert embedding.to_dict() == before


def test_the_form_tells_the_files_that_the_vectors_come_from(tmp_path: Path) -> None:
    """Weights in use stay in use when their folder is written anew; who loads them from then on gets the new ones."""
    model = copy_model("tiny-bert", tmp_path / "model")
    loaded, later = MLXEmbedding(model), MLXEmbedding(model, batch_size=4)
    old_form, old = loaded.to_dict(), loaded.get_text_embedding("a")
    CHANGES["config"](model)
    assert (loaded.to_dict(), loaded.get_text_embedding("a")) == (old_form, old)
    new_form, new = later.to_dict(), later.get_text_embedding("a")
    assert new_form != old_form
    assert new != old
    close_shared_services()
    assert (loaded.to_dict(), loaded.get_text_embedding("a")) == (new_form, new)


@pytest.mark.parametrize("name", ["qwen3-0.6b-4bit", "someone/some-model", "no-such-folder/model", "./no-such-folder"])
def test_a_model_that_is_not_here_needs_no_network(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("the network is used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for variable in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "AKIDB_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    embedding = MLXEmbedding(name)
    assert embedding.to_dict()["model_version"] is None
    for make in [*COPIES.values(), *FORMS.values()]:
        assert make(embedding) == embedding
    assert MLXEmbedding(name, revision="abc").to_dict() != embedding.to_dict()
