"""What adapters to other frameworks share: arguments under other names, and vectors as lists of floats."""

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from akidb_embeddings.config.embedding import FIELDS
from akidb_embeddings.config.file import check_keys
from akidb_embeddings.errors import ConfigurationError

if TYPE_CHECKING:
    from akidb_embeddings.vectors.finish import Vectors

# Rows converted before the event loop runs again: a few milliseconds.
_CHUNK_ROWS = 256


def rename_arguments(
    given: Mapping[str, Any],
    aliases: Mapping[str, str],
    unsupported: Mapping[str, str],
    own: Collection[str],
    fields: Collection[str] = FIELDS,
) -> dict[str, Any]:
    """Rename an adapter's arguments to the fields of a configuration.

    Args:
        given: The arguments by the names that the caller used.
        aliases: The field that each alias stands for.
        unsupported: Arguments of similar classes that do not exist here, each with the reason or the alternative.
        own: Further arguments of the adapter, which keep their names.
        fields: The configuration's fields; those of ``EmbeddingConfig`` if it is not given.

    Returns:
        The arguments by their new names.

    Raises:
        ConfigurationError: An argument is unsupported or unknown, or an argument and its alias are both given.
    """
    renamed: dict[str, Any] = {}
    for name, value in given.items():
        if name in unsupported:
            raise ConfigurationError(
                field=name, reason=f"(value {value!r}) is not supported: {unsupported[name]}. Leave it out."
            )
        field = aliases.get(name, name)
        if field in renamed:
            names = " and ".join(repr(one) for one in given if aliases.get(one, one) == field)
            raise ConfigurationError(f"{names} are the same argument, and both are given; give one.", field=field)
        renamed[field] = value
    check_keys(renamed, [*fields, *own])
    return renamed


def to_lists(vectors: "Vectors") -> list[list[float]]:
    """float32 ``[n, dimension]`` as lists of Python floats with exactly the same values."""
    lists: list[list[float]] = vectors.tolist()
    return lists


async def ato_lists(vectors: "Vectors") -> list[list[float]]:
    """``to_lists`` for event loops: other tasks run between chunks of rows."""
    lists: list[list[float]] = []
    for begin in range(0, len(vectors), _CHUNK_ROWS):
        lists += to_lists(vectors[begin : begin + _CHUNK_ROWS])
        await asyncio.sleep(0)
    return lists
