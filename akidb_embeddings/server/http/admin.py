"""Loading and unloading models by name, for those who run the server."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from akidb_embeddings.server.http import schemas
from akidb_embeddings.server.http.responses import (
    ANY_REQUEST,
    describe_errors,
    describe_path_parameter,
    handler_of,
    json_response,
)

PREFIX = "/models/"
"""What the paths begin with that need an admin key."""

ROUTER = APIRouter(tags=["models"])
_RESPONSES = describe_errors(*ANY_REQUEST, 403, 404, 422, 429, 503)
_PATH = describe_path_parameter("name", "A name that `/v1/models` lists.")


# Names may have slashes.
@ROUTER.post("/models/{name:path}/load", response_model=schemas.ModelState, responses=_RESPONSES, openapi_extra=_PATH)
async def load(request: Request) -> Response:
    """Load a model, unless it is loaded. It needs an admin key."""
    handler, name = handler_of(request), request.path_params["name"]
    with handler.handling("admin"):
        async with handler.models.use(name, handler.config.request_seconds):
            pass
    return json_response(handler.models.one(name))


@ROUTER.post("/models/{name:path}/unload", response_model=schemas.ModelState, responses=_RESPONSES, openapi_extra=_PATH)
async def unload(request: Request) -> Response:
    """Unload a model once the requests that use it are done. The next request for it loads it again.

    It needs an admin key.
    """
    handler, name = handler_of(request), request.path_params["name"]
    with handler.handling("admin"):
        await handler.models.unload(name, handler.config.request_seconds)
    return json_response(handler.models.one(name))
