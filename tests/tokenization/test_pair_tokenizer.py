"""Pairs to token ids: those of the tokenizers library's own pairs, cut as its ``longest_first``."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as FastTokenizer

from akidb_embeddings.checkpoint.reranker import read_reranker
from akidb_embeddings.errors import CheckpointError, ConfigurationError, InputError
from akidb_embeddings.tokenization import pair_tokenizer
from akidb_embeddings.tokenization.pair_template import longest_first
from akidb_embeddings.tokenization.pair_tokenizer import PairTokenizer
from akidb_embeddings.tokenization.tokenizer import Tokenized
from tests.conftest import at_once
from tests.fixtures import copy_model, edit_json
from tests.golden.pairs import PAIRS, Pair
from tests.golden.texts import counted_text
from tests.reranking.models import ALL, BERT, CLASSIFIER, QWEN3, XLM_ROBERTA, folder, vocabulary

PLAIN = [name for name in ALL if name not in (QWEN3, "tiny-qwen3-reranker-untied")]


def tokenizer(path: Path, limit: int) -> PairTokenizer:
    return PairTokenizer(read_reranker(path), limit)


def sides(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    return [query for query, _ in pairs], [document for _, document in pairs]


def by_library(
    path: Path, limit: int, pairs: list[tuple[str, str]], side: str = "right"
) -> list[tuple[list[int], list[int]]]:
    """Ids and types of the library's pairs, each of which it cuts itself."""
    library = FastTokenizer.from_file(str(path / "tokenizer.json"))
    library.no_padding()
    library.enable_truncation(limit, strategy="longest_first", direction=side)
    return [(encoding.ids, encoding.type_ids) for encoding in library.encode_batch(pairs)]


def types(tokens: Tokenized, at: int) -> list[int]:
    assert tokens.first_parts is not None
    first = tokens.first_parts[at]
    return [0] * first + [1] * (len(tokens.ids[at]) - first)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", PLAIN)
def test_pairs_are_those_of_the_library(tmp_path: Path, name: str, side: str) -> None:
    path = copy_model(folder(name), tmp_path / "model")
    edit_json(path / "tokenizer_config.json", truncation_side=side)
    generator = random.Random(3)
    lengths = [(generator.randrange(40), generator.randrange(40)) for _ in range(60)]
    pairs = [(counted_text(a) if a else "", counted_text(b, seed=2) if b else "") for a, b in lengths]
    pairs = [pair for pair in [*pairs, *(pair for pair in PAIRS if len(pair[0]) + len(pair[1]) < 300)] if any(pair)]
    for limit in (9, 16, 31, 64):
        tokens = tokenizer(path, limit).encode(*sides(pairs))
        for at, (ids, type_ids) in enumerate(by_library(path, limit, pairs, side)):
            assert tokens.ids[at].tolist() == ids
            if tokens.first_parts is not None:
                assert types(tokens, at) == type_ids


def test_only_bert_has_token_types() -> None:
    found = {name for name in ALL if tokenizer(folder(name), 128).encode(["a"], ["b"]).first_parts is not None}
    assert found == {BERT, "tiny-bert-labels"}


def test_longest_first_to_the_token() -> None:
    """Both sides keep a half where both are longer; else the shorter one is whole. The longer keeps an odd token."""
    assert longest_first(3, 4, 8) == (3, 4)
    assert longest_first(9, 3, 8) == (5, 3)
    assert longest_first(3, 9, 8) == (3, 5)
    assert longest_first(6, 9, 9) == (4, 5)
    assert longest_first(9, 6, 9) == (5, 4)
    assert longest_first(9, 9, 9) == (4, 5)
    assert longest_first(0, 9, 3) == (0, 3)


