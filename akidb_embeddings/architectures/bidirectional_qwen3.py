"""Qwen3 that attends both ways, and as in voyage-4-nano (Voyage AI, 2026), with a linear layer after it."""

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.architectures.decoder import Decoder, Traits
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.layers import Linear
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config, projected


class Projected:
    """A decoder whose hidden states go through a linear layer."""

    def __init__(self, decoder: Encoder, linear: Linear) -> None:
        self.decoder, self.linear = decoder, linear

    def __call__(self, texts: Inputs) -> mx.array:
        return self.linear(self.decoder(texts))


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    decoder, outputs = Decoder(config, weights, kernels, Traits(head_norms=True)), projected(config)
    if outputs is None:
        return decoder
    return Projected(decoder, weights.linear("linear", config["hidden_size"], outputs, bias=False))
