"""Splitting long texts into passages: by the model's tokens, at sentence ends if possible, with an overlap."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from akidb_embeddings.bulk.rows import Row, RowOrReject
from akidb_embeddings.errors import InputError

Offsets = Sequence[tuple[int, int]]

# Characters tokenized at a time, so that the tokens of a whole book are never in memory.
_WINDOW = 1 << 17
# Tokens at a window's end that may differ from those of the whole text.
_MARGIN = 32
# With fewer tokens for text, a single character may not fit: Unicode normalization turns one into 18 others.
_MIN_TEXT_TOKENS = 20
# The end of a sentence, unless a lower-case letter follows ("e.g. this"): an end mark, closing quotes or brackets, and
# white space. The mark is not repeated in the pattern: a long row of dots would take quadratic time.
_SENTENCE_END = re.compile(r"[.!?…][\"'”’»)\]]*\s+")  # noqa: RUF001
# Chinese and Japanese end marks, which are not followed by white space, and blank lines.
_BREAK = re.compile(r"[。！？][」』”’）]*\s*|\n\s*\n\s*")  # noqa: RUF001
_LINE = re.compile(r"\n\s*")  # headings, lists and verses, but also wrapped sentences
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class PassageSplitter:
    """Splits texts into overlapping passages.

    Attributes:
        size: Largest number of tokens of a passage, prompt and special tokens included.
        overlap: Largest number of tokens that a passage repeats of the one before.
        offsets: Gives a text's tokens as (begin, end) in characters: ``EmbeddingService.token_offsets``.
        count: Gives the number of a text's tokens, prompt and special tokens included.

    Raises:
        InputError: ``size`` leaves fewer than 20 tokens for text, or ``overlap`` is not between 0 and half of them.
    """

    size: int
    overlap: int
    offsets: Callable[[str], Offsets]
    count: Callable[[str], int]

    def __post_init__(self) -> None:
        if self.text_tokens < _MIN_TEXT_TOKENS:
            least = self.size - self.text_tokens + _MIN_TEXT_TOKENS
            raise InputError(
                field="size",
                reason=f"is {self.size} tokens, of which prompt and special tokens leave {self.text_tokens} for text; "
                f"give at least {least}.",
            )
        if not 0 <= self.overlap <= self.text_tokens // 2:
            raise InputError(
                field="overlap", reason=f"is {self.overlap} tokens; it must be from 0 to {self.text_tokens // 2}."
            )

    @cached_property
    def text_tokens(self) -> int:
        """How many tokens of a passage are left for text."""
        return self.size - self.count("a") + len(self.offsets("a"))

    def split_rows(self, items: Iterable[RowOrReject]) -> Iterator[RowOrReject]:
        """Split rows into passages: rows with the original's number and id. Rejects are passed on unchanged."""
        for item in items:
            if isinstance(item, Row):
                for begin, end in self.split(item.text):
                    passage, behind = item.text[begin:end], len(item.text) - end
                    yield Row(item.number, item.id, passage, begin, end, item.line, behind)
            else:
                yield item

    def split(self, text: str) -> Iterator[tuple[int, int]]:
        """Split a text.

        A text that fits or has no words is one unchanged passage. Otherwise, passages neither begin nor end with white
        space, and everything else is in at least one of them. A passage ends at the end of a sentence in its last
        third; failing that, of a line, of a word, or of a token.

        Yields:
            Begin and end of each passage, in characters.
        """
        try:
            fits = not text.strip() or (len(text) <= _WINDOW and self.count(text) <= self.size)
        except InputError:  # no tokens, or not valid Unicode: embedding reports it
            fits = True
        if fits:
            yield 0, len(text)
        else:
            yield from self._split_long(text)

    def _split_long(self, text: str) -> Iterator[tuple[int, int]]:
        begin = covered = _skip_space(text, 0)
        last = len(text.rstrip())
        window = self._window(text, begin, last)
        while covered < last:
            if not window.is_last and window.tokens_from(begin) <= self.text_tokens + _MARGIN:
                window = self._window(text, begin, last)
            end = self._end(text, window, begin)
            if end <= covered:  # the overlap alone fills the passage
                begin = covered
                continue
            yield begin, _trim(text, begin, end)
            covered = _skip_space(text, end)
            begin = window.next_begin(begin, covered, self.overlap)

    def _window(self, text: str, begin: int, last: int) -> "_Window":
        """A window from ``begin`` with more tokens than a passage, or up to ``last``."""
        width = _WINDOW
        while True:
            window = _Window(text, begin, min(begin + width, last), last, self.offsets)
            if window.is_last or window.tokens_from(begin) > self.text_tokens + _MARGIN:
                return window
            width *= 2

    def _end(self, text: str, window: "_Window", begin: int) -> int:
        """The end of the passage.

        The tokens of a part can differ from those of the whole, and the prompt may change the first one. A passage that
        turns out too long is shortened.
        """
        room = self.text_tokens
        while True:
            end = window.passage_end(begin, room)
            excess = self._excess(text, begin, end)
            if excess <= 0:
                return end
            if room == 1:
                return self._end_within_token(text, begin, end)
            room = max(1, room - excess)

    def _end_within_token(self, text: str, begin: int, end: int) -> int:
        """The end of a passage that is too long up to ``end``, although its tokens in the whole text are a single one.

        So it is if it begins within a token, as in a word that is unknown as a whole and known in parts: WordPiece
        drops control characters, so that words on both sides of one that is white space (form feed, U+001F) are one
        word. The passage gets as many characters as fit; one character that is too long alone cannot be split.
        """
        fitting = begin + 1
        while end - fitting > 1:
            middle = (fitting + end) // 2
            if self._excess(text, begin, middle) > 0:
                end = middle
            else:
                fitting = middle
        return fitting

    def _excess(self, text: str, begin: int, end: int) -> int:
        """By how many tokens a passage is too long; 0 or less if it fits, or if embedding will report it."""
        try:
            return self.count(text[begin : _trim(text, begin, end)]) - self.size
        except InputError:  # as in split
            return 0


