"""The forward passes: one file each, named in ``registry/architectures.py``, and nothing else.

A module has ``build(config, weights, kernels) -> Encoder``. ``parts`` holds the blocks that several of them share,
``masks`` the attention masks.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Architecture, Config

Encoder = Callable[[mx.array, NDArray[np.int32]], mx.array]
"""(ids int32 ``[B, L]`` padded on the right, lengths int32 ``[B]``) -> hidden states ``[B, L, hidden]``."""


def build_encoder(architecture: Architecture, config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    """The forward pass of an architecture, with its weights taken from ``weights``."""
    module: Any = importlib.import_module(f"{__name__}.{architecture.module}")
    encoder: Encoder = module.build(config, weights, kernels)
    return encoder
