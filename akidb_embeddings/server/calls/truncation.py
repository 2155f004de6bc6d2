"""Texts that were cut: how a server's log tells of them once, and how a response without a field for them does."""

from collections.abc import Sequence
from typing import Any

from akidb_embeddings.errors import InputError
from akidb_embeddings.server.observability.logs import LOG

TRUNCATED_HEADER = "x-akidb-truncated"
"""The header of a response that has no field for it: the indices of the texts of which only a part was read."""

_MAX_LISTED = 100


class TruncationLog:
    """Tells the operator of the first text that each model cuts."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, model: str, limit: int, truncated: Sequence[bool]) -> None:
        """Log the first cut of a model: how many texts of the request were cut, and at what limit; never the text."""
        if model in self._told or not any(truncated):
            return
        self._told.add(model)
        LOG.warning(
            "%s cut %d of the %d texts of a request at its limit, max_tokens: %d. Later ones are only counted, in the "
            "metric akidb_truncated_texts_total, and told to their clients. Raise max_tokens if the model has room "
            "(/info says so), or reject such texts with --truncate error",
            model,
            sum(truncated),
            len(truncated),
            limit,
        )


def check_side(wanted: str | None, side: str, noun: str) -> None:
    """Refuse to cut at another side than in the model's training: it would change the result.

    Args:
        wanted: The side that a request asks for, "right" or "left"; None for the model's.
        side: The model's.
        noun: What is cut.

    Raises:
        InputError: They differ.
    """
    if wanted not in (None, side):
        reason = f"asks for the {wanted} side; this model's {noun} are cut at the {side} side, as in its training."
        raise InputError(field="truncation_direction", reason=reason)


def truncation_headers(truncated: Sequence[bool]) -> dict[str, str]:
    """The header for texts that were truncated: the first 100 indices, and how many more there are, as ``+20``."""
    indices = [index for index, flag in enumerate(truncated) if flag]
    if not indices:
        return {}
    more = len(indices) - _MAX_LISTED
    listed = [*map(str, indices[:_MAX_LISTED]), *([f"+{more}"] if more > 0 else [])]
    return {TRUNCATED_HEADER: ",".join(listed)}


def truncation_warning(truncated: Sequence[bool], noun: str) -> str | None:
    """The header in words, for responses that have a field for warnings; None if nothing was truncated."""
    count = sum(truncated)
    if not count:
        return None
    what = f"1 {noun} was" if count == 1 else f"{count} {noun}s were"
    return f"{what} truncated; the header {TRUNCATED_HEADER} says which."


def describe_truncation() -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entry for the header of ``truncation_headers``."""
    description = "The indices of truncated texts; of more than 100, the number of the others at the end: +20."
    return {200: {"headers": {TRUNCATED_HEADER: {"description": description, "schema": {"type": "string"}}}}}
