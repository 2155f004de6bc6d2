"""A registry entry of a tiny reranker, with a card from its golden scores."""

from typing import Any

import numpy as np

from akidb_embeddings.registry import RerankerSpec, RerankExample
from tests.fixtures import golden
from tests.golden.pairs import PAIRS

# Pairs of one query.
PLACES = (60, 62, 65, 66, 74, 75)


def golden_card(name: str, activation: str = "identity") -> RerankExample:
    """What the authors of a tiny model would have published, in float32."""
    found = golden(name)["logits" if activation == "identity" else "scores"]
    return RerankExample(
        query=PAIRS[PLACES[0]][0],
        documents=tuple(PAIRS[place][1] for place in PLACES),
        scores=tuple(float(np.ravel(found[place])[0]) for place in PLACES),
        source="https://example.org/tiny",
        activation=activation,
    )


def known(name: str, **facts: Any) -> RerankerSpec:
    """The entry of a tiny model, under the name "tiny"."""
    given = {
        "architecture": "",
        "weights": "float32",
        "license": "MIT",
        "size_bytes": 1,
        "description": "",
        "languages": "English",
        "card": golden_card(name),
    }
    return RerankerSpec(name="tiny", repo="org/tiny", **{**given, **facts})
