"""OpenAI's shape of the same, for its clients."""

import time
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from akidb_embeddings.server import shapes
from akidb_embeddings.server.answering import answered, body_of, desk_of, json_response, refusals
from akidb_embeddings.server.desk import Answer, Question
from akidb_embeddings.server.refusal import Kind, Refusal
from akidb_embeddings.vectors.precision import to_base64

ROUTER = APIRouter(prefix="/v1", tags=["openai"])
_STARTED = int(time.time())


@ROUTER.post(
    "/embeddings",
    response_model=shapes.OpenAIAnswer,
    responses=refusals(400, 401, 404, 413, 422, 429, 500, 503, 504, shape=shapes.OpenAIErrorBody),
    openapi_extra=body_of(shapes.OpenAIRequest),
)
async def embeddings(request: Request) -> Response:
    """Vectors as OpenAI's `embeddings.create` gives them. Token ids are refused: they are of another vocabulary."""
    asked = shapes.parse(await request.body(), shapes.OpenAIRequest)
    texts = [asked.input] if isinstance(asked.input, str) else _texts(asked.input)
    answer = await answered(request, Question(texts, model=asked.model, dimensions=asked.dimensions), "openai")
    return await json_response(_body(answer, asked.encoding_format == "base64"), answer)


@ROUTER.get(
    "/models", response_model=shapes.OpenAIModels, responses=refusals(401, 413, 500, shape=shapes.OpenAIErrorBody)
)
async def models(request: Request) -> Response:
    """The models that are served."""
    data = [
        {"id": name, "object": "model", "created": _STARTED, "owned_by": "akidb"} for name in desk_of(request).services
    ]
    return Response(orjson.dumps({"object": "list", "data": data}), media_type="application/json")


def _texts(given: list[str] | list[int] | list[list[int]]) -> list[str]:
    """The texts. Refusal: these are token ids, as langchain-openai sends them unless told otherwise."""
    texts = [item for item in given if isinstance(item, str)]
    if len(texts) < len(given):
        raise Refusal(
            Kind.MALFORMED,
            "input holds token ids. They are of OpenAI's vocabulary, not of this model's, and would give wrong "
            "vectors: send texts. In langchain-openai, set check_embedding_ctx_length=False.",
            field="input",
        )
    if not texts:
        raise Refusal(Kind.INVALID, "input is empty; one text or more is wanted.", field="input")
    return texts


def _body(answer: Answer, as_base64: bool) -> dict[str, Any]:
    tokens = sum(answer.token_counts)
    rows = to_base64(answer.vectors) if as_base64 else answer.vectors
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": answer.model, "data": data, "usage": usage}
