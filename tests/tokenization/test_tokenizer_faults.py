"""Tokenizers that are damaged or hostile: an error of ours, at once, and never the end of the process."""

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.errors import CheckpointError, InputError
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from tests.fixtures import copy_model

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Change], Tokenizer]:
    def change(edit: Change) -> Tokenizer:
        folder = copy_model("tiny-bert", tmp_path / "model")
        (folder / "tokenizer_config.json").unlink()  # or its settings replace the normalizer
        content = json.loads((folder / "tokenizer.json").read_text())
        edit(content)
        (folder / "tokenizer.json").write_text(json.dumps(content))
        return Tokenizer(read_checkpoint(folder), 128)

    return change


def normalizer(**value: Any) -> Change:
    return lambda content: content.update(normalizer=value)


def replaced(pattern: str, content: str, times: int = 1, kind: str = "String") -> Change:
    step = {"type": "Replace", "pattern": {kind: pattern}, "content": content}
    return normalizer(type="Sequence", normalizers=[step] * times)


def charsmap(size: int, trie: bytes, texts: bytes) -> Change:
    encoded = base64.b64encode(struct.pack("<I", size) + trie + texts).decode()
    return normalizer(type="Precompiled", precompiled_charsmap=encoded)


def single(*pieces: str) -> Change:
    names = {"A": {"Sequence": {"id": "A", "type_id": 0}}, "B": {"Sequence": {"id": "B", "type_id": 0}}}
    listed = [names.get(piece, {"SpecialToken": {"id": piece, "type_id": 0}}) for piece in pieces]
    return lambda content: content["post_processor"].update(single=listed)


def special_ids(*ids: int) -> Change:
    return lambda content: content["post_processor"]["special_tokens"]["[CLS]"].update(
        ids=list(ids), tokens=["[CLS]"] * len(ids)
    )


def without_unknown(content: dict[str, Any]) -> None:
    content["model"]["unk_token"] = "[GONE]"
    for word in ("a", "##a"):
        del content["model"]["vocab"][word]


def duplicate(content: dict[str, Any]) -> None:
    content["post_processor"] = {"type": "Sequence", "processors": [content["post_processor"]] * 40}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (normalizer(type="Prepend", prepend="a" * 300), "adds 300 characters to a text"),
        (normalizer(type="Prepend", prepend="a" * 2_000_000), "normalizer of 2000031 bytes"),
        (replaced("a", "a" * 65), "makes 65 of one"),
        (replaced("a", "aa", 7), "makes 128 of one"),
        (replaced("", "a", 7), "makes 128 of one"),
        (replaced("x*", "a", 7, "Regex"), "makes 128 of one"),
        (charsmap(0xFFFFFFFC, b"", b"abcd"), "precompiled_charsmap is no map"),
        (charsmap(0, b"", b"abcd"), "precompiled_charsmap is no map"),
        (charsmap(6, b"\0" * 6, b""), "precompiled_charsmap is no map"),
        (charsmap(4, b"\0" * 4, b"\xff\xff"), "precompiled_charsmap is no map"),
        (normalizer(type="Precompiled", precompiled_charsmap="not base64!"), "precompiled_charsmap is no map"),
        (normalizer(type="Precompiled", precompiled_charsmap=5), "precompiled_charsmap is no map"),
        (charsmap(4, b"\0\1\0\0", b"a\0"), r"cannot be used: texts\[0\] cannot be tokenized"),
        (single("[CLS]", "A", "A"), "takes A and A for a single text; it must take A once"),
        (single("[CLS]", "A", "B"), "takes A and B for a single text"),
        (single("[CLS]", "[SEP]"), "takes no text for a single text"),
        (duplicate, r"tokenizer\.json (adds|cannot be)"),
        (special_ids(*[2] * 100), "adds 101 special tokens to each text; at most 64"),
        (special_ids(2**32 - 1), "adds the token 4294967295 to every text; the model has"),
        (without_unknown, r"tokenizer\.json cannot be used: texts\[0\] cannot be tokenized by this model: .*UNK"),
        (lambda content: content["model"].update(max_input_chars_per_word=10**9), "words of more than 10000"),
        (lambda content: content["model"].update(continuing_subword_prefix="#" * 100), "parts of words"),
        (lambda content: content.update(truncation={"max_length": 2, "stride": 5}), r"tokenizer\.json cannot be"),
        (lambda content: content.update(model={}), r"tokenizer\.json cannot be read"),
        (lambda content: content.update(normalizer=eval("[" * 150 + "]" * 150)), "cannot be read"),
    ],
)
def test_a_tokenizer_that_cannot_be_used(load: Callable[[Change], Tokenizer], edit: Change, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(edit)


def test_a_key_that_is_escaped_is_found(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    content = (folder / "tokenizer.json").read_text()
    step = '{"type": "Pre\\u0063ompiled", "pre\\u0063ompiled_charsmap": "/P///2FiY2Q="}'
    start, end = content.index('"normalizer":'), content.index('"pre_tokenizer"')
    (folder / "tokenizer.json").write_text(f'{content[:start]}"normalizer": {step}, {content[end:]}')
    with pytest.raises(CheckpointError, match="precompiled_charsmap is no map"):
        Tokenizer(read_checkpoint(folder), 128)


def test_a_file_larger_than_any(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    with (folder / "tokenizer.json").open("ab") as file:
        file.truncate(2**26 + 1)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json has 67108865 bytes"):
        Tokenizer(read_checkpoint(folder), 128)


def test_a_text_at_which_the_tokenizer_fails_is_named(load: Callable[[Change], Tokenizer]) -> None:
    """The library's expression gives up, and its panic is no ``Exception``."""
    split = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    tokenizer = load(lambda content: content.update(pre_tokenizer=split))
    texts = ["a", "x" * 40, "b"]
    with pytest.raises(InputError, match=r"texts\[8\] cannot be tokenized by this model: .*retry-limit") as caught:
        tokenizer.encode(texts, first_index=7)
    assert (caught.value.field, caught.value.index) == ("texts", 8)
    with pytest.raises(InputError, match="retry-limit"):
        tokenizer.offsets(texts[1])
    assert tokenizer.encode(["a"]).counts == [3]


def test_an_unknown_character_without_a_token_for_it(load: Callable[[Change], Tokenizer]) -> None:
    tokenizer = load(lambda content: content["model"].update(unk_token="[GONE]"))
    with pytest.raises(InputError, match=r"texts\[1\] cannot be tokenized by this model: .*UNK"):
        tokenizer.encode(["a", "\U00013000"])
