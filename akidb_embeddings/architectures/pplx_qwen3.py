"""Qwen3 that sees both ways, as in pplx-embed (Perplexity, 2026)."""

from akidb_embeddings.architectures import Config, Encoder
from akidb_embeddings.architectures.qwen3 import Qwen3
from akidb_embeddings.kernels import Kernels
from akidb_embeddings.weights import Weights


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Qwen3(config, weights, kernels, is_causal=False)
