"""Whether the server should get requests: looked at where models are busy, tried where they were idle or in trouble."""

import asyncio

from akidb_embeddings.engine.statistics import Statistics
from akidb_embeddings.errors import DeadlineError, EmbeddingError, OverloadError
from akidb_embeddings.server.handler import Handler
from akidb_embeddings.service.service import EmbeddingService

_PROBE = ["Is it ready?"]
_PROBE_SECONDS = 10.0


class Health:
    """The readiness of a handler's models."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._troubles = dict.fromkeys(handler.services, 0)  # what had gone wrong when a trial succeeded
        self._trials: dict[str, asyncio.Task[str]] = {}

    def losses(self) -> list[str]:
        """Models that will not come back by themselves: only a new process helps."""
        return [f"{name}: its thread died for good" for name, one in self._handler.services.items() if not one.alive]

    async def problems(self) -> list[str]:
        """Why requests should go elsewhere; nothing if they may come."""
        if self._handler.draining:
            return ["the server is shutting down"]
        found = [await self._problem(name, service) for name, service in self._handler.services.items()]
        return [problem for problem in found if problem]

    async def _problem(self, name: str, service: EmbeddingService) -> str:
        statistics = service.statistics
        if not statistics.running:
            return f"{name}: its thread died{' and is restarted' if service.alive else ' for good'}"
        if self._is_proven(name, statistics):
            return ""
        trial = self._trials.get(name)
        if trial is None or trial.done():  # all who ask meanwhile share one computation
            trial = self._trials[name] = asyncio.ensure_future(self._try(name, service))
        return await asyncio.shield(trial)

    async def _try(self, name: str, service: EmbeddingService) -> str:
        troubles = _troubles(service.statistics)
        try:
            await service.aencode(_PROBE, timeout=_PROBE_SECONDS)
        except DeadlineError:
            return f"{name}: a trial computation was not done after {_PROBE_SECONDS:g} s"
        except OverloadError:  # a full queue is no fault, unless nothing leaves it
            waiting = service.statistics.waiting_seconds
            return f"{name}: texts wait for {waiting:.0f} s" if waiting > _PROBE_SECONDS else ""
        except EmbeddingError:
            return f"{name}: a trial computation failed"
        self._troubles[name] = troubles
        return ""

    def _is_proven(self, name: str, statistics: Statistics) -> bool:
        """Whether the model computed something lately, and since its last trouble something that was a trial."""
        lately = statistics.idle_seconds <= self._handler.config.probe_seconds
        return lately and _troubles(statistics) == self._troubles[name]


def _troubles(statistics: Statistics) -> int:
    return statistics.failures + statistics.restarts
