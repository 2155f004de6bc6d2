"""Passages: their size as the model sees it, where they are cut, their overlap, and that nothing is lost."""

import random
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akidb_embeddings import EmbeddingService
from akidb_embeddings.bulk import passages
from akidb_embeddings.bulk.passages import PassageSplitter
from akidb_embeddings.bulk.rows import Reject, Row
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.errors import InputError
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from tests.fixtures import BUNDLED, model_path

PROMPT = "title: none | text: "
# Words, marks and scripts by which tokenizers differ; a character that becomes 18 tokens, one of several bytes, an
# added token, combining marks, and a word longer than a passage.
PIECES = [
    *("the", "cat", "sat", "Dr", "e.g.", "end.", "What?", '"Yes!"', "(so it is.)", "naïve", "e\u0301", "x" * 150),
    *("\n", "\n\n", "\t", "  ", "\u3000", " ", " ", " ", ". ", "! ", "…", "3.14", "[SEP]", "<|endoftext|>"),
    *("日本語の文。", "中文\uff01", "한국어", "Привет. ", "\ufdfa", "\U0001f600", "\u200d", "\x00", "ﬁ"),
]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=20, max_size=120).map("".join)


@cache
def tokenizer(name: str) -> Tokenizer:
    checkpoint = read_checkpoint(BUNDLED if name == "bundled" else model_path(name))
    return Tokenizer(checkpoint, 64)


def splitter(size: int = 40, overlap: int = 0, name: str = "bundled", prompt: str = "") -> PassageSplitter:
    tokens = tokenizer(name)
    return PassageSplitter(size, overlap, tokens.offsets, lambda text: tokens.encode([text], prompt).counts[0])


def parts(text: str) -> list[str]:
    return [text[begin:end] for begin, end in splitter().split(text)]


def sentences(count: int, words: int = 7) -> str:
    """Sentences of ``words`` words, and as many tokens and one more."""
    return " ".join("The " + " ".join(["cat"] * (words - 2)) + f" {number % 10}." for number in range(count))


def check(splitter: PassageSplitter, text: str) -> None:
    found = list(splitter.split(text))
    assert found == list(splitter.split(text))
    if len(found) == 1 and found[0] == (0, len(text)):
        return
    covered = 0
    for begin, end in found:
        passage = text[begin:end]
        assert passage
        assert passage == passage.strip()
        assert splitter.count(passage) <= splitter.size
        assert not text[covered:begin].strip(), "lost between passages"
        assert end > covered, "nothing new"
        covered = end
    assert not text[covered:].strip()
    for (earlier, _), (later, _) in pairwise(found):
        assert earlier < later


@pytest.mark.parametrize("name", ["bundled", "tiny-qwen3", "tiny-xlm-roberta", "tiny-gemma3"])
@settings(max_examples=60, deadline=None)
@given(text=TEXTS, size=st.integers(52, 90), share=st.floats(0, 0.5), prompt=st.sampled_from(["", PROMPT]))
def test_every_character_is_in_a_passage_and_no_passage_is_too_long(
    name: str, text: str, size: int, share: float, prompt: str
) -> None:
    bare = splitter(size, 0, name, prompt)
    check(bare, text)
    check(PassageSplitter(size, int(share * bare.text_tokens), bare.offsets, bare.count), text)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=300))
def test_any_text_at_all_is_covered(text: str) -> None:
    check(splitter(24, 8, "tiny-qwen3"), text)


@settings(max_examples=30, deadline=None)
@given(text=TEXTS)
def test_narrow_windows_lose_nothing(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passages, "_WINDOW", 50)
        check(splitter(30, 7), text)


def joined(generator: random.Random) -> str:
    """Long words, with unknown characters and control characters that some tokenizers drop, which joins words."""
    parts = []
    for _ in range(generator.randint(1, 4)):
        parts += ["日" * generator.randint(20, 45), generator.choice(["", " ", "\n"])]
        parts += generator.choices("\ufdfa\U0001f600\u0378ᚠ日", k=generator.randint(0, 2))
        parts += generator.choices("\x0b\x0c\x1c\x1d\x1e\x1f\x85", k=generator.randint(0, 2))
        parts += [generator.choice(["xqzjvkw" * 13, "q" * 95, "ab1" * 33, "q" * 150, "the", "xqzjvkw"])]
        parts += generator.choices("\x0b\x0c\x1c\x1d\x1e\x1f\x85 ", k=generator.randint(0, 1))
    return "".join(parts)


@pytest.mark.parametrize(
    "name", ["bundled", "tiny-bert", "tiny-mpnet", "tiny-qwen3", "tiny-xlm-roberta", "tiny-gemma3", "tiny-modernbert"]
)
def test_words_that_control_characters_join_are_within_the_size(name: str) -> None:
    generator = random.Random(5)
    splitters = [splitter(40, 0, name), splitter(40, 15, name), splitter(50, 0, name, PROMPT)]
    for _ in range(20):
        text = joined(generator)
        for each in splitters:
            check(each, text)


