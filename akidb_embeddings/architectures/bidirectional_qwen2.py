"""Qwen2 that attends both ways: a Llama with biases of queries, keys and values."""

from akidb_embeddings.architectures import Encoder
from akidb_embeddings.architectures.decoder import Decoder, Traits, with_head_sizes
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Decoder(with_head_sizes(config), weights, kernels, Traits(qkv_bias=True))
