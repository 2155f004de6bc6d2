"""The forward passes, one file per architecture, named in ``registry/architectures.py``.

Each module has ``build(config, weights, kernels) -> Encoder``. ``parts`` holds the layers that several architectures
share, ``heads`` what makes scores of hidden states, ``sparse_heads`` what makes sparse weights.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Architecture, Config


class Inputs(NamedTuple):
    """The texts of a micro-batch.

    Attributes:
        ids: Token ids, int32 [B, L], padded on the right.
        lengths: The number of tokens of each text that others attend to, int32 [B]: all but its padding.
        tokens: The token of each text whose hidden state is needed, int32 [B]; None for all.
        types: Token types, int32 [B, L]: 1 in the second part of a pair. None where every token has type 0.
    """

    ids: mx.array
    lengths: NDArray[np.int32]
    tokens: mx.array | None = None
    types: mx.array | None = None

    @property
    def width(self) -> int:
        """L, padding included."""
        return int(self.ids.shape[1])


Encoder = Callable[[Inputs], mx.array]
"""Texts to hidden states: [B, L, hidden_size], or [B, 1, hidden_size] of ``Inputs.tokens`` if they are given."""


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
