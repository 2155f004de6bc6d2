"""The server over Ray Serve: the routes of ``akidb-embed serve`` on as many replicas as the traffic needs.

From the root of a checkout:

    pip install 'akidb-embeddings[cpu,server,ray]'
    serve run --working-dir deploy --app-dir deploy ray-serve:application model=minilm-l6-v2 cpus=2 max_replicas=8

Each replica is a process with one engine, which batches the texts of all its requests; Ray Serve's own batching would
only add waiting time. gRPC is not included.
"""

import contextlib
from typing import Any

from pydantic import BaseModel, PositiveFloat, PositiveInt
from ray import serve
from ray.serve.config import AutoscalingConfig

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.distributed import keep_to_assigned_cpus
from akidb_embeddings.server.app import create_app
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.server.calls.handler import Handler
from akidb_embeddings.server.calls.health import Health
from akidb_embeddings.server.loading import Settings, open_models
from akidb_embeddings.server.observability.metrics import Metrics


class Arguments(BaseModel, extra="forbid"):
    """The arguments after the name of the application, or under ``args`` of a Serve configuration.

    ``embedding``, ``rerank`` and ``server``: keys of these sections of the configuration file. ``target_requests``:
    requests that a replica should have at once on average. More requests give larger batches and longer waits.
    """

    model: str = "minilm-l6-v2"
    cpus: PositiveInt = 1
    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt = 4
    target_requests: PositiveFloat = 8
    embedding: dict[str, Any] = {}
    rerank: dict[str, Any] = {}
    server: dict[str, Any] = {}


# More than a replica should have on average: a peak waits in its engine, where it is batched, until other replicas run,
# and requests for health and metrics are still accepted.
@serve.deployment(max_ongoing_requests=64, health_check_period_s=10, health_check_timeout_s=30)
@serve.ingress()
class Embeddings:
    """One replica."""

    def __init__(self, embedding: dict[str, Any], rerank: dict[str, Any], server: dict[str, Any]) -> None:
        keep_to_assigned_cpus()
        config = ServerConfig(**server)
        self._open = contextlib.ExitStack()
        settings = Settings(config, EmbeddingConfig(**embedding), RerankConfig(**rerank))
        models = self._open.enter_context(open_models(settings))
        self._handler = Handler(config, models, Metrics(models.pool))
        self._health = Health(self._handler)

    def __serve_build_asgi_app__(self) -> Any:
        """The routes. Ray Serve calls this after the models are loaded."""
        config = self._handler.config
        return create_app(self._handler, ApiKeys.read(config.api_keys_file, config.admin_keys_file))

    async def check_health(self) -> None:
        """Raise if only a new process helps; Ray Serve then replaces this replica."""
        if problems := self._health.liveness_problems():
            raise RuntimeError("; ".join(problems))


def application(arguments: Arguments) -> serve.Application:
    """The application, as ``serve run`` and Serve configurations name it."""
    replicas = AutoscalingConfig(
        min_replicas=arguments.min_replicas,
        max_replicas=arguments.max_replicas,
        target_ongoing_requests=arguments.target_requests,
    )
    deployment = Embeddings.options(ray_actor_options={"num_cpus": arguments.cpus}, autoscaling_config=replicas)
    embedding = {"model_name": arguments.model, **arguments.embedding}
    return deployment.bind(embedding, arguments.rerank, arguments.server)