@pytest.mark.parametrize("limit", [32, 33])
@pytest.mark.parametrize("name", [BERT, XLM_ROBERTA, CLASSIFIER])
def test_texts_far_beyond_the_limit_are_cut_alike(name: str, limit: int) -> None:
    """Only a part of them is tokenized; where the longer one decides, all."""
    long, longer = counted_text(600), counted_text(690, seed=4)  # the library needs memory for their product
    pairs = [(long, "short"), ("short", long), (long, longer), (longer, long), (long, long), (long, "")]
    tokens = tokenizer(folder(name), limit).encode(*sides(pairs))
    assert [ids.tolist() for ids in tokens.ids] == [ids for ids, _ in by_library(folder(name), limit, pairs)]
    assert all(tokens.truncated)
    assert min(tokens.counts) > limit


def test_counts_are_those_before_truncation() -> None:
    pairs = [(counted_text(10), counted_text(20)), (counted_text(30), counted_text(20)), ("", "")]
    tokens = tokenizer(folder(BERT), 40).encode(*sides(pairs))
    assert tokens.counts == [33, 53, 3]
    assert tokens.truncated == [False, True, False]
    assert tokens.exact == [True] * 3


def test_a_prompt_stands_before_the_query_alone() -> None:
    made = tokenizer(folder(XLM_ROBERTA), 64)
    with_prompt = made.encode(["a query"], ["a document"], "search: ")
    assert with_prompt.ids[0].tolist() == made.encode(["search: a query"], ["a document"]).ids[0].tolist()


def test_a_frame_is_never_cut() -> None:
    made = tokenizer(folder(QWEN3), 200)
    names = vocabulary(folder(QWEN3))
    for document in ("short", counted_text(900)):
        ids = made.encode([counted_text(5)], [document], "an instruction").ids[0].tolist()
        assert ids[0] == names["<|im_start|>"]
        assert names["<|im_end|>"] in ids[-20:]
        assert names["</think>"] in ids[-4:]
    assert len(ids) == 200


