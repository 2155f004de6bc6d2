"""How close vectors are to the golden ones. ``python -m tests.gpu.goldens NAME …``: with ``compute: strict``, as JSON.

A process of its own, because MLX decides at its first product whether it rounds.
"""

import json
import sys
from typing import Any

import numpy as np

from akidb_embeddings import EmbeddingService
from tests.architectures.test_parity import LIMITS
from tests.fixtures import TINY, cosines, golden, model_path
from tests.golden.texts import DOCUMENTS, QUERIES, TEXTS
from tests.gpu.device import STAND_IN, prepare_program

NAMES = (*TINY, "tiny-pplx")
# How many texts are also embedded alone, and the longest text in characters.
_ALONE, _LONGEST = (4, 300) if STAND_IN else (24, 1_000_000)


def lowest_cosines(name: str, **options: Any) -> dict[str, float]:
    """The lowest cosines of a model's vectors to the golden ones, and of texts alone to the same texts in a batch."""
    places = [place for place, text in enumerate(TEXTS) if len(text) <= _LONGEST]
    if name == "tiny-pplx":
        places.remove(0)  # it has no token for an empty text
    texts = [TEXTS[place] for place in places]
    with EmbeddingService(str(model_path(name)), max_tokens=LIMITS[name], warm_up=False, **options) as service:
        vectors = service.embed(texts)
        queries, documents = service.embed_queries(QUERIES), service.embed_documents(DOCUMENTS)
        alone = np.concatenate([service.embed([text]) for text in texts[:_ALONE]])
    expected = golden(name)
    return {
        "texts": float(cosines(vectors, expected["texts"][places]).min()),
        "queries": float(cosines(queries, expected["queries"]).min()),
        "documents": float(cosines(documents, expected["documents"]).min()),
        "alone": float(cosines(vectors[:_ALONE], alone).min()),
    }


if __name__ == "__main__":
    prepare_program()
    for chosen_name in sys.argv[1:] or NAMES:
        sys.stdout.write(json.dumps({"model": chosen_name, **lowest_cosines(chosen_name, compute="strict")}) + "\n")
