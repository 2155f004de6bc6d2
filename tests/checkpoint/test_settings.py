"""What a configuration means for a model: what was asked for, what it allows, what it was trained with."""

import dataclasses
import itertools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings.checkpoint.checkpoint import Checkpoint, read_checkpoint
from akidb_embeddings.checkpoint.fingerprint import fingerprint
from akidb_embeddings.checkpoint.settings import Settings, apply_config, warn_about_normalization
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import ConfigurationError
from tests.conftest import run_python, service
from tests.fixtures import BUNDLED, copy_model, cosines, edit_json


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return read_checkpoint(BUNDLED)


def settings(checkpoint: Checkpoint, config: dict[str, Any] | None = None, **changes: Any) -> Settings:
    return apply_config(EmbeddingConfig(**(config or {})), dataclasses.replace(checkpoint, **changes))


def test_the_model_decides_where_nothing_is_asked_for(checkpoint: Checkpoint) -> None:
    assert settings(checkpoint) == Settings("mean", True, 384, 256, {"document": "", "query": ""}, "")


def test_without_max_tokens_it_is_the_models_limit_at_most_512(checkpoint: Checkpoint) -> None:
    assert settings(checkpoint, max_tokens=100).max_tokens == 100
    assert settings(checkpoint, max_tokens=512).max_tokens == 512
    assert settings(checkpoint, max_tokens=32768).max_tokens == 512
    assert settings(checkpoint, {"max_tokens": None}, max_tokens=100).max_tokens == 100


def test_a_max_tokens_that_is_set_is_taken_or_refused_with_the_limit(checkpoint: Checkpoint) -> None:
    assert settings(checkpoint, {"max_tokens": 256}).max_tokens == 256
    assert settings(checkpoint, {"max_tokens": 2000}, max_tokens=2048).max_tokens == 2000
    for refused in (257, 512):  # 512 too: without a value it would be 256, but a value is taken as it is
        with pytest.raises(ConfigurationError, match=rf"max_tokens is {refused}; the limit .* is 256\."):
            settings(checkpoint, {"max_tokens": refused})


def test_the_error_about_a_max_tokens_from_a_file_names_the_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("embedding:\n  max_tokens: 512\n")
    with pytest.raises(ConfigurationError, match=f"^{file}: max_tokens is 512; .*256"):
        apply_config(EmbeddingConfig.from_yaml(file), checkpoint)
    file.write_text("embedding:\n  max_tokens: null\n")
    assert apply_config(EmbeddingConfig.from_yaml(file), checkpoint).max_tokens == 256


def test_pooling_is_as_trained_unless_asked_for(checkpoint: Checkpoint) -> None:
    assert settings(checkpoint, pooling="cls").pooling == "cls"
    assert settings(checkpoint, {"pooling": "last"}).pooling == "last"
    assert settings(checkpoint, {"pooling": "mean"}, pooling=None).pooling == "mean"
    with pytest.raises(ConfigurationError, match="Set pooling to mean, cls or last"):
        settings(checkpoint, pooling=None)


