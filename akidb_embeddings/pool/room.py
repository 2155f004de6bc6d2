"""Which models leave for another one, so that all together stay below a limit."""

import time
from collections.abc import Iterable
from typing import NamedTuple

from akidb_embeddings.errors import MemoryLimitError
from akidb_embeddings.pool.slot import Slot

_PATIENCE = 1.0
"""Seconds for which a model waits for others to become idle; then the least recently used ones take no more calls."""


class Place(NamedTuple):
    """What a model waits for.

    Attributes:
        slot: The model.
        size: The bytes that it needs.
        since: Since when it waits, in ``time.monotonic`` seconds.
    """

    slot: Slot
    size: int
    since: float

    @property
    def patience(self) -> float:
        """The seconds for which it still waits for others to become idle."""
        return max(0.0, self.since + _PATIENCE - time.monotonic())


def taken(slots: Iterable[Slot], besides: Slot) -> int:
    """The bytes that models take besides one."""
    return sum(slot.reserved for slot in slots if slot is not besides)


def leaving_for(place: Place, slots: Iterable[Slot], limit: float) -> list[Slot]:
    """The loaded models that are to leave for another one now: the least recently used first, as few as suffice.

    Idle ones leave at once; ones that are in use only if the other has waited for long, and once their calls are done.

    Returns:
        The models; empty if it has to wait, or if enough are leaving already.

    Raises:
        MemoryLimitError: It does not fit beside the pinned models, whatever leaves.
    """
    others = [slot for slot in slots if slot is not place.slot]
    staying = [slot for slot in others if slot.state != "unloading" and not slot.is_removed]
    pinned = sum(slot.reserved for slot in staying if slot.model.pinned)
    if pinned + place.size > limit:
        raise _does_not_fit(place, pinned, int(limit))
    missing = place.size + sum(slot.reserved for slot in staying) - limit
    loaded = sorted((slot for slot in staying if slot.state == "loaded"), key=lambda slot: slot.last_use)
    may_leave = [slot for slot in loaded if not slot.model.pinned and (slot.is_idle or not place.patience)]
    chosen: list[Slot] = []
    for slot in sorted(may_leave, key=lambda slot: slot.users > 0):
        if missing <= 0:
            break
        chosen.append(slot)
        missing -= slot.reserved
    return chosen if missing <= 0 else []


def in_bytes(size: float) -> str:
    """A number of bytes with its unit: "512.0 MB", "2.40 GB"."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _does_not_fit(place: Place, pinned: int, limit: int) -> MemoryLimitError:
    beside = f", of which pinned models take {in_bytes(pinned)}" if pinned else ""
    return MemoryLimitError(
        field="max_memory",
        limit=limit,
        reason=f"is {in_bytes(limit)}{beside}; {place.slot.name} needs {in_bytes(place.size)}.",
        model=place.slot.name,
        needed=place.size,
        taken=pinned,
    )