@pytest.mark.parametrize("space", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85"])
def test_the_rest_of_an_unknown_word_is_split_if_it_is_known_in_parts(space: str) -> None:
    word = "xqzjvkw" * 13
    text = "日" * 30 + f" \ufdfa{space}" + word + "日" * 40
    assert tokenizer("bundled").offsets(text)[30] == (31, 33 + len(word))
    check(splitter(), text)


def test_a_character_that_is_too_long_alone_is_a_passage_alone() -> None:
    """No tokenizer with 20 tokens for text is known to have one; it is cut and flagged as any text is."""

    def count(text: str) -> int:
        return sum(30 if character == "X" else 1 for character in text) + 2

    each = PassageSplitter(22, 0, lambda text: [(place, place + 1) for place in range(len(text))], count)
    text = "a" * 30 + "XX" + "b" * 30
    found = [text[begin:end] for begin, end in each.split(text)]
    assert "".join(found) == text
    assert [passage for passage in found if count(passage) > 22] == ["X", "X"]


def test_a_text_that_fits_is_one_passage_and_stays_as_it_is() -> None:
    for text in ("", "   ", "  short \n", " ".join(["cat"] * 38)):
        assert list(splitter().split(text)) == [(0, len(text))]
    assert len(parts(" ".join(["cat"] * 39))) == 2


def test_a_blank_text_of_many_tokens_is_one_passage() -> None:
    text = "\n \t" * 200
    assert tokenizer("tiny-qwen3").encode([text]).counts[0] > 40
    assert list(splitter(name="tiny-qwen3").split(text)) == [(0, len(text))]


def test_passages_end_with_a_sentence() -> None:
    found = parts(sentences(20))
    assert all(passage.startswith("The") and passage.endswith(".") for passage in found)
    assert [passage.count(".") for passage in found] == [4] * 5  # of 8 tokens each, in 38


@pytest.mark.parametrize(
    ("separator", "end"),
    [
        (". ", "."),
        ("! ", "!"),
        ("?) ", "?)"),
        (".” ", ".”"),
        ("。", "。"),
        ("\uff1f」", "\uff1f」"),
        ("\n", "cat"),
        ("\n\n", "cat"),
    ],
)
def test_what_ends_a_sentence(separator: str, end: str) -> None:
    """The sentence's end lies in the last third, and words follow it that would fit."""
    text = " ".join(["cat"] * 28) + separator + "Cat " * 30
    first = parts(text)[0]
    assert first == " ".join(["cat"] * 28) + end.removeprefix("cat")


def test_a_mark_before_a_small_letter_or_within_a_word_ends_no_sentence() -> None:
    for middle in ("e.g. that", "a.b", "3.5", "no.1"):
        text = " ".join(["cat"] * 28) + f" {middle} " + "cat " * 30
        assert parts(text)[0].split()[-1] == "cat"
        assert len(parts(text)[0].split()) > 30


def test_a_sentence_end_is_preferred_to_a_later_line_end_and_that_to_a_later_word() -> None:
    words = " ".join(["cat"] * 27)
    assert parts(f"{words}. Cat cat\nCat cat " + "cat " * 30)[0] == words + "."
    assert parts(f"{words}\nCat cat " + "cat " * 30)[0] == words


def test_a_sentence_end_before_the_last_third_does_not_count() -> None:
    text = "Cat cat cat. " + "Cat " * 60
    assert len(parts(text)[0].split()) == 37  # 38 tokens with the mark


def test_a_word_longer_than_a_passage_is_cut_between_tokens() -> None:
    text = "ab1" * 100
    assert "".join(parts(text)) == text
    assert all(parts(text))


def test_an_overlap_repeats_whole_sentences_where_half_of_it_allows() -> None:
    text = sentences(20)
    found = list(splitter(overlap=10).split(text))
    for (_, end), (begin, _) in pairwise(found):
        assert text[begin:end].count(".") == 1
        assert text[begin:end].startswith("The")


def test_an_overlap_begins_at_a_word_where_sentences_are_long() -> None:
    text = " ".join(["kitten", "cat", "unbelievable"] * 40)
    found = list(splitter(overlap=8).split(text))
    assert len(found) > 3
    for (_, end), (begin, _) in pairwise(found):
        assert text[begin - 1] == " "
        assert 4 <= len(tokenizer("bundled").offsets(text[begin:end])) <= 8


def test_an_overlap_does_not_shrink_to_a_short_last_sentence() -> None:
    """Passages end with "Yes.", which alone is 2 tokens: they are repeated with words before them, 10 in all."""
    text = ("The " + "cat " * 31 + "sat. Yes. ") * 4
    found = list(splitter(overlap=10).split(text))
    (_, end), (begin, _) = found[:2]
    assert text[begin:end] == "cat " * 6 + "sat. Yes."


@settings(max_examples=40, deadline=None)
@given(text=TEXTS, overlap=st.integers(1, 19))
def test_an_overlap_is_never_longer_than_asked(text: str, overlap: int) -> None:
    offsets = tokenizer("bundled").offsets(text)
    for (_, end), (begin, _) in pairwise(splitter(overlap=overlap).split(text)):
        assert sum(begin <= place < end for place, _ in offsets) <= overlap


def test_the_prompt_takes_its_share_of_the_size() -> None:
    text = sentences(40, 5)
    longest = max(tokenizer("bundled").encode(parts(text)).counts)
    longer = splitter(prompt=PROMPT)
    with_prompt = [text[begin:end] for begin, end in longer.split(text)]
    counts = tokenizer("bundled").encode(with_prompt, PROMPT).counts
    assert max(counts) <= 40
    assert max(tokenizer("bundled").encode(with_prompt).counts) < longest


def test_rows_keep_number_and_id_and_say_where_a_passage_lies() -> None:
    text = sentences(12)
    bad = Reject(8, 9, None, "no")
    first, *rest = splitter().split_rows([Row(7, "x", text), bad, Row(9, "y", "short")])
    assert isinstance(first, Row)
    assert (first.number, first.id, first.begin) == (7, "x", 0)
    assert first.text == text[: first.end]
    assert rest[-2:] == [bad, Row(9, "y", "short", 0, 5)]
    assert all(isinstance(row, Row) and row.text == text[row.begin : row.end] for row in rest[:-2])


def test_a_text_that_cannot_be_tokenized_is_passed_on_for_others_to_refuse() -> None:
    assert list(splitter().split("a\ud800 " * 100)) == [(0, 300)]


@pytest.mark.long
def test_a_long_text_is_tokenized_window_by_window() -> None:
    text = sentences(30_000)
    tokens, longest = tokenizer("bundled"), 0

    def offsets(part: str) -> list[tuple[int, int]]:
        nonlocal longest
        longest = max(longest, len(part))
        return tokens.offsets(part)

    def count(part: str) -> int:
        assert len(part) <= 1 << 17
        return tokens.encode([part]).counts[0]

    long = PassageSplitter(256, 0, offsets, count)
    found = list(long.split(text))
    assert longest <= 1 << 17 < len(text)
    assert all(text[begin:end].startswith("The") and text[begin:end].endswith(".") for begin, end in found)
    assert sum(text[begin:end].count(".") for begin, end in found) == 30_000


@pytest.mark.long
def test_dots_and_white_space_without_end_take_no_quadratic_time() -> None:
    """Each is tokenized in a second or so; with a pattern that goes back, it is minutes."""
    short = splitter(size=60)
    for text in ("." * 100_000, "a" + " " * 1_000_000 + "b" * 10, "\n" * 300_000 + "a b" + ".\n" * 20_000):
        assert list(short.split(text))


@pytest.mark.parametrize(
    ("size", "overlap", "match"),
    [
        (21, 0, "size is 21 tokens, of which prompt and special tokens leave 19 for text; give at least 22"),
        (40, 20, "overlap is 20 tokens; it must be from 0 to 19"),
        (40, -1, "-1"),
    ],
)
def test_a_size_or_overlap_that_does_not_work_is_refused(size: int, overlap: int, match: str) -> None:
    with pytest.raises(InputError, match=match):
        splitter(size, overlap)


def test_the_service_gives_offsets_and_counts(tmp_path: Path) -> None:
    with EmbeddingService(BUNDLED) as service:
        text = "The café 日本.  end"  # accents go, and the characters are counted as they are given
        pieces = [text[begin:end] for begin, end in service.token_offsets(text)]
        assert pieces == ["The", "café", "日", "本", ".", "end"]
        long = " ".join(["cat"] * 500)
        assert len(service.token_offsets(long)) == 500
        assert service.count_tokens([text, long], prompt="cat: ") == [10, 504]
        with pytest.raises(InputError, match="lone surrogate at character 1"):
            service.token_offsets("a\ud800")


@pytest.mark.parametrize("side", ["left", "right"])
def test_offsets_of_a_long_text_are_in_order_whichever_side_is_cut(side: str) -> None:
    tokens = tokenizer("bundled")
    text = " ".join(random.Random(0).choices(["cat", "unbelievable", "sat", "."], k=300))
    whole = tokens.offsets(text)
    tokens._tokenizer.enable_truncation(16, direction=side)
    try:
        assert tokens.offsets(text) == whole == sorted(whole)
    finally:
        tokens._tokenizer.enable_truncation(64)