def test_normalization_is_as_configured_and_a_difference_to_training_is_told(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    for trained, asked in itertools.product((True, False), repeat=2):
        assert settings(checkpoint, {"normalize": asked}, normalize=trained).normalize is asked
        warn_about_normalization(EmbeddingConfig(normalize=asked), dataclasses.replace(checkpoint, normalize=trained))
    assert settings(checkpoint, normalize=True).normalize is True
    warn_about_normalization(EmbeddingConfig(), dataclasses.replace(checkpoint, normalize=True))
    assert settings(checkpoint, normalize=False).normalize is True
    assert settings(checkpoint, {"normalize": None}, normalize=False).normalize is True
    assert not caplog.records
    warn_about_normalization(EmbeddingConfig(), dataclasses.replace(checkpoint, normalize=False))
    assert "was trained without normalization" in caplog.text


def test_dimensions_are_the_models_or_shorter_ones_that_it_was_trained_for(checkpoint: Checkpoint) -> None:
    assert settings(checkpoint, {"dimensions": 384}).dimensions == 384
    for length in (8, 128, 384):
        assert settings(checkpoint, {"dimensions": length}, matryoshka=(8, 128)).dimensions == length
    for config in ({}, {"untrained_dimensions": True}):
        with pytest.raises(ConfigurationError, match=r"dimensions is 385; .* gives 384 at most"):
            settings(checkpoint, {"dimensions": 385} | config, matryoshka=(8, 385))


@pytest.mark.parametrize(
    ("trained", "words"),
    [
        ((), "384 alone"),
        ((384,), "384 alone"),
        ((1024, 64, 8), "8, 64, 384"),
        ((512, 256, 128), "128, 256, 384"),
        (range(32, 385), "32 to 384"),
        (range(32, 1025), "32 to 384"),
        (range(32, 64), "32 to 63, 384"),
        ((7, 8, 383), "7, 8, 383, 384"),
        ((382, 383, 12), "12, 382 to 384"),
    ],
)
def test_another_length_is_refused_with_the_trained_ones_and_the_way_out(
    checkpoint: Checkpoint, trained: Collection[int], words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(checkpoint, {"dimensions": 9}, matryoshka=trained)
    assert str(caught.value).startswith(
        f"dimensions is 9; this model was trained for {words}. With untrained_dimensions in the configuration"
    )
    allowed = settings(checkpoint, {"dimensions": 9, "untrained_dimensions": True}, matryoshka=trained)
    assert allowed.dimensions == 9


def test_what_the_authors_cut_to_is_no_matter_of_training_lengths(checkpoint: Checkpoint) -> None:
    assert settings(checkpoint, truncate_dim=100).dimensions == 100
    assert settings(checkpoint, {"untrained_dimensions": True}).dimensions == 384


@pytest.mark.parametrize(
    ("prompts", "default", "query", "document"),
    [
        ({}, "", "", ""),
        ({"query": "q: ", "document": "d: "}, "", "q: ", "d: "),
        ({"query": "q: ", "passage": "p: "}, "", "q: ", "p: "),
        ({"corpus": "c: ", "passage": "p: "}, "", "", "p: "),
        ({"corpus": "c: "}, "", "", "c: "),
        ({"document": "", "passage": "p: "}, "", "", ""),
        ({"any": "x: "}, "x: ", "", ""),
    ],
)
def test_query_and_document_prompts_are_always_there(
    checkpoint: Checkpoint, prompts: dict[str, str], default: str, query: str, document: str
) -> None:
    known = settings(checkpoint, prompts=prompts, default_prompt=default)
    assert (known.prompt("query"), known.prompt("document"), known.default_prompt) == (query, document, default)
    assert {name: known.prompt(name) for name in prompts} == prompts | {
        name: text for name, text in (("query", query), ("document", document)) if name in prompts
    }


def test_a_prompt_asked_for_comes_before_the_models(checkpoint: Checkpoint) -> None:
    prompts = {"query": "q: ", "document": "d: "}
    known = settings(checkpoint, {"query_prompt": "Q ", "document_prompt": ""}, prompts=prompts)
    assert (known.prompt("query"), known.prompt("document")) == ("Q ", "")
    assert prompts == {"query": "q: ", "document": "d: "}


def test_an_unknown_prompt_is_refused_with_the_known_ones(checkpoint: Checkpoint) -> None:
    known = settings(checkpoint, prompts={"sts": "s: "})
    with pytest.raises(ConfigurationError, match="prompt_name is 'qurey'; this model has 'sts', 'document', 'query'"):
        known.prompt("qurey")


WORDS = ["river", "stone", "light"]
BASE: dict[str, Any] = {"pooling": "mean", "dimensions": 384, "normalize": True, "max_tokens": 256}


def test_a_fingerprint_covers_whatever_changes_vectors(checkpoint: Checkpoint) -> None:
    plain = settings(checkpoint)
    others = [
        settings(checkpoint, change)
        for change in (
            {"pooling": "cls"},
            {"dimensions": 64, "untrained_dimensions": True},
            {"normalize": False},
            {"max_tokens": 64},
        )
    ]
    prints = [fingerprint(checkpoint, one, prompt) for one in (plain, *others) for prompt in ("", "query: ", "query:")]
    assert len(set(prints)) == len(prints)
    assert all(one.startswith("bert-8bit-") for one in prints)


def test_equal_settings_have_equal_fingerprints_however_they_were_asked_for(checkpoint: Checkpoint) -> None:
    expected = fingerprint(checkpoint, settings(checkpoint), "")
    for config in (
        BASE,
        {"batch_size": 1, "memory": "compact", "truncate": "error"},
        {"query_prompt": "Q"},
        {"untrained_dimensions": True},
    ):
        assert fingerprint(checkpoint, settings(checkpoint, config), "") == expected


def test_a_fingerprint_is_the_same_in_every_process_and_folder(checkpoint: Checkpoint, tmp_path: Path) -> None:
    copied = read_checkpoint(copy_model(BUNDLED, tmp_path / "elsewhere"))
    expected = fingerprint(checkpoint, settings(checkpoint), "")
    assert fingerprint(copied, settings(copied), "") == expected
    code = """
import sys
from akidb_embeddings import EmbeddingConfig
from akidb_embeddings.checkpoint.fingerprint import fingerprint
from akidb_embeddings.checkpoint.settings import *
from akidb_embeddings.checkpoint.checkpoint import *
checkpoint = read_checkpoint(Path(sys.argv[1]))
print(fingerprint(checkpoint, apply_config(EmbeddingConfig(), checkpoint), ""))
"""
    assert run_python(code, str(BUNDLED)) == expected + "\n"


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "sentence_bert_config.json", "1_Pooling/config.json"]
)
def test_a_fingerprint_covers_every_file_that_decides(checkpoint: Checkpoint, tmp_path: Path, file: str) -> None:
    folder = copy_model(BUNDLED, tmp_path / "changed")
    edit_json(folder / file, **({"unpad_inputs": True} if "sentence_bert" in file else {"something": "else"}))
    changed = read_checkpoint(folder)
    assert fingerprint(changed, settings(changed), "") != fingerprint(checkpoint, settings(checkpoint), "")


def rewrite_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    words = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    save_file(tensors | {words: tensors[words][::-1].copy()}, file, {"format": "mlx"})


def test_a_model_written_anew_is_loaded_anew_and_has_its_own_fingerprint(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    with service(model_name=str(folder)) as old:
        rewrite_weights(folder)
        with service(model_name=str(folder)) as new:
            before, after = old.encode(WORDS), new.encode(WORDS)
    assert cosines(before.vectors, after.vectors).min() < 0.99
    assert before.fingerprint != after.fingerprint


def test_a_model_whose_config_was_changed_is_loaded_anew(tmp_path: Path) -> None:
    changed, fresh = (copy_model("tiny-bert", tmp_path / name) for name in ("changed", "fresh"))
    with service(model_name=str(changed)):
        for folder in (changed, fresh):
            edit_json(folder / "config.json", layer_norm_eps=0.5)
        with service(model_name=str(changed)) as one, service(model_name=str(fresh)) as other:
            assert one.fingerprint() == other.fingerprint()
            assert cosines(one.embed(WORDS), other.embed(WORDS)).min() >= 0.99999
