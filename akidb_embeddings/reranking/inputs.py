"""Checks of arguments: pairs, documents and numbers."""

from collections.abc import Iterable, Sequence
from typing import Any

from akidb_embeddings.config.rerank import ACTIVATIONS
from akidb_embeddings.errors import InputError
from akidb_embeddings.service.inputs import check_texts


def check_pairs(pairs: Iterable[Sequence[str]]) -> tuple[list[str], list[str]]:
    """The queries and documents of pairs.

    Raises:
        InputError: The argument is not a list, or an item is not two strings; ``index`` says which.
    """
    if isinstance(pairs, str | bytes):
        raise InputError(field="pairs", reason=f"is one {type(pairs).__name__}; a list of pairs is expected.")
    try:
        iterator = iter(pairs)  # apart from the iteration: errors in a caller's generator are not translated
    except TypeError:
        reason = f"is of type {type(pairs).__name__}; a list of pairs (query, document) is expected."
        raise InputError(field="pairs", reason=reason) from None
    queries, documents = [], []
    for index, pair in enumerate(iterator):
        query, document = _check_pair(pair, index)
        queries.append(query)
        documents.append(document)
    return queries, documents


def _check_pair(pair: Any, index: int) -> tuple[str, str]:
    if isinstance(pair, list | tuple) and len(pair) == 2:
        query, document = pair
        if isinstance(query, str) and isinstance(document, str):
            return query, document
        kinds = f"of types {type(query).__name__} and {type(document).__name__}"
        raise InputError(field="pairs", index=index, reason=f"is {kinds}; two strings are expected.")
    size = f" with {len(pair)} items" if isinstance(pair, list | tuple) else ""
    raise InputError(
        field="pairs",
        index=index,
        reason=f"is of type {type(pair).__name__}{size}; a pair (query, document) is expected.",
    )


def check_documents(documents: Iterable[str]) -> list[str]:
    """The documents as a list.

    Raises:
        InputError: The argument is not a list, or an item is not a string; ``index`` says which.
    """
    try:
        return check_texts(documents)
    except InputError as error:
        raise error.changed(field="documents") from None


def check_top_k(top_k: int | None) -> int | None:
    """The number of documents that are wanted; None for all.

    Raises:
        InputError: It is no integer of at least 1.
    """
    if top_k is None or (type(top_k) is int and top_k >= 1):
        return top_k
    raise InputError(field="top_k", reason=f"is {top_k!r}; it must be an integer of at least 1, or None for all.")


def check_activation(activation: str) -> str:
    """What is applied to the logits.

    Raises:
        InputError: There is no such activation.
    """
    if activation in ACTIVATIONS:
        return activation
    allowed = ", ".join(map(repr, ACTIVATIONS))
    raise InputError(field="activation", reason=f"is {activation!r}; allowed: {allowed}.")
