"""Qwen3 with bidirectional attention, as in pplx-embed (Perplexity, 2026)."""

from akidb_embeddings.architectures import Encoder
from akidb_embeddings.architectures.decoder import Decoder, Traits
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Decoder(config, weights, kernels, Traits(head_norms=True))
