"""What adapters to other frameworks have in common: arguments under other names, vectors as lists of floats."""

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from akidb_embeddings.config.embedding import FIELDS
from akidb_embeddings.config.file import check_keys
from akidb_embeddings.errors import ConfigurationError

if TYPE_CHECKING:
    from akidb_embeddings.vectors.finish import Vectors

# Rows turned into lists at a stretch: a few milliseconds, in which an event loop stands still.
_ROWS = 256


def rename(
    given: Mapping[str, Any], same: Mapping[str, str], elsewhere: Mapping[str, str], own: Collection[str]
) -> dict[str, Any]:
    """``given`` with the names in ``same`` replaced by those of ``EmbeddingConfig``.

    ConfigurationError for a name in ``elsewhere``, whose value says where its purpose is served here, for two names of
    one thing, and for one that is neither a field of ``EmbeddingConfig`` nor among the adapter's ``own``.
    """
    renamed: dict[str, Any] = {}
    for name, value in given.items():
        if name in elsewhere:
            raise ConfigurationError(f"{name}={value!r} has no meaning here: {elsewhere[name]}. Leave it out.")
        word = same.get(name, name)
        if word in renamed:
            names = " and ".join(repr(one) for one in given if same.get(one, one) == word)
            raise ConfigurationError(f"{names} are one thing, and both are given; give one.")
        renamed[word] = value
    check_keys(renamed, [*FIELDS, *own])
    return renamed


def to_lists(vectors: "Vectors") -> list[list[float]]:
    """``[n, d]`` as lists of Python's floats: to the last bit the same numbers."""
    lists: list[list[float]] = vectors.tolist()
    return lists


async def ato_lists(vectors: "Vectors") -> list[list[float]]:
    """``to_lists`` for event loops, which run on in between."""
    lists: list[list[float]] = []
    for begin in range(0, len(vectors), _ROWS):
        lists += to_lists(vectors[begin : begin + _ROWS])
        await asyncio.sleep(0)
    return lists
