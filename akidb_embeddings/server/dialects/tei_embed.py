"""Hugging Face's Text Embeddings Inference: its routes for vectors. The path ``/embed`` is this library's own, too."""

import re

from fastapi import APIRouter, Request
from fastapi.responses import Response

from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind
from akidb_embeddings.server.calls.embed_call import EmbedCall
from akidb_embeddings.server.calls.truncation import describe_truncation, truncation_headers
from akidb_embeddings.server.dialects import rest, tei
from akidb_embeddings.server.dialects.inputs import texts_of
from akidb_embeddings.server.dialects.tei_schemas import TeiEmbedRequest, TeiErrorBody
from akidb_embeddings.server.http import schemas
from akidb_embeddings.server.http.responses import (
    ANY_REQUEST,
    Api,
    describe_body,
    describe_errors,
    embed_call,
    read_body,
    vectors_response,
)

ROUTER = APIRouter(tags=["embed"])
_RESPONSES = describe_errors(*ANY_REQUEST, 404, 422, 429, 503, 504, schema=TeiErrorBody) | describe_truncation()
# The names of the arguments for bodies with inputs. Their "truncate" has other values than ours, of which hints speak.
_NAMES = {"texts": "inputs", "prompt": None, "truncate": None}
_TRUNCATE = {None: None, True: "end", False: "error"}
# In valid JSON, a field at any depth: within a string, the quotes would be escaped. Objects of both APIs are flat.
_INPUTS, _TEXTS = re.compile(rb'"inputs"\s*:'), re.compile(rb'"texts"\s*:')


@ROUTER.post(
    "/embed",
    response_model=schemas.EmbedAnswer | list[list[float]],
    responses=_RESPONSES,
    openapi_extra=describe_body(schemas.EmbedRequest, TeiEmbedRequest),
)
async def embed(request: Request) -> Response:
    """Vectors of texts. With `texts`: also token counts, truncation flags and the fingerprint of their space.

    With `inputs`: the vectors alone, as Text Embeddings Inference returns them.
    """
    body = await request.body()
    has_texts, has_inputs = _TEXTS.search(body), _INPUTS.search(body)
    if has_texts and has_inputs:
        message = "The body has both texts and inputs: give texts, or inputs as for Text Embeddings Inference."
        raise ApiError(ErrorKind.INVALID, message, field="inputs")
    if has_inputs:
        return await _embed(request, await read_body(request, TeiEmbedRequest))
    try:
        given = await read_body(request, schemas.EmbedRequest)
    except ApiError as error:
        if has_texts or error.field != "texts":
            raise
        message = "texts is missing: give a list of texts; or inputs, as for Text Embeddings Inference."
        raise ApiError(ErrorKind.INVALID, message, field="texts") from error
    return await rest.embed(request, given)


@ROUTER.post("/", include_in_schema=False)  # as the page, which has the same path
async def embed_at_root(request: Request) -> Response:
    """Vectors of texts as `/embed` returns them for `inputs`, for clients that know a server by its address alone."""
    return await _embed(request, await read_body(request, TeiEmbedRequest))


@ROUTER.post("/embed_all", include_in_schema=False)
@ROUTER.post("/embed_sparse", include_in_schema=False)
async def refuse(request: Request) -> Response:
    """Refuse what Text Embeddings Inference has and this server has not."""
    is_all = request.url.path == "/embed_all"
    what, output = ("Vectors of single tokens", "tokens") if is_all else ("Sparse vectors", "sparse")
    message = (
        f'{what} of models that have them are at POST /embed, in this library\'s own form: with "output": "{output}".'
    )
    raise ApiError(ErrorKind.NOT_FOUND, message)


async def _embed(request: Request, given: TeiEmbedRequest) -> Response:
    side = given.truncation_direction
    call = EmbedCall(
        texts_of(given.inputs, "inputs"),
        model=given.model,
        prompt_name=given.prompt_name,
        dimensions=given.dimensions,
        normalize=True if given.normalize is None else given.normalize,
        truncate=_TRUNCATE[given.truncate],
        truncation_direction=None if side is None else side.lower(),
        names=_NAMES,
    )
    outcome = await embed_call(request, call, "tei")
    return await vectors_response(lambda: outcome.vectors, outcome, truncation_headers(outcome.truncated))


API = Api(ROUTER, tei.error_body)
