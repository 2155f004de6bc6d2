"""Texts far beyond the limit: only a part is tokenized, enough to know the tokens that are kept.

A tokenizer takes seconds and a gigabyte for a text of megabytes, of which a model reads the first few hundred tokens.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer

# A part has this many characters for every token of the limit: three times as many as English has.
_CHARACTERS_PER_TOKEN = 16
_GROWTH = 16
# At least so many tokens, or a part of the limit, lie between the kept tokens and the end of the part.
_MARGIN = 64
_MARGIN_SHARE = 8
# They change or split a text by looking at a few characters around a place, and never join words across a space.
_LOCAL_NORMALIZERS = {
    *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Nmt", "Precompiled", "Prepend"),
    "Strip",
}  # fmt: skip
_LOCAL_PRE_TOKENIZERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}

_PLAIN = re.compile(r"^[A-Za-z0-9]+$")
# A run of spaces is one word.
_AFTER_A_WORD = re.compile(r"(?<=\S) ")

Encode = Callable[[list[str], int], list[Encoding]]
"""``encode(texts, index)``: the truncated encodings of texts, the first of which has this index in errors."""


class LongTexts:
    """Tokenizes texts as far as their kept tokens need.

    The kept tokens of a part are those of the whole text if the tokenizer splits texts at spaces, the part is cut at
    one, and enough tokens lie between. Where that is not known, a part twice as long must give the same tokens; except
    where the beginning is cut off within a word, because merges of characters are counted from the beginning.

    Args:
        tokenizer: The tokenizer, with truncation.
        special_tokens: The number of special tokens that it adds to a text.
    """

    def __init__(self, tokenizer: FastTokenizer, special_tokens: int) -> None:
        truncation = tokenizer.truncation
        assert truncation is not None
        limit = int(truncation["max_length"])
        self._from_left = truncation["direction"] == "left"
        self._special_tokens = special_tokens
        self._characters = _CHARACTERS_PER_TOKEN * limit
        self._enough = limit + max(_MARGIN, limit // _MARGIN_SHARE)
        self._is_local = splits_at_spaces(tokenizer)
        self._unknown_word = unknown_word(tokenizer)

    def encode(self, texts: Sequence[str], encode: Encode, index: int) -> list[tuple[Encoding, bool]]:
        """The encoding of each text, and whether it is that of the whole text, not of a part.

        Args:
            texts: The texts.
            encode: Encodes parts.
            index: The index of the first text in errors.
        """
        texts = [self._shorten(text) for text in texts]
        parts = [self._part(text, self._characters)[0] for text in texts]
        encodings = encode(parts, index)
        results = []
        for position, (text, part, encoding) in enumerate(zip(texts, parts, encodings, strict=True)):
            if len(part) == len(text):
                results.append((encoding, True))
            else:
                results.append(self._settle(text, encoding, encode, index + position))
        return results

    def kept(self, encoding: Encoding) -> list[int]:
        """The token ids of a text."""
        ids: list[int] = encoding.ids
        return ids

    def count(self, encoding: Encoding, is_whole: bool) -> int:
        """The number of tokens of a text before truncation; of a part, at least so many."""
        return count(encoding, self._special_tokens)

    def _settle(self, text: str, encoding: Encoding, encode: Encode, index: int) -> tuple[Encoding, bool]:
        """Longer parts of a text, until the kept tokens are known."""
        characters = self._characters
        while True:
            at_space = self._part(text, characters)[1]
            if self._is_enough(encoding) and (at_space or not self._from_left):
                if self._is_local and at_space:
                    return encoding, False
                longer, _ = self._part(text, 2 * characters)
                [confirmed] = encode([longer], index)
                if confirmed.ids == encoding.ids:
                    return confirmed, len(longer) == len(text)
            characters *= _GROWTH
            part, _ = self._part(text, characters)
            [encoding] = encode([part], index)
            if len(part) == len(text):
                return encoding, True

    def _shorten(self, text: str) -> str:
        """A long text whose huge words have as many characters as make them unknown, one token."""
        if self._unknown_word is None or len(text) <= 2 * self._characters:
            return text
        return self._unknown_word.sub(lambda word: word[1], text)

    def _is_enough(self, encoding: Encoding) -> bool:
        return count(encoding, self._special_tokens) >= self._enough

    def _part(self, text: str, characters: int) -> tuple[str, bool]:
        """The kept end of a text, cut at a space if there is one, and whether it is."""
        if len(text) <= 2 * characters:
            return text, True
        if self._from_left:
            begin = _AFTER_A_WORD.search(text, len(text) - characters, len(text) - characters // 2)
            return (text[begin.start() :], True) if begin else (text[-characters:], False)
        end = text.rfind(" ", characters // 2, characters)
        return (text[:characters], False) if end < 0 else (text[:end].rstrip(), True)


def count(encoding: Encoding, special_tokens: int) -> int:
    """The number of tokens before truncation, special tokens included."""
    return len(encoding.ids) + sum(len(rest.ids) - special_tokens for rest in encoding.overflowing)


def splits_at_spaces(tokenizer: FastTokenizer) -> bool:
    """Whether it is known that the tokens before a space do not depend on what follows it."""
    normalizer: Any = tokenizer.normalizer
    pre_tokenizer: Any = tokenizer.pre_tokenizer
    if pre_tokenizer is None or (normalizer is not None and not all(map(_is_local_normalizer, _steps(normalizer)))):
        return False
    return any(map(_is_local_pre_tokenizer, _steps(pre_tokenizer)))


def unknown_word(tokenizer: FastTokenizer) -> re.Pattern[str] | None:
    """Words that are one unknown token because of their length; the first group is enough of each for that.

    None if that is not known of the tokenizer. It is of BERT's: letters and digits of ASCII are neither split nor
    joined, unless one of them is an added token.
    """
    model: Any = tokenizer.model
    kinds = type(model).__name__, type(tokenizer.normalizer).__name__, type(tokenizer.pre_tokenizer).__name__
    added = tokenizer.get_added_tokens_decoder().values()
    if kinds != ("WordPiece", "BertNormalizer", "BertPreTokenizer") or any(map(_PLAIN.search, map(str, added))):
        return None
    return re.compile(rf"([A-Za-z0-9]{{{int(model.max_input_chars_per_word) + 1}}})[A-Za-z0-9]+")


def _steps(part: Any) -> list[dict[str, Any]]:
    """A normalizer or pre-tokenizer as in tokenizer.json, the steps of sequences in order."""

    def flatten(state: dict[str, Any]) -> list[dict[str, Any]]:
        if state.get("type") != "Sequence":
            return [state]
        inner = state.get("normalizers") or state.get("pretokenizers") or []
        return [step for each in inner for step in flatten(each)]

    return flatten(json.loads(part.__getstate__()))


def _is_local_normalizer(step: dict[str, Any]) -> bool:
    if step["type"] == "Replace":
        return len(step["pattern"].get("String", "too long")) == 1
    return step["type"] in _LOCAL_NORMALIZERS


def _is_local_pre_tokenizer(step: dict[str, Any]) -> bool:
    if step["type"] == "ByteLevel":
        return bool(step.get("use_regex", True))
    if step["type"] == "Metaspace":
        return bool(step.get("split", True))
    if step["type"] == "Split":
        return bool(step["pattern"].get("String") == " ")
    return step["type"] in _LOCAL_PRE_TOKENIZERS
