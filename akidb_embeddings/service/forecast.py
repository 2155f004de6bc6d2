"""Whether a call can be done by its deadline, before anything is computed for nothing."""

import math
from collections.abc import Iterable, Sequence

from akidb_embeddings.engine.statistics import Statistics
from akidb_embeddings.errors import DeadlineError, OverloadError
from akidb_embeddings.tokenization.tokenizer import Tokenized

# A call is refused only if it would take this many times as long as it has: what is computed last may be faster.
_MARGIN = 1.25
# Begin and end of a text, which do not grow with it.
_SPECIAL_TOKENS = 2
# A call of less than this is never refused: small ones go before large ones.
_SMALL_SECONDS = 1.0


class Forecast:
    """Whether there is time for a call, whose tokens are estimated once, when its first texts are tokenized."""

    def __init__(self, field: str, limit: int) -> None:
        self._field, self._limit = field, limit
        self._count, self._tokens = 0, 0.0

    def check(self, first: Tokenized, lengths: Iterable[int], statistics: Statistics, remaining: float) -> None:
        """``check_time``, given the first texts and, unless that was told before, the characters of all."""
        if not self._count:
            told = list(lengths)
            self._count, self._tokens = len(told), expected_tokens(first, told, self._limit)
        check_time(self._field, self._count, self._tokens, statistics, remaining)


def expected_tokens(first: Tokenized, lengths: Sequence[int], limit: int) -> float:
    """About how many tokens all texts of a call have, rather too few.

    Args:
        first: The first texts, tokenized.
        lengths: The characters of all texts.
        limit: The most tokens that a text keeps.
    """
    found, count = sum(map(len, first.ids)), first.owner(len(first.ids) - 1) + 1
    words = max(0, found - _SPECIAL_TOKENS * count)
    rest = words * sum(lengths[count:]) / max(1, sum(lengths[:count]))
    return found + min(rest, limit * (len(lengths) - count))


def check_time(field: str, count: int, tokens: float, statistics: Statistics, remaining: float) -> None:
    """Check that there is time for a call. Without a recent measurement, there is.

    Args:
        field: What the caller calls the texts.
        count: The number of texts.
        tokens: About how many tokens they have.
        statistics: The engine's.
        remaining: The seconds until the deadline.

    Raises:
        DeadlineError: The call takes much longer than that, even with an empty queue.
        OverloadError: It takes much longer with those that wait before it.
    """
    speed = statistics.tokens_per_second
    if speed is None or remaining <= 0:
        return
    seconds, waiting = tokens / speed, statistics.waiting_tokens / speed
    allowed = _MARGIN * remaining
    if seconds <= _SMALL_SECONDS or seconds + waiting <= allowed:
        return
    figures = f"have about {tokens:.0f} tokens, {seconds:.1f} s of work at {speed:.0f} tokens a second"
    if seconds > allowed:
        most = max(1, math.floor(count * remaining / seconds))
        raise DeadlineError(
            field=field,
            limit=most,
            reason=f"{figures}, and {remaining:.1f} s are left.",
            hint=f"Send at most {most} like these at once, or allow more time.",
        )
    raise OverloadError(
        field=field,
        reason=f"{figures}, after {waiting:.1f} s for what waits already, and {remaining:.1f} s are left.",
        hint="Try again later.",
        retry_after=seconds + waiting - remaining,
    )
