"""Liveness and readiness. A model that has been idle, or has failed since, is probed: it computes a vector or score."""

import asyncio
import weakref

from akidb_embeddings.engine.statistics import Statistics
from akidb_embeddings.errors import DeadlineError, EmbeddingError, OverloadError
from akidb_embeddings.pool.model import Service
from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.server.calls.handler import Handler
from akidb_embeddings.server.calls.output_call import probe_options

_PROBE_TEXTS = ["Is it ready?"]
_PROBE_PAIRS = [("a", "b")]  # that no limit is too short for
_PROBE_SECONDS = 10.0


class Health:
    """The health of a handler's models."""

    def __init__(self, handler: Handler) -> None:
        self._handler, self._pool = handler, handler.models.pool
        # The failure counts of models at their last successful probes. A model that is loaded anew begins anew.
        self._probed_failures: weakref.WeakKeyDictionary[Service, int] = weakref.WeakKeyDictionary()
        self._probes: dict[str, asyncio.Task[str]] = {}

    def liveness_problems(self) -> list[str]:
        """The models that cannot recover without a restart of the process."""
        return [f"{name}: its thread has died permanently" for name in self._pool.models if self._is_dead(name)]

    async def readiness_problems(self) -> list[str]:
        """The reasons why the server should get no requests; empty if it is ready. Models may be loaded or not."""
        if self._handler.draining:
            return ["the server is shutting down"]
        found = [await self._problem(name) for name in self._pool.models]
        return [problem for problem in found if problem]

    def _is_dead(self, name: str) -> bool:
        with self._pool.if_loaded(name) as service:  # it is not closed meanwhile, and so dead if it is not alive
            return service is not None and not service.alive

    async def _problem(self, name: str) -> str:
        with self._pool.if_loaded(name) as service:
            if service is None:
                return ""
            statistics = service.statistics
            if not statistics.running:
                return f"{name}: its thread has died{' and is being restarted' if service.alive else ' permanently'}"
            if statistics.warming_up:
                return f"{name}: the GPU is warming up"
            if self._is_proven(service, statistics):
                return ""
        probe = self._probes.get(name)
        if probe is None or probe.done():  # concurrent checks share one probe
            probe = self._probes[name] = asyncio.ensure_future(self._probe(name))
        return await asyncio.shield(probe)

    async def _probe(self, name: str) -> str:
        with self._pool.if_loaded(name) as service:
            return "" if service is None else await self._try(name, service)

    async def _try(self, name: str, service: Service) -> str:
        failures = _failure_count(service.statistics)
        kind = "score" if isinstance(service, RerankService) else "embedding"
        try:
            if isinstance(service, RerankService):
                await service.ascore(_PROBE_PAIRS, timeout=_PROBE_SECONDS)
            else:
                await service.aencode(_PROBE_TEXTS, timeout=_PROBE_SECONDS, **probe_options(service))
        except DeadlineError:
            return f"{name}: a test {kind} was not done after {_PROBE_SECONDS:g} s"
        except OverloadError:  # a full queue is a problem only if nothing leaves it
            waiting = service.statistics.waiting_seconds
            return f"{name}: texts have waited for {waiting:.0f} s" if waiting > _PROBE_SECONDS else ""
        except EmbeddingError:
            return f"{name}: a test {kind} failed"
        self._probed_failures[service] = failures
        return ""

    def _is_proven(self, service: Service, statistics: Statistics) -> bool:
        """Whether the model has computed recently, and a probe has succeeded since its last failure."""
        is_recent = statistics.idle_seconds <= self._handler.config.probe_seconds
        return is_recent and _failure_count(statistics) == self._probed_failures.get(service, 0)


def _failure_count(statistics: Statistics) -> int:
    return statistics.failures + statistics.restarts
