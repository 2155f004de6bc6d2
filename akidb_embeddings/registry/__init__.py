"""The models with a short name, as data. ``hub`` finds their files, ``checkpoint`` reads them.

A model's folder takes precedence. The registry fills in what a conversion dropped (pooling, prompts, activation,
maximum length); the dimension is checked against the folder's.

``spec`` has the entries, ``berts``, ``encoders``, ``long_encoders``, ``decoders``, ``bidirectional``, ``static_models``
and ``rerankers`` the models, ``cards`` what their authors published. ``architectures`` has the architectures, of the
form in ``architecture``; ``twins`` and ``named_classes`` say which one a config.json means. ``heads`` has what makes
scores, ``poolings`` and ``outputs`` the names of what texts become, ``tokenizer_classes`` what transformers' tokenizers
add.

Revisions, sizes and prompts are from the models' pages, and from mteb's registry, which pins them.
"""

from collections.abc import Mapping
from types import MappingProxyType

from akidb_embeddings.registry.berts import BERTS
from akidb_embeddings.registry.bidirectional import BIDIRECTIONAL
from akidb_embeddings.registry.decoders import DECODERS
from akidb_embeddings.registry.encoders import ENCODERS
from akidb_embeddings.registry.long_encoders import LONG_ENCODERS
from akidb_embeddings.registry.rerankers import REFUSED, RERANKERS
from akidb_embeddings.registry.spec import AnySpec, CardExample, ModelSpec, RerankerSpec, RerankExample, Spec
from akidb_embeddings.registry.static_models import STATIC_MODELS

__all__ = [
    "BUNDLED",
    "MODELS",
    "REFUSED",
    "RERANKERS",
    "SPECS",
    "AnySpec",
    "CardExample",
    "ModelSpec",
    "RerankExample",
    "RerankerSpec",
    "Spec",
]

MODELS: Mapping[str, ModelSpec] = MappingProxyType(
    {spec.name: spec for spec in (*DECODERS, *BIDIRECTIONAL, *BERTS, *ENCODERS, *LONG_ENCODERS, *STATIC_MODELS)}
)
"""The embedding models."""
SPECS: Mapping[str, Spec] = MappingProxyType({**MODELS, **RERANKERS})
"""Both kinds. No name is in both."""
BUNDLED = next(spec.name for spec in MODELS.values() if spec.bundled)
"""The model that is part of this package."""
