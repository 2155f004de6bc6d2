"""The pooling modes, one line each: what they are called here and in a model's files.

``compute/pooling.py`` has a function for each of them.
"""

from collections.abc import Mapping
from typing import NamedTuple


class PoolingMode(NamedTuple):
    """What sentence-transformers calls a mode in ``1_Pooling/config.json``.

    Attributes:
        name: The value of ``pooling_mode``, which it writes since 6.0.
        flag: The key that earlier releases set to true.
    """

    name: str
    flag: str


POOLING_MODES: Mapping[str, PoolingMode] = {
    "mean": PoolingMode("mean", "pooling_mode_mean_tokens"),
    "cls": PoolingMode("cls", "pooling_mode_cls_token"),
    "last": PoolingMode("lasttoken", "pooling_mode_lasttoken"),
}
POOLINGS = tuple(POOLING_MODES)
"""What ``pooling`` may be, beside "auto"."""
