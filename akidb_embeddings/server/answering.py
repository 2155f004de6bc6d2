"""What every HTTP endpoint does: ask the desk, notice that the client left, write JSON, describe itself."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import orjson
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel

from akidb_embeddings.server import shapes
from akidb_embeddings.server.desk import Answer, Desk, Question
from akidb_embeddings.server.gate import ClientLeftError
from akidb_embeddings.server.refusal import Kind

T = TypeVar("T")

KINDS = {kind.status: kind for kind in Kind}
# Vectors of more numbers than this are written as JSON on another thread.
_MANY_NUMBERS = 200_000


def desk_of(request: Request) -> Desk:
    """The desk that a request goes to."""
    desk: Desk = request.app.state.desk
    return desk


async def answered(request: Request, question: Question, protocol: str) -> Answer:
    """The desk's answer; if the client leaves before it is there, its texts leave the queue."""
    answer = await _while_connected(request, desk_of(request).answer(question, protocol))
    request.state.facts.update(model=answer.model, texts=len(question.texts), tokens=sum(answer.token_counts))
    return answer


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(request.receive())  # after the body, the next message is that the client left
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientLeftError
    finally:
        leaving.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # it came to an end of its own; asyncio complains of errors that nobody looked at


async def json_response(body: dict[str, Any], answer: Answer) -> Response:
    """The body as JSON. Its arrays are written with the digits that give back the same float32."""
    write = orjson.dumps
    options = orjson.OPT_SERIALIZE_NUMPY
    is_large = answer.vectors.size > _MANY_NUMBERS
    content = await asyncio.to_thread(write, body, None, options) if is_large else write(body, None, options)
    return Response(content, media_type="application/json")


def refusals(*statuses: int, shape: type[BaseModel] = shapes.ErrorBody) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries for refusals with these statuses."""
    return {
        status: {"model": shape, "description": KINDS[status].label.replace("_", " ").capitalize()}
        for status in statuses
    }


def body_of(shape: type[shapes.Body]) -> dict[str, Any]:
    """The OpenAPI entry for a request's body, which the endpoint reads itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": shapes.plain(shape)}}}}
