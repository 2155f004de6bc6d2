"""What Text Embeddings Inference tells of itself, beside what this library does."""

from typing import Any

from akidb_embeddings.server.calls.handler import Handler


def tei_info(handler: Handler) -> dict[str, Any]:
    """Text Embeddings Inference's ``/info``: of the first embedding model, or else of the first reranker."""
    found, limits = handler.info(), handler.config.limits
    [model, *_] = found["models"] or found["rerankers"]
    return {
        "model_id": model["name"],
        "model_sha": None,
        "model_type": {"embedding": {"pooling": model["pooling"]}} if found["models"] else {"reranker": {}},
        "max_input_length": model["max_tokens"],
        "max_client_batch_size": limits["max_texts"],
        "max_batch_tokens": limits["max_queued_tokens"],
        "max_concurrent_requests": limits["max_concurrent_requests"],
        "auto_truncate": None if model["truncate"] is None else model["truncate"] == "end",
    }
