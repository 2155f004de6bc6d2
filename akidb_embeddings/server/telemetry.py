"""OpenTelemetry, where its packages are installed; without them, nothing. What it exports is set by its own variables."""

import importlib.util
from typing import Any

from starlette.types import ASGIApp


def traced(app: ASGIApp) -> ASGIApp:
    """The application with a span for each request, if ``opentelemetry-instrumentation-asgi`` is installed."""
    if not _is_there("opentelemetry.instrumentation.asgi"):
        return app
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    return OpenTelemetryMiddleware(app, exclude_spans=["receive", "send"])


def interceptors() -> list[Any]:
    """The same for gRPC, if ``opentelemetry-instrumentation-grpc`` is installed."""
    if not _is_there("opentelemetry.instrumentation.grpc"):
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor

    return [aio_server_interceptor()]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent is missing
        return False
