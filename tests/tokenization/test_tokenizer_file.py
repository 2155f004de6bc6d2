"""The files beside tokenizer.json: values of the wrong type, and classes for another kind of model, are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from tests.fixtures import copy_model, edit_json


def load(folder: Path) -> Tokenizer:
    return Tokenizer(read_checkpoint(folder), 64)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tokenizer_class", 5, "tokenizer_class as 5"),
        ("do_lower_case", "yes", "do_lower_case as 'yes'; it must be true or false"),
        ("strip_accents", 1, "strip_accents as 1"),
        ("split_special_tokens", [], r"split_special_tokens as \[\]"),
        ("cls_token", 7, "cls_token is 7"),
        ("cls_token", {"content": "[CLS]"}, "cls_token is"),
        ("mask_token", {"__type": "AddedToken", "content": 3}, "mask_token has"),
        ("mask_token", {"__type": "AddedToken", "content": "a", "lstrip": 1}, "flags that are booleans"),
        ("additional_special_tokens", [None], "additional_special_tokens is None"),
        ("added_tokens_decoder", [], "added_tokens_decoder as"),
        ("added_tokens_decoder", {"x": {"content": "a"}}, "has the id 'x'"),
        ("added_tokens_decoder", {"1": "a"}, "added_tokens_decoder has 'a'"),
        ("auto_map", {"AutoTokenizer": ["code.Own", None]}, "remote code for the tokenizer"),
        ("fast_tokenizer_files", ["tokenizer.json", "tokenizer.4.0.json"], r"tokenizer\.4\.0\.json"),
        ("tokenizer_class", "LlamaTokenizer", "LlamaTokenizer, made for BPE, but tokenizer.json is WordPiece"),
    ],
)
def test_what_is_no_setting_is_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "tokenizer_config.json", **{key: value})
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_another_pre_tokenizer_of_mistral_is_refused(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(copy_model("tiny-bert", tmp_path / "bert"))
    other = replace(checkpoint.folder, config={"model_type": "mistral"}, tokenizer_config={"fix_mistral_regex": True})
    with pytest.raises(CheckpointError, match="fix_mistral_regex"):
        Tokenizer(replace(checkpoint, folder=other), 64)


def test_an_id_in_added_tokens_json_is_a_number(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "added_tokens.json", **{"<ent>": "last"})
    with pytest.raises(CheckpointError, match="has the id 'last'"):
        load(folder)


def test_a_post_processor_that_fails_in_rust_is_refused(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    own = json.loads((folder / "tokenizer.json").read_text())["post_processor"]
    edit_json(folder / "tokenizer.json", post_processor={"type": "Sequence", "processors": [own, own]})
    with pytest.raises(CheckpointError, match=r"cannot be used: .*cannot be tokenized by this model"):
        load(folder)
