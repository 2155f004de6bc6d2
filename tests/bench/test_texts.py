from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingService
from bench.texts import Texts, exact_tokenizer, read_corpus, spread_evenly
from tests.fixtures import DATA


@pytest.mark.parametrize("tokens", [3, 8, 16, 32, 128, 256])
def test_texts_of_an_exact_number_of_tokens(tokens: int, minilm: EmbeddingService) -> None:
    texts = Texts().exact(exact_tokenizer(minilm.checkpoint), tokens, count=4)
    assert len(set(texts)) == (4 if tokens > 3 else len(set(texts)))
    result = minilm.encode(texts)
    assert result.token_counts == [tokens] * 4
    assert not any(result.truncated)


@pytest.mark.parametrize("name", ["tiny-qwen3", "tiny-gemma3"])
def test_other_tokenizers(name: str) -> None:
    with EmbeddingService(str(DATA / "models" / name)) as service:
        texts = Texts().exact(exact_tokenizer(service.checkpoint), 16, count=3)
        assert service.encode(texts).token_counts == [16] * 3


def test_queries_have_every_length(minilm: EmbeddingService) -> None:
    tokenizer = exact_tokenizer(minilm.checkpoint)
    queries = Texts().queries(tokenizer, 100)
    assert len(queries) == 100
    assert set(tokenizer.encode(queries).counts) == set(range(8, 33))
    assert queries == Texts().queries(tokenizer, 100)


def test_built_in_passages_are_many_and_of_mixed_lengths() -> None:
    passages = Texts().passages(500)
    assert len(set(passages)) == 500
    words = sorted(len(passage.split()) for passage in passages)
    assert words[50] < 40
    assert words[-50] > 200
    assert passages == Texts().passages(500)
    assert passages[:10] == Texts().passages(10)


@pytest.mark.parametrize(
    ("name", "content"),
    [("texts.jsonl", '{"text": "one two"}\n\n{"text": "three", "_id": 7}\n'), ("texts.txt", "one two\n\nthree\n")],
)
def test_a_corpus_of_ones_own(name: str, content: str, tmp_path: Path, minilm: EmbeddingService) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    texts = Texts(tmp_path / name)
    assert texts.passages(100) == ["one two", "three"]
    assert texts.passages(1) == ["one two"]
    tokenizer = exact_tokenizer(minilm.checkpoint)
    assert tokenizer.encode(texts.exact(tokenizer, 12, 2)).counts == [12, 12]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no texts"),
        ("{", "cannot be read"),
        ('{"body": "x"}', 'an object with "text"'),
        ("[1]", 'an object with "text"'),
    ],
)
def test_a_corpus_that_cannot_be_used(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(pytest.UsageError, match=message):
        read_corpus(tmp_path / "c.jsonl")
    with pytest.raises(pytest.UsageError, match="cannot be read"):
        read_corpus(tmp_path / "nowhere.txt")


@pytest.mark.parametrize("count", [1, 2, 7, 128])
def test_any_stretch_has_the_same_mix(count: int) -> None:
    texts = ["x" * length for length in range(1, count + 1)]
    dealt = spread_evenly(texts)
    assert sorted(dealt, key=len) == texts
    if count == 128:
        totals = [sum(map(len, dealt[begin : begin + 16])) for begin in range(0, 128, 16)]
        assert max(totals) < 1.15 * min(totals)
