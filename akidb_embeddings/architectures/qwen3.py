"""Qwen3: causal decoder with grouped-query attention, per-head norms of q and k, RoPE (Qwen team, 2025)."""

from akidb_embeddings.architectures import Encoder
from akidb_embeddings.architectures.decoder import Decoder, Traits
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Decoder(config, weights, kernels, Traits(causal=True, head_norms=True))
