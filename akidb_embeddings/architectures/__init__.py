"""The forward passes, one file per architecture, named in ``registry/architectures.py``.

Each module has ``build(config, weights, kernels) -> Encoder``. ``parts`` holds the layers that several architectures
share.
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

Encoder = Callable[[mx.array, NDArray[np.int32], mx.array | None], mx.array]
"""Token ids and their lengths to hidden states, as ``encoder(ids, lengths, tokens)``.

``ids`` are int32 [B, L], padded on the right; ``lengths`` int32 [B]. The hidden states are [B, L, hidden_size]; or
[B, 1, hidden_size], those of the token ``tokens`` [B] of each text, if ``tokens`` is not None.
"""


def build_encoder(architecture: Architecture, config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    """The forward pass of an architecture.

    Args:
        architecture: The architecture.
        config: config.json, with canonical keys.
        weights: The checkpoint's tensors; those that the architecture uses are removed.
        kernels: The functions for the device.

    Raises:
        CheckpointError: A setting is missing or not supported, or a tensor is missing or has another shape.
    """
    module: Any = importlib.import_module(f"{__name__}.{architecture.module}")
    encoder: Encoder = module.build(config, weights, kernels)
    return encoder
