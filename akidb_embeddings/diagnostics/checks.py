"""Checks that every model must pass, and that need no published numbers.

They find unmasked padding, mixed-up rows, texts truncated without a flag, and NaN. ``vector_checks`` and
``score_checks`` add what must hold for vectors and for scores.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.errors import UnusableVectorError

Rows = NDArray[np.float32]
Item = TypeVar("Item")

# Other numbers of rows than in one call.
_FEW = 5
_THREADS = 4


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: The check's name.
        passed: Whether the model passed.
        text: What was found, in words.
        figure: What was measured; None if the check has no figure.
        limit: What ``figure`` was compared with; None without a figure.
    """

    name: str
    passed: bool
    text: str
    figure: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Subject(Generic[Item]):
    """A model, and what it is checked with.

    Attributes:
        noun: What an item is, in words: "text".
        items: The items.
        compute: Makes rows of items, float32 [n, …].
        compare: Makes the check with a name that two arrays of rows of the same items agree, given all items' rows.
    """

    noun: str
    items: Sequence[Item]
    compute: Callable[[Sequence[Item]], Rows]
    compare: Callable[[str, Sequence[Item], Rows, Rows, Rows], Check]


def check_agreement(subject: Subject[Item]) -> Generator[Check, None, Rows | None]:
    """Check that an item's row does not depend on what is computed with it.

    If a row is not finite or is zero, only that is reported: it would fail all other checks.

    Args:
        subject: The model.

    Yields:
        Each result as soon as it is known.

    Returns:
        All items' rows; None if they are of no use.

    Raises:
        EmbeddingError: What ``subject.compute`` raises, except UnusableVectorError.
    """
    items, compute = subject.items, subject.compute
    try:
        together = compute(items)
        alone = np.concatenate([compute([item]) for item in items])
    except UnusableVectorError as error:
        yield Check("finite", False, str(error))
        return None
    yield Check("finite", True, f"all {together.size} values of {len(items)} {subject.noun}s")

    def agree(name: str, places: Sequence[int], rows: Rows) -> Check:
        return subject.compare(name, [items[at] for at in places], rows, together[places], together)

    everything = range(len(items))
    yield agree("alone and in a batch", everything, alone)
    few = [everything[::-1][begin : begin + _FEW] for begin in range(0, len(items), _FEW)]
    back = [compute([items[at] for at in part]) for part in few]
    yield agree("in another order", everything[::-1], np.concatenate(back))
    twice = compute([*items[:4], *items[10:14], *items[:4]])
    # With another call, too: a reranker gives equal pairs of one call the same row.
    others = np.concatenate([twice[:4], together[:4]])
    again = np.concatenate([twice[-4:], twice[-4:]])
    yield subject.compare(f"the same {subject.noun} twice", [*items[:4]] * 2, others, again, together)
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(compute, [items[begin::_THREADS] for begin in range(_THREADS)]))
    places = [at for begin in range(_THREADS) for at in everything[begin::_THREADS]]
    yield agree("on several threads", places, np.concatenate(parts))
    return together


def check_truncation(
    noun: str, limit: int, counts: Sequence[int], flags: Sequence[bool], *, may_be_fewer: bool = False
) -> Check:
    """What is beyond the limit must be truncated at the limit and flagged; what is below must be neither.

    Args:
        noun: What is truncated: "text".
        limit: The limit in tokens.
        counts: The tokens that were used of ``limit`` + 8 words, and of one word.
        flags: Whether each was flagged.
        may_be_fewer: Whether a text may be truncated before the limit.
    """
    passed = list(flags) == [True, False] and (counts[0] == limit or (may_be_fewer and 0 < counts[0] < limit))
    text = f"{limit + 8} words: {counts[0]} tokens used of at most {limit}, "
    text += f"{'flagged' if flags[0] else 'NOT flagged'}; one word: {counts[1]} tokens"
    return Check(f"long {noun}s are flagged", passed, text, float(counts[0]), float(limit))
