"""Sizes of memory, as people write them."""

import re

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]I?B)?", re.IGNORECASE)


def parse_size(value: int | str) -> int | None:
    """The number of bytes of a size such as 4000000000, "4GB" or "3.5 GiB"; None if it is none, or below one byte."""
    if isinstance(value, int):
        return value if value >= 1 else None
    match = _SIZE.fullmatch(value.strip())
    if match is None or (match[2] or "").upper() not in _UNITS:
        return None
    return int(float(match[1]) * _UNITS[(match[2] or "").upper()]) or None
