"""OpenTelemetry, where its packages are installed; without them, nothing. Its own variables say what is exported."""

from typing import Any

from fastapi import FastAPI

from akidb_embeddings.extras import is_installed

# Asked every few seconds by whatever watches the server, and of no interest one by one.
_HEALTH = "/livez$,/readyz$,/metrics$"


def trace(app: FastAPI) -> None:
    """Make a span for each request, if ``opentelemetry-instrumentation-asgi`` is installed.

    It is a middleware of the application, where newer FastAPIs see it; around the application, they would add theirs.
    """
    if not is_installed("opentelemetry.instrumentation.asgi"):
        return
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    app.add_middleware(OpenTelemetryMiddleware, excluded_urls=_HEALTH, exclude_spans=["receive", "send"])


def interceptors(service: str) -> list[Any]:
    """The same for calls of this gRPC service, if ``opentelemetry-instrumentation-grpc`` is installed.

    Not for others: health is asked all the time, and what wraps its ``Watch`` would break it.
    """
    if not is_installed("opentelemetry.instrumentation.grpc"):
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

    make: Any = aio_server_interceptor  # has no types
    return [make(filter_=filters.service_name(service))]