class _Window:
    """Tokens of ``text[begin:end]`` and the positions at which it may be split, all in characters of the text."""

    def __init__(self, text: str, begin: int, end: int, last: int, offsets: Callable[[str], Offsets]) -> None:
        self._text, self._last = text, last
        self.is_last = end == last
        part = text[begin:end]
        tokens = offsets(part)
        self._begins = [begin + token[0] for token in tokens]
        self._ends = [begin + token[1] for token in tokens]
        sentences = {
            found.end() for found in _SENTENCE_END.finditer(part) if not part[found.end() : found.end() + 1].islower()
        }
        sentences |= {found.end() for found in _BREAK.finditer(part)}
        lines, words = ([found.end() for found in kind.finditer(part)] for kind in (_LINE, _SPACE))
        # In order of preference.
        self._boundaries = [[begin + place for place in places] for places in (sorted(sentences), lines, words)]

    def _first_token(self, position: int) -> int:
        """Index of the first token that ends behind ``position``; it may begin with the white space before it."""
        return bisect_right(self._ends, position)

    def tokens_from(self, begin: int) -> int:
        """The number of the window's tokens from ``begin`` on."""
        return len(self._ends) - self._first_token(begin)

    def passage_end(self, begin: int, room: int) -> int:
        """The best end of a passage of at most ``room`` tokens; at least one character behind ``begin``."""
        first = self._first_token(begin)
        if first + room >= len(self._begins):
            return self._last
        hard = self._begins[first + room]
        latest, third = _skip_space(self._text, hard), self._begins[first + room * 2 // 3]
        for places in self._boundaries:
            index = bisect_right(places, latest) - 1
            if index >= 0 and places[index] > max(third, begin):
                return places[index]
        return max(hard, begin + 1)

    def next_begin(self, begin: int, covered: int, overlap: int) -> int:
        """The begin of the passage after one from ``begin``, at most ``overlap`` tokens before ``covered``.

        It is at a sentence or line if that leaves half of the overlap, else at a word, else at a token.
        """
        earliest, half = (self._before(covered, tokens) for tokens in (overlap, (overlap + 1) // 2))
        for places, latest in zip(self._boundaries, (half, half, covered), strict=True):
            index = bisect_left(places, earliest)
            if index < len(places) and begin < places[index] < min(latest + 1, covered):
                return places[index]
        return earliest if begin < earliest < covered else covered

    def _before(self, covered: int, tokens: int) -> int:
        """Where the last ``tokens`` tokens before ``covered`` begin. A character of several tokens is not divided."""
        first = self._first_token(covered) - tokens
        if tokens == 0 or first < 0:
            return covered
        if first > 0 and self._begins[first - 1] == self._begins[first]:
            first = bisect_right(self._begins, self._begins[first])
        place = self._begins[first] if first < len(self._begins) else covered
        return min(covered, _skip_space(self._text, place))


def _skip_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _trim(text: str, begin: int, end: int) -> int:
    """``end`` without the white space before it."""
    return begin + len(text[begin:end].rstrip())
