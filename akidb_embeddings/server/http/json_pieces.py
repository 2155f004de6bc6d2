"""Where a large JSON object can be divided, so that a strict parser reads it in pieces that each take a moment.

NumPy only finds where fields and items begin and end. Every byte of a value is then read by the parser, which finds
whatever is not JSON.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind

PIECE_BYTES = 1 << 16
"""The items of a list are read in pieces of about so many bytes: at worst some milliseconds."""

_MAX_MEMBERS = 1000
_MAX_NAME_BYTES = 1 << 16
_QUOTE, _BACKSLASH, _COMMA = b'"\\,'
_IS_STRUCTURE = np.zeros(256, dtype=np.bool_)
_IS_STRUCTURE[np.frombuffer(b"[]{},", dtype=np.uint8)] = True
_STEP = np.zeros(256, dtype=np.int8)
_STEP[np.frombuffer(b"[{", dtype=np.uint8)] = 1
_STEP[np.frombuffer(b"]}", dtype=np.uint8)] = -1
_SPACE = b" \t\n\r"
_NAME = re.compile(rb'[ \t\n\r]*+"([^"\\]*+(?:\\.[^"\\]*+)*+)"[ \t\n\r]*+:', re.DOTALL)

Places = NDArray[np.int64]


class Member(NamedTuple):
    """A field of the object and its value, ``body[begin:end]``.

    Attributes:
        name: The field's name, as it is written.
        begin: Where the value begins.
        end: Where it ends.
        cuts: Of a list, where its items are divided, from its bracket to its bracket; otherwise None.
        marks: Of a list, the brackets, braces and commas before each of the cuts; otherwise all of the value.
    """

    name: bytes
    begin: int
    end: int
    cuts: Places | None
    marks: Places

    @property
    def items(self) -> int:
        """The items of a list; an empty one, too, counts as one of nothing. 0 if it is no list."""
        return 0 if self.cuts is None else len(self.cuts) - 1

    @property
    def marks_per_item(self) -> Places:
        """Brackets, braces and commas in each item of a list, or in the value: how many values there may be."""
        return self.marks if self.cuts is None else np.diff(self.marks) - 1

    def pieces(self) -> Iterator[tuple[int, int, int]]:
        """Ranges ``[begin, end)`` of the body that have whole items of a list, and the first one's index."""
        if self.cuts is None:
            return
        cuts, index = self.cuts, 0
        while index < self.items:
            following = int(np.searchsorted(cuts, cuts[index] + PIECE_BYTES, "right")) - 1
            following = max(following, index + 1)
            yield int(cuts[index]) + 1, int(cuts[following]), index
            index = following


def members(body: bytes) -> list[Member] | None:
    """The fields of an object; None if it is none, or its quotes or brackets do not match.

    Raises:
        ApiError: There are far more of them than any request has.
    """
    structure = _structure(body)
    if structure is None:
        return None
    places, depths = structure
    kinds = np.frombuffer(body, dtype=np.uint8)[places]
    commas = np.flatnonzero((depths == 1) & (kinds == _COMMA))
    if len(commas) >= _MAX_MEMBERS:
        raise ApiError(ErrorKind.INVALID, f"The body has {len(commas) + 1} fields; no request has so many.")
    bounds = [0, *commas.tolist(), len(places) - 1]
    found = []
    for first, last in itertools.pairwise(bounds):
        begin, end = int(places[first]) + 1, int(places[last])
        if len(bounds) == 2 and not body[begin:end].strip(_SPACE):
            return []
        name = _NAME.match(body, begin, min(end, begin + _MAX_NAME_BYTES))
        if name is None:
            return None
        inner = slice(first + 1, last)
        found.append(_member(body, name, end, places[inner], depths[inner], kinds[inner]))
    return found


def _structure(body: bytes) -> tuple[Places, NDArray[np.int32]] | None:
    """Where brackets, braces and commas are outside of strings, and how deep it is after each of them."""
    content = np.frombuffer(body, dtype=np.uint8)
    quotes = content == _QUOTE
    if b"\\" in body:
        _drop_escaped(content, quotes)
    inside = np.bitwise_xor.accumulate(quotes)
    places = np.flatnonzero(_IS_STRUCTURE[content] & ~inside)
    if not len(places) or inside[-1]:
        return None
    depths = np.cumsum(_STEP[content[places]], dtype=np.int32)
    is_object = body[places[0]] == ord("{") and body[places[-1]] == ord("}")
    is_alone = not body[: places[0]].strip(_SPACE) and not body[places[-1] + 1 :].strip(_SPACE)
    is_whole = depths[-1] == 0 and bool(np.all(depths[:-1] > 0))
    return (places, depths) if is_object and is_alone and is_whole else None


def _drop_escaped(content: NDArray[np.uint8], quotes: NDArray[np.bool_]) -> None:
    """Take out of ``quotes`` those after an odd number of backslashes."""
    backslashes = np.flatnonzero(content == _BACKSLASH)
    is_apart = np.diff(backslashes) != 1
    begins = backslashes[np.concatenate(([True], is_apart))]
    ends = backslashes[np.concatenate((is_apart, [True]))]
    escaped = ends[(ends - begins) % 2 == 0] + 1
    quotes[escaped[escaped < len(quotes)]] = False


def _member(
    body: bytes,
    name: re.Match[bytes],
    end: int,
    places: Places,
    depths: NDArray[np.int32],
    kinds: NDArray[np.uint8],
) -> Member:
    begin = name.end()
    is_list = len(places) > 1 and kinds[0] == ord("[") and kinds[-1] == ord("]")
    is_list = is_list and not body[begin : places[0]].strip(_SPACE) and not body[places[-1] + 1 : end].strip(_SPACE)
    if not is_list:
        return Member(name[1], begin, end, None, np.array([len(places)]))
    commas = np.flatnonzero((depths == 2) & (kinds == _COMMA))
    marks = np.concatenate(([0], commas, [len(places) - 1]))
    return Member(name[1], begin, end, places[marks], marks)
