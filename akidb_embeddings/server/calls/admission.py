"""Which requests are handled, and what becomes of them: limits for all clients together, errors, counts."""

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator, Sequence

from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.engine.statistics import Statistics
from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind, api_error
from akidb_embeddings.server.observability.metrics import Metrics


class Admission:
    """The limits that hold for all requests of any kind, and the requests in flight.

    Attributes:
        draining: Whether the server is shutting down, and takes no more requests.
    """

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self.config, self.metrics = config, metrics
        self.draining = False
        self._tasks: set[asyncio.Task[object]] = set()
        self._is_cancelling = False

    @property
    def in_flight(self) -> int:
        """How many requests are computed or wait."""
        return len(self._tasks)

    def cancel_requests(self) -> None:
        """Fail the requests in flight: the server ends before they are done."""
        self._is_cancelling = True
        for task in self._tasks:
            task.cancel()

    @contextlib.contextmanager
    def handling(self, protocol: str) -> Iterator[None]:
        """Admit a request, and count what becomes of it.

        Raises:
            ApiError: The request failed, for any reason.
        """
        begin = time.monotonic()
        label = "cancelled"
        try:
            with self._admitted():
                yield
            label = "ok"
        except Exception as error:  # whatever fails, the client gets an error with a kind
            response_error = api_error(error)
            label = response_error.kind.label
            if response_error is error:
                raise
            raise response_error from error
        finally:
            self.metrics.count_request(protocol, label, time.monotonic() - begin)

    def seconds(self, given: float | None) -> float:
        """The timeout of a request: the client's, or the configured time if that is less."""
        limit = self.config.request_seconds
        return limit if given is None else min(given, limit)

    def check_count(self, field: str, count: int) -> None:
        """Check how many texts a request has.

        Raises:
            ApiError: It has more than ``max_texts``.
        """
        limit = self.config.max_texts
        if count > limit:
            message = f"There are {count} texts; max_texts is {limit} per request."
            raise ApiError(ErrorKind.INVALID, message, field=field, limit=limit)

    def check_characters(self, field: str, texts: Sequence[str]) -> None:
        """Check how long texts are, of which models read no more than the beginning.

        Raises:
            ApiError: One has more than ``max_text_characters``.
        """
        limit = self.config.max_text_characters
        for index, text in enumerate(texts):
            if len(text) > limit:
                raise ApiError(
                    ErrorKind.INVALID,
                    field=field,
                    index=None if field == "query" else index,
                    limit=limit,
                    reason=f"has {len(text)} characters; max_text_characters is {limit}. Split it, or send less of it.",
                )

    def check_repeated(self, noun: str, text: str, count: int) -> None:
        """Check a query or prompt that is read once for each of ``count`` texts, as if it were sent so often.

        Raises:
            ApiError: It is longer than ``max_body_bytes`` then.
        """
        limit = self.config.max_body_bytes
        if len(text) * count > limit:
            message = f"The {noun} is read once for each of the {count} texts, and is longer than max_body_bytes then, "
            raise ApiError(ErrorKind.TOO_LARGE, f"{message}{limit}.", field="max_body_bytes", limit=limit)

    def check_queue(self, statistics: Statistics) -> None:
        """Check that a model's queue moves.

        Raises:
            ApiError: A request has waited for longer than ``max_queue_seconds``.
        """
        age, oldest = statistics.waiting_seconds, self.config.max_queue_seconds
        if age > oldest:
            raise ApiError(
                ErrorKind.OVERLOADED,
                f"Requests have waited for {age:.1f} s already; max_queue_seconds is {oldest:g}.",
                field="max_queue_seconds",
                limit=oldest,
                retry_after=max(1, math.ceil(age - oldest)),
            )

    @contextlib.contextmanager
    def _admitted(self) -> Iterator[None]:
        """Count the current task among the requests in flight.

        Raises:
            ApiError: There are too many of them, or the server is shutting down.
        """
        if self.draining:
            raise ApiError(ErrorKind.UNAVAILABLE, "The server is shutting down.", retry_after=1)
        limit = self.config.max_concurrent_requests
        if self.in_flight >= limit:
            raise ApiError(
                ErrorKind.OVERLOADED,
                f"{self.in_flight} requests are in flight already; max_concurrent_requests is {limit}.",
                field="max_concurrent_requests",
                limit=limit,
                retry_after=1,
            )
        task = asyncio.current_task()
        assert task is not None  # every protocol gives each request a task of its own
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_cancelling:
                raise
            task.uncancel()
            reason = "The server is shutting down, and could not wait for this request any longer."
            raise ApiError(ErrorKind.UNAVAILABLE, reason, retry_after=1) from None
        finally:
            self._tasks.discard(task)