def test_passages_cover_the_document_and_overlap() -> None:
    """As ``return_overflowing_tokens`` with a stride does: windows of tokens, each with the query before it."""
    made = tokenizer(folder(BERT), 40)
    query, document = counted_text(7), counted_text(100, seed=2)
    tokens = made.passages([query, query], [document, "short"])
    room = 40 - 3 - 7
    library = FastTokenizer.from_file(str(folder(BERT) / "tokenizer.json"))
    library.no_padding()
    library.no_truncation()
    body = library.encode(document, add_special_tokens=False).ids
    passages = [ids.tolist()[9:-1] for ids in tokens.ids]
    assert tokens.owners == [0] * (len(tokens.ids) - 1) + [1]
    assert passages[0] == body[:room]
    assert passages[1] == body[room - room // 8 :][:room]
    seen = passages[0] + [token for passage in passages[1:-1] for token in passage[room // 8 :]]
    assert seen == body
    assert not any(tokens.truncated)
    assert all(len(ids) <= 40 for ids in tokens.ids)


def test_passages_of_a_frame_keep_its_end() -> None:
    made = tokenizer(folder(QWEN3), 200)
    document = counted_text(400)
    tokens = made.passages([counted_text(4)], [document], "an instruction")
    names = vocabulary(folder(QWEN3))
    assert len(tokens.ids) > 2
    for ids in tokens.ids:
        assert ids[0] == names["<|im_start|>"]
        assert names["</think>"] in ids[-4:]
    whole = made.encode([counted_text(4)], [document], "an instruction").ids[0]
    assert tokens.ids[0].tolist() == whole.tolist()


def test_a_query_that_fills_the_room_is_cut_and_flagged() -> None:
    tokens = tokenizer(folder(BERT), 40).passages([counted_text(200)], [counted_text(200)])
    assert all(tokens.truncated)
    assert {len(ids) for ids in tokens.ids[:-1]} == {40}


def test_a_limit_without_room_is_refused() -> None:
    for name, tokens in ((BERT, 3), (XLM_ROBERTA, 4)):
        with pytest.raises(ConfigurationError, match="max_tokens is 3") as caught:
            tokenizer(folder(name), 3)
        assert caught.value.field == "max_tokens"
        assert f"take {tokens}" in str(caught.value)


def test_two_empty_texts_without_a_token_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        tokenizer(folder(CLASSIFIER), 64).encode(["a", ""], ["b", ""], first_index=5)
    assert (caught.value.field, caught.value.index) == ("pairs", 6)


def test_half_a_character_is_refused_by_its_side() -> None:
    made = tokenizer(folder(BERT), 64)
    for queries, documents, field in (
        (["a", "\ud800"], ["b", "c"], "queries"),
        (["a", "b"], ["c", "\udc00"], "documents"),
    ):
        with pytest.raises(InputError) as caught:
            made.encode(queries, documents, first_index=2)
        assert (caught.value.field, caught.value.index) == (field, 3)


def test_a_tokenizer_whose_pairs_are_not_two_texts_is_refused(tmp_path: Path) -> None:
    path = copy_model(folder(BERT), tmp_path / "model")
    content = json.loads((path / "tokenizer.json").read_text())
    pair = content["post_processor"]["pair"]
    content["post_processor"]["pair"] = [pair[0], pair[3], pair[2], pair[1], pair[4]]  # the document first
    (path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="in this order"):
        tokenizer(path, 64)


def test_a_tokenizer_without_special_tokens_is_refused(tmp_path: Path) -> None:
    path = copy_model(folder(BERT), tmp_path / "model")
    content = json.loads((path / "tokenizer.json").read_text()) | {"post_processor": None}
    (path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="adds 0 special tokens to each pair"):
        tokenizer(path, 64)


def test_many_threads_tokenize_alike() -> None:
    made = tokenizer(folder(BERT), 64)
    expected = made.encode(*sides(PAIRS[:50])).ids
    results: list[list[np.ndarray]] = []
    at_once(lambda caller: results.append(made.encode(*sides(PAIRS[:50])).ids), 8)
    assert all([ids.tolist() for ids in found] == [ids.tolist() for ids in expected] for found in results)


@pytest.mark.parametrize("first", [False, True])
def test_a_token_without_embedding_is_refused_with_its_pair(tmp_path: Path, first: bool) -> None:
    """Also one beyond 31 bits, which would count from the end of the table."""
    for number in (10**6, 2**32 - 1):
        path = copy_model(folder(BERT), tmp_path / str(number))
        content = json.loads((path / "tokenizer.json").read_text())
        content["model"]["vocab"]["z"] = number
        (path / "tokenizer.json").write_text(json.dumps(content))
        made = tokenizer(path, 64)
        pair = ("z", "b") if first else ("b", "z")
        with pytest.raises(
            InputError, match=rf"pairs\[5\] has token {number}; this model has embeddings for"
        ) as caught:
            made.encode(["a", "a", pair[0]], ["a", "a", pair[1]], first_index=3)
        assert (caught.value.field, caught.value.index) == ("pairs", 5)
        with pytest.raises(InputError, match=rf"pairs\[5\] has token {number}"):
            made.passages(["a", "a", pair[0]], ["a", "a", pair[1]], first_index=3)


def test_a_text_at_which_the_tokenizer_fails_is_named_by_its_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though equal texts are tokenized once."""

    def fails(library: object, texts: list[str], first_index: int = 0, **options: object) -> None:
        raise InputError(field="texts", index=first_index + texts.index("bad"), reason="cannot be tokenized.")

    made = tokenizer(folder(BERT), 64)
    monkeypatch.setattr(pair_tokenizer, "encode_texts", fails)
    with pytest.raises(InputError, match=r"pairs\[12\] cannot") as caught:
        made.encode(["bad", "bad"], ["a", "a"], first_index=12)
    assert caught.value.field == "pairs"
    with pytest.raises(InputError, match=r"pairs\[13\] cannot"):
        made.encode(["a", "a", "bad"], ["b", "b", "b"], first_index=11)
