"""The models known by a short name. Data only; ``hub`` finds their files, ``checkpoint`` reads them.

The folder of a model always has the last word: what stands here fills in what a conversion dropped (pooling, prompts,
maximum length) and is checked against the folder where both speak (dimension).

Revisions, sizes and prompts are from the models' own pages, and from the registry of mteb, which pins them.
"""

from collections.abc import Mapping
from types import MappingProxyType

from akidb_embeddings.registry.berts import BERTS
from akidb_embeddings.registry.decoders import DECODERS
from akidb_embeddings.registry.encoders import ENCODERS
from akidb_embeddings.registry.spec import CardExample, ModelSpec

__all__ = ["BUNDLED", "MODELS", "CardExample", "ModelSpec"]

MODELS: Mapping[str, ModelSpec] = MappingProxyType({spec.name: spec for spec in (*DECODERS, *BERTS, *ENCODERS)})
BUNDLED = next(spec.name for spec in MODELS.values() if spec.bundled)
"""The model that is always there."""
