"""What the doctor finds, with one finding per cause."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

FindingStatus = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The finding of one examination.

    Attributes:
        name: What was examined.
        status: ``fail`` if something is wrong, ``warn`` if it works but could be better, else ``ok``.
        text: What was found, in words.
        remedy: What to do about it; "" if nothing.
        causes: What made the examination fail, as ``cause_of`` names it.
    """

    name: str
    status: FindingStatus
    text: str
    remedy: str = ""
    causes: tuple[str, ...] = field(default=(), compare=False)


class Result(NamedTuple):
    """What an examination found: a ``Finding`` without its name."""

    status: FindingStatus
    text: str
    remedy: str = ""
    causes: tuple[str, ...] = ()


def cause_of(error: BaseException) -> str:
    """The first error behind this one, equal for all errors that it led to: a missing package's name, or its text."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ModuleNotFoundError) and error.name:
        return error.name.partition(".")[0]
    return str(error)


def once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings, with one cause told once: what failed for an earlier finding's cause only refers to that one."""
    told: dict[str, str] = {}
    for finding in findings:
        first = next((told[cause] for cause in finding.causes if cause in told), None)
        if first is None:
            told |= dict.fromkeys(finding.causes, finding.name)
            yield finding
        else:
            yield replace(finding, status="warn", text=f"not examined, for the same reason: see {first}", remedy="")
