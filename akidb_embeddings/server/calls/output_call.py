"""Requests for another output than dense vectors: sparse weights, or token vectors."""

import contextlib
from typing import Any

import numpy as np

from akidb_embeddings.errors import InputError
from akidb_embeddings.registry.outputs import DENSE, TOKENS
from akidb_embeddings.server.calls.embed_call import EmbedCall, EmbedOutcome
from akidb_embeddings.server.calls.embed_options import check_cuts
from akidb_embeddings.server.calls.prompting import chosen_prompt
from akidb_embeddings.service.result import EmbeddingResult
from akidb_embeddings.service.service import EmbeddingService

# What is about dense vectors alone.
_DENSE_OPTIONS = ("pooling", "normalize", "dimensions", "embeddings")


def probe_options(service: EmbeddingService) -> dict[str, Any]:
    """The arguments of ``encode`` by which a model of any output computes something."""
    output = service.outputs[0]
    return {} if output == DENSE else {"output": output, "prompt_name": "query"}


async def answer_output(
    name: str, service: EmbeddingService, call: EmbedCall, seconds: float, load_seconds: float
) -> EmbedOutcome:
    """Compute what a call wants in place of dense vectors.

    Args:
        name: The model's name.
        service: The model.
        call: What is wanted.
        seconds: The time for it.
        load_seconds: How long the request waited for the model.

    Raises:
        EmbeddingError: A text or an option cannot be used, or the time is up.
    """
    output = call.kind
    for option in _DENSE_OPTIONS:
        if getattr(call, option) is not None:
            raise InputError(field=option, reason=f"is for dense vectors; leave it out of a request for {output!r}.")
    check_cuts(call, service)
    changed = call.truncate not in (None, service.config.truncate)
    with service.with_options(truncate=call.truncate) if changed else contextlib.nullcontext(service) as chosen:
        prompt: dict[str, Any] = {**chosen_prompt(chosen, call)}
        result = await chosen.aencode(call.texts, timeout=seconds, precision=call.form, output=output, **prompt)
    assert not isinstance(result, EmbeddingResult)  # the output is another
    return EmbedOutcome(
        model=name,
        dimension=service.dimension if output == TOKENS else int(service.checkpoint.config["vocab_size"]),
        precision=call.form,
        vectors=np.empty((0, 0), dtype=np.float32),
        token_counts=result.token_counts,
        truncated=result.truncated,
        fingerprint=result.fingerprint,
        timings=result.timings,
        output=output,
        texts=result.vectors,
        load_seconds=load_seconds,
        limit=service.token_limit(output=output, prompt_name=prompt.get("prompt_name")),
    )
