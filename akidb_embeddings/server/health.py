"""Whether the server should get requests: looked at where models are busy, tried where they were idle or failed."""

import asyncio

from akidb_embeddings.errors import EmbeddingError
from akidb_embeddings.server.desk import Desk
from akidb_embeddings.service import EmbeddingService

_PROBE = ["Is it ready?"]
_PROBE_SECONDS = 10.0


class Health:
    """The readiness of a desk's models."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._failures = dict.fromkeys(desk.services, 0)  # forward passes that had failed when one succeeded
        self._probing = {name: asyncio.Lock() for name in desk.services}

    async def problems(self) -> list[str]:
        """Why requests should go elsewhere; nothing if they may come."""
        if self._desk.draining:
            return ["the server is shutting down"]
        found = [await self._problem(name, service) for name, service in self._desk.services.items()]
        return [problem for problem in found if problem]

    async def _problem(self, name: str, service: EmbeddingService) -> str:
        statistics = service.statistics
        if not statistics.running:
            return f"{name}: its thread died{' and is restarted' if service.alive else ' for good'}"
        idle = statistics.idle_seconds > self._desk.config.probe_seconds and not statistics.waiting_tokens
        if not idle and statistics.failures == self._failures[name]:
            return ""
        async with self._probing[name]:  # many who ask at once cause one computation
            statistics = service.statistics
            if statistics.idle_seconds <= self._desk.config.probe_seconds and statistics.failures == self._failures[name]:
                return ""
            try:
                await service.aencode(_PROBE, timeout=_PROBE_SECONDS)
            except EmbeddingError:
                return f"{name}: a trial computation failed"
            self._failures[name] = statistics.failures
        return ""
