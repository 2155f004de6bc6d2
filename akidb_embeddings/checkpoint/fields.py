"""Checks of values in JSON files, by role, before anything is built or looped over."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from akidb_embeddings.errors import CheckpointError

LARGEST_WHOLE = 2**31 - 1
_LARGEST_NUMBER = 1e38  # of float32, about
_LONGEST_TEXT = 2**16  # characters; the longest prompt that is known has 500


class Kind(NamedTuple):
    """What a value may be.

    Attributes:
        allowed: What is allowed, in words.
        accepts: Whether a value is.
    """

    allowed: str
    accepts: Callable[[Any], bool]


def whole_from(minimum: int, maximum: int = LARGEST_WHOLE) -> Kind:
    """An integer from ``minimum`` to ``maximum``."""
    return Kind(
        f"an integer from {minimum} to {maximum}", lambda value: type(value) is int and minimum <= value <= maximum
    )


def one_of(*allowed: Any) -> Kind:
    """One of some values."""
    return Kind(f"one of {', '.join(map(str, allowed))}", lambda value: any(value == one for one in allowed))


def list_of(kind: Kind, most: int) -> Kind:
    """A list of at most ``most`` values of one kind."""
    return Kind(
        f"a list of at most {most} items, each {kind.allowed}",
        lambda value: isinstance(value, list) and len(value) <= most and all(map(kind.accepts, value)),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST_NUMBER


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


NUMBER = Kind("a positive, finite number", _is_number)
LENGTH = Kind(
    "a positive, finite number",
    lambda value: type(value) in (int, float) and 0 < value < math.inf,
)
"""A number of tokens. Where there is no limit, transformers writes 10^30."""
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
TEXT = Kind(f"a text of at most {_LONGEST_TEXT} characters", _is_text)
OBJECT = Kind("an object", lambda value: isinstance(value, Mapping))
TEXTS = Kind(
    f"an object of texts of at most {_LONGEST_TEXT} characters",
    lambda value: isinstance(value, Mapping) and all(text is None or _is_text(text) for text in value.values()),
)


def check_fields(file: Path, content: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
    """Check the fields that a file has. Missing ones and ``null`` are left to those who need them.

    Args:
        file: The file, for the error.
        content: Its contents.
        kinds: What each field may be.

    Raises:
        CheckpointError: A field is something else.
    """
    for key, kind in kinds.items():
        value = content.get(key)
        if value is not None and not kind.accepts(value):
            raise CheckpointError(f"{file} gives {key} as {value!r:.80}; it must be {kind.allowed}.")
