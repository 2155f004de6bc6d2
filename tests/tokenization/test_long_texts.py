"""Texts far beyond the limit: the same tokens as of the whole text, without tokenizing the whole text."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tokenizers import Tokenizer as FastTokenizer

from akidb_embeddings import EmbeddingService
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.errors import InputError
from akidb_embeddings.tokenization.long_texts import splits_at_spaces, unknown_word
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from tests.fixtures import BUNDLED, TINY, copy_model, long_but, model_path

WORDS = [
    "The",
    "quick",
    "Brown",
    "fox",
    "isn't",
    "12",
    "345",
    "Ünïcode",
    "naïve,",
    "e.g.",
    "[SEP]",
    "</s>",
    "<|endoftext|>",
    "漢字",
    "kanji\n\n",
    "and",
    "",
    "two",
    "",
    "spaces",
]
RANDOM = np.random.default_rng(5)
TEXTS = {
    "words": " ".join(RANDOM.choice(WORDS, 3_000)),
    "one letter": "a " * 6_000,
    "no space": "a" * 9_000,
    "huge words": ("a" * 4_000 + " b " + "1" * 120 + "\u0301é" + "C" * 3_000 + ", " + "d" * 100 + "-") * 3,
    "no space, varied": "".join(RANDOM.choice(list("abcdefgh漢,.-"), 9_000)),
    "only spaces": " " * 9_000,
    "spaces between": "word".join([" " * 900] * 12),
    "one long word first": "b" * 5_000 + " word" * 2_000,
    "newlines": "line\n" * 2_000,
    "accents": "e\u0301 " * 4_000,
    "special tokens": "[SEP] </s> <|endoftext|> <eos>" * 400,
}

# One model for each kind of tokenizer; the others have one of the same kind.
KINDS = (
    "tiny-bert",
    "tiny-qwen3",
    "tiny-gemma3",
    "tiny-xlm-roberta",
    "tiny-modernbert",
    "tiny-roberta",
    "tiny-eurobert",
)


def whole(tokenizer: Tokenizer, text: str, prompt: str = "") -> Any:
    return tokenizer.encode([text], prompt, exact_counts=True)


@pytest.mark.parametrize("side", long_but(["right", "left"], "right"))
@pytest.mark.parametrize("name", long_but(["bundled", *TINY], "bundled", *KINDS))
def test_kept_tokens_are_those_of_the_whole_text(name: str, side: str, tmp_path: Path) -> None:
    folder = copy_model(BUNDLED if name == "bundled" else name, tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"truncation_side": side}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    for limit in (8, 200):
        tokenizer = Tokenizer(read_checkpoint(folder), limit)
        for text in TEXTS.values():
            for prompt in ("", "query: "):
                expected, found = whole(tokenizer, text, prompt), tokenizer.encode([text], prompt)
                np.testing.assert_array_equal(found.ids[0], expected.ids[0])
                assert found.truncated == expected.truncated
                assert (
                    found.counts[0] == expected.counts[0] if found.exact[0] else found.counts[0] <= expected.counts[0]
                )
        assert not all(tokenizer.encode(list(TEXTS.values())).exact)


def test_long_and_short_texts_keep_their_order() -> None:
    tokenizer = Tokenizer(read_checkpoint(BUNDLED), 16)
    texts = ["short", TEXTS["words"], "", TEXTS["no space"], "another short one", TEXTS["one letter"]]
    found = tokenizer.encode(texts)
    for text, ids in zip(texts, found.ids, strict=True):
        np.testing.assert_array_equal(ids, whole(tokenizer, text).ids[0])
    assert found.exact == [True, False, True, True, True, False]


@pytest.mark.long
def test_megabytes_take_no_time_and_no_memory() -> None:
    """24 s and 950 MB when they were tokenized whole. The bounds are ten times what is usual."""
    tokenizer = Tokenizer(read_checkpoint(BUNDLED), 256)
    tokenizer.encode(["a " * 10_000])
    process = psutil.Process()
    for text, is_truncated in (("a " * 2_000_000, True), ("a" * 4_000_000, False)):
        before, started = process.memory_info().rss, time.process_time()
        found = tokenizer.encode([text])
        assert time.process_time() - started < 0.5
        assert process.memory_info().rss - before < 100 << 20
        assert found.truncated == [is_truncated]


def test_a_refusal_says_that_it_did_not_count_to_the_end() -> None:
    with EmbeddingService("minilm-l6-v2", truncate="error") as service:
        with pytest.raises(InputError, match="has at least 2050 tokens") as caught:
            service.embed(["short", "a " * 100_000])
        assert (caught.value.index, caught.value.limit) == (1, 256)
        with pytest.raises(InputError, match="has 302 tokens"):
            service.embed(["a " * 300])
        assert service.count_tokens(["a " * 100_000]) == [100_002]


def test_half_an_emoji_far_beyond_the_limit_is_refused_too() -> None:
    tokenizer = Tokenizer(read_checkpoint(BUNDLED), 16)
    with pytest.raises(InputError, match="lone surrogate at character 200000") as caught:
        tokenizer.encode(["fine", "a " * 100_000 + "\ud83d"], first_index=5)
    assert caught.value.index == 6


@pytest.mark.parametrize(
    ("name", "splits"),
    [("tiny-bert", True), ("tiny-xlm-roberta", True), ("tiny-modernbert", True), ("tiny-qwen3", False)],
)
def test_what_is_known_of_a_tokenizer(name: str, splits: bool) -> None:
    assert splits_at_spaces(FastTokenizer.from_file(str(model_path(name) / "tokenizer.json"))) == splits


def test_an_added_token_may_be_a_part_of_a_huge_word(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    assert unknown_word(FastTokenizer.from_file(str(folder / "tokenizer.json"))) is not None
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"].append({**content["added_tokens"][-1], "id": 399, "content": "aa", "special": False})
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert unknown_word(FastTokenizer.from_file(str(folder / "tokenizer.json"))) is None
