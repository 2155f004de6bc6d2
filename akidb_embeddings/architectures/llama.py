"""Llama that attends both ways (NVIDIA, 2025), and EuroBERT, which is such a Llama (Boizard et al., 2025)."""

from akidb_embeddings.architectures import Encoder
from akidb_embeddings.architectures.decoder import Decoder, Traits, with_head_sizes
from akidb_embeddings.checkpoint.arguments import supported
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    supported(config, "clip_qkv", None, None)
    supported(config, "is_decoder", False, False, None)
    eps = 1e-5 if config.get("model_type") == "eurobert" else 1e-6
    return Decoder(with_head_sizes(config), weights, kernels, Traits(eps=eps))
