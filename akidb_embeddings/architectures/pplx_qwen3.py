"""Qwen3 with bidirectional attention, as in pplx-embed (Perplexity, 2026)."""

from akidb_embeddings.architectures import Encoder
from akidb_embeddings.architectures.qwen3 import Qwen3
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Qwen3(config, weights, kernels, is_causal=False)
