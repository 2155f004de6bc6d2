"""Ministral 3 that attends both ways, as in Nemotron-3-Embed (NVIDIA, 2026): a Llama whose queries grow."""

from akidb_embeddings.architectures import Encoder
from akidb_embeddings.architectures.decoder import Decoder, Traits, with_head_sizes
from akidb_embeddings.checkpoint.arguments import supported
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    supported(config, "sliding_window", None, None)
    supported(config, "attention_bias", False, False, None)
    return Decoder(with_head_sizes(config), weights, kernels, Traits(query_growth=True, eps=1e-5))
