"""Cutting long texts into passages: by the model's tokens, at sentence ends where possible, with an overlap."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from akidb_embeddings.bulk.rows import Item, Row
from akidb_embeddings.errors import InputError

Offsets = Sequence[tuple[int, int]]

# Characters tokenized at a time: the tokens of a whole book need not be held.
_WINDOW = 1 << 17
# Tokens at a window's end that may be others in the whole text.
_MARGIN = 32
# Tokens for text below which a single character may not fit: Unicode has one that becomes 18 others.
_LEAST_ROOM = 20
# What comes before a new sentence, unless a small letter follows ("e.g. this"): an end mark, what closes behind it, and
# white space. No repetition of the mark itself: a long row of dots would take quadratic time.
_SENTENCE_END = re.compile(r"[.!?…][\"'”’»)\]]*\s+")  # noqa: RUF001
# Chinese and Japanese marks, which no white space follows, and blank lines.
_BREAK = re.compile(r"[。！？][」』”’）]*\s*|\n\s*\n\s*")  # noqa: RUF001
_LINE = re.compile(r"\n\s*")  # headings, lists and verses; but also sentences wrapped at a margin
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Cutter:
    """Passages of at most ``size`` tokens as the model sees them, each repeating up to ``overlap`` of the one before.

    offsets: a text's tokens, ``EmbeddingService.token_offsets``.
    count: a text's tokens with prompt and special tokens, as the model would see it.

    InputError: ``size`` leaves less than 20 tokens for text, or ``overlap`` is not between 0 and half of that room.
    """

    size: int
    overlap: int
    offsets: Callable[[str], Offsets]
    count: Callable[[str], int]

    def __post_init__(self) -> None:
        if self.room < _LEAST_ROOM:
            least = self.size - self.room + _LEAST_ROOM
            raise InputError(
                f"Passages of {self.size} tokens leave {self.room} for text, with prompt and special tokens counted; "
                f"give at least {least}."
            )
        if not 0 <= self.overlap <= self.room // 2:
            raise InputError(f"The overlap is {self.overlap} tokens; from 0 to {self.room // 2} are allowed.")

    @cached_property
    def room(self) -> int:
        """How many tokens of a passage are left for text."""
        return self.size - self.count("a") + len(self.offsets("a"))

    def rows(self, items: Iterable[Item]) -> Iterator[Item]:
        """Each row's passages as rows with its number and id; rejects as they are."""
        for item in items:
            if isinstance(item, Row):
                for begin, end in self.cut(item.text):
                    yield Row(item.number, item.id, item.text[begin:end], begin, end, item.line)
            else:
                yield item

    def cut(self, text: str) -> Iterator[tuple[int, int]]:
        """Begin and end of each passage, in characters.

        A text that fits, or has no words, is one passage and stays as it is. Otherwise passages neither begin nor end
        with white space, and all else is in one of them. They end where a sentence ends in their last third, or a
        line, or a word; else between tokens.
        """
        try:
            fits = not text.strip() or (len(text) <= _WINDOW and self.count(text) <= self.size)
        except InputError:  # no tokens, or no Unicode: whoever embeds the text says so
            fits = True
        if fits:
            yield 0, len(text)
        else:
            yield from self._cut(text)

    def _cut(self, text: str) -> Iterator[tuple[int, int]]:
        begin = covered = _skip_space(text, 0)
        last = len(text.rstrip())
        window = self._window(text, begin, last)
        while covered < last:
            if not window.is_last and window.tokens_from(begin) <= self.room + _MARGIN:
                window = self._window(text, begin, last)
            end = self._end(text, window, begin)
            if end <= covered:  # the overlap alone fills the passage
                begin = covered
                continue
            yield begin, _trim(text, begin, end)
            covered = _skip_space(text, end)
            begin = window.restart(begin, covered, self.overlap)

    def _window(self, text: str, begin: int, last: int) -> "_Window":
        """A window from ``begin`` with more tokens than a passage, or up to ``last``."""
        width = _WINDOW
        while True:
            window = _Window(text, begin, min(begin + width, last), last, self.offsets)
            if window.is_last or window.tokens_from(begin) > self.room + _MARGIN:
                return window
            width *= 2

    def _end(self, text: str, window: "_Window", begin: int) -> int:
        """Where the passage ends.

        Tokens of a part are not quite those of the whole, and the prompt may change the first: a passage that comes out
        too long is cut again, with less room.
        """
        room = self.room
        while True:
            end = window.passage_end(begin, room)
            try:
                excess = self.count(text[begin : _trim(text, begin, end)]) - self.size
            except InputError:  # as above
                return end
            if excess <= 0 or room == 1:
                return end
            room = max(1, room - excess)


class _Window:
    """Tokens of ``text[begin:end]`` and the places at which it may be cut, all in characters of the text."""

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
        # In the order in which they are preferred.
        self._places = [[begin + place for place in places] for places in (sorted(sentences), lines, words)]

    def _first(self, place: int) -> int:
        """The first token that does not end before ``place``; some begin with the white space before it."""
        return bisect_right(self._ends, place)

    def tokens_from(self, begin: int) -> int:
        """How many tokens the window has from ``begin`` on."""
        return len(self._ends) - self._first(begin)

    def passage_end(self, begin: int, room: int) -> int:
        """Where a passage from ``begin`` of at most ``room`` tokens ends best; at least one character beyond."""
        first = self._first(begin)
        if first + room >= len(self._begins):
            return self._last
        hard = self._begins[first + room]
        latest, third = _skip_space(self._text, hard), self._begins[first + room * 2 // 3]
        for places in self._places:
            index = bisect_right(places, latest) - 1
            if index >= 0 and places[index] > max(third, begin):
                return places[index]
        return max(hard, begin + 1)

    def restart(self, begin: int, covered: int, overlap: int) -> int:
        """Where the passage after one from ``begin`` begins, at most ``overlap`` tokens before ``covered``.

        At a sentence or line if half the overlap is left then, else at a word, else at a token.
        """
        earliest, half = (self._before(covered, tokens) for tokens in (overlap, (overlap + 1) // 2))
        for places, latest in zip(self._places, (half, half, covered), strict=True):
            index = bisect_left(places, earliest)
            if index < len(places) and begin < places[index] < min(latest + 1, covered):
                return places[index]
        return earliest if begin < earliest < covered else covered

    def _before(self, covered: int, tokens: int) -> int:
        """Where at most so many tokens before ``covered`` begin: a character of several tokens is not divided."""
        first = self._first(covered) - tokens
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
