"""Loads model folders, one a line of standard input, and prints what happened, one JSON object a line.

A folder called "reranker" is loaded as one.
"""

import json
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.errors import EmbeddingError

TEXTS = [
    "a",
    "A longer text, with é, 中, \U0001f600 and (12.5) numbers.",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa " * 3,
]


def outcome(folder: str) -> str:
    """What a folder gives: "vectors" or "scores", one of this library's errors, or the traceback of another one."""
    try:
        if Path(folder).name == "reranker":
            with RerankService(folder) as reranker:
                reranker.score(list(zip(TEXTS, reversed(TEXTS), strict=True)))
                reranker.rerank(TEXTS[0], TEXTS, max_over_passages=True)
            return "scores"
        with EmbeddingService(folder) as service:
            service.encode(TEXTS)
            service.embed_query(TEXTS[0])
            service.token_offsets(TEXTS[1])
            service.fingerprint()
        return "vectors"
    except EmbeddingError as error:
        return f"{type(error).__name__}: {error!s:.300}"
    except BaseException:
        return traceback.format_exc()


def report(folder: str) -> dict[str, Any]:
    """The outcome, the seconds of CPU time, and the largest memory so far in bytes."""
    began = time.process_time()
    found = outcome(folder)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"outcome": found, "seconds": time.process_time() - began, "memory": memory}


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(report(json.loads(line))) + "\n")
        sys.stdout.flush()
