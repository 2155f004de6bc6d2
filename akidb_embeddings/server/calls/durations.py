"""How long a model is to stay loaded, as clients write it: seconds, or a duration such as "5m" or "1h30m"."""

import math
import re

from akidb_embeddings.errors import InputError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"(?:\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})"
_PART = re.compile(rf"({_NUMBER})({'|'.join(_UNITS)})(?![a-zµμ])", re.ASCII)
_DURATION = re.compile(rf"(?P<sign>[+-]?)(?:(?P<seconds>{_NUMBER})|(?:{_NUMBER}(?:{'|'.join(_UNITS)}))+)", re.ASCII)


def keep_alive_seconds(given: float | str | None) -> float | None:
    """The seconds of a ``keep_alive``; infinity for ever, which is any negative one; None for the server's default.

    Raises:
        InputError: It is neither a number nor a duration.
    """
    if given is None:
        return None
    seconds = _seconds(given) if isinstance(given, str) else float(given)
    if math.isnan(seconds):
        raise InputError(
            field="keep_alive",
            reason=f"is {str(given)[:100]!r}; give a number of seconds, or a duration such as '5m' or '1h30m'; a "
            "negative one is for ever.",
        )
    return math.inf if seconds < 0 else seconds


def _seconds(text: str) -> float:
    """The seconds of a duration; NaN if it is none."""
    found = _DURATION.fullmatch(text) if len(text) <= 100 else None
    if found is None:
        return math.nan
    total = (
        float(found["seconds"])
        if found["seconds"]
        else sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    )
    return -total if found["sign"] == "-" else total
