"""OpenTelemetry, if its packages are installed. Its own environment variables configure the export."""

import functools
from typing import Any

from fastapi import FastAPI

from akidb_embeddings.extras import is_installed

# Monitoring calls these every few seconds, and single calls are of no interest.
_HEALTH = "/livez$,/readyz$,/health$,/metrics$"


def trace(app: FastAPI) -> None:
    """Create a span for each request, if ``opentelemetry-instrumentation-asgi`` is installed and spans go anywhere.

    Without a tracer provider, which ``opentelemetry-instrument`` sets, it would cost a third of a millisecond for
    nothing. It is added as a middleware, which newer FastAPIs detect; if it wrapped the application, they would add
    their own.
    """
    if not is_installed("opentelemetry.instrumentation.asgi") or not _has_provider():
        return
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    app.add_middleware(OpenTelemetryMiddleware, excluded_urls=_HEALTH, exclude_spans=["receive", "send"])


def trace_id() -> str | None:
    """The id of the trace that the request belongs to; None if there is none, or nothing is traced."""
    if not is_traced():
        return None
    from opentelemetry import trace as api

    context = api.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


@functools.cache
def is_traced() -> bool:
    """Whether OpenTelemetry's API is there."""
    return is_installed("opentelemetry.trace")


def interceptors(service: str) -> list[Any]:
    """Interceptors that create a span for each call of a gRPC service.

    Other services have none: health is called all the time, and the interceptor would break its ``Watch``.

    Args:
        service: The full name of the service.

    Returns:
        The interceptors; empty if ``opentelemetry-instrumentation-grpc`` is not installed, or no tracer provider is
        set.
    """
    if not is_installed("opentelemetry.instrumentation.grpc") or not _has_provider():
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

    make: Any = aio_server_interceptor  # has no types
    return [make(filter_=filters.service_name(service))]


def _has_provider() -> bool:
    """Whether something records spans."""
    from opentelemetry import trace as api

    return not isinstance(api.get_tracer_provider(), api.ProxyTracerProvider)
