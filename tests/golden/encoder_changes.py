"""The mistakes a port of the later encoders could make, made to a loaded model of transformers on purpose."""

from typing import Any

import torch
from changes import Change, interleaved_rope, scale_parameters, swapped, theta_10000


def rope_frequencies(theta: float, divisor: float = 1.0) -> Change:
    """Rotary positions of another base, whose frequencies are divided by a number."""

    def change(model: Any) -> None:
        width = 2 * len(model.rotary_emb.inv_freq)
        model.rotary_emb.inv_freq.copy_(theta ** -(torch.arange(0, width, 2) / width) / divisor)

    return change


def tanh_gated(model: Any) -> None:
    for layer in model.layers:
        layer.mlp.act_fn = torch.nn.GELU(approximate="tanh")


ARCTIC_CHANGES: dict[str, Change] = {
    "rope theta 1e4": theta_10000,
    "interleaved rope": interleaved_rope,
    "gate and up swapped": swapped("gate_proj", "up_proj"),
    "queries and values swapped": swapped("q_proj", "v_proj"),
    "no token type": scale_parameters("token_type_embeddings"),
    "no norm biases": scale_parameters("norm.bias"),
    "no biases of queries": scale_parameters("q_proj.bias"),
    "no bias after the MLP": scale_parameters("down_proj.bias"),
}
GTE_CHANGES = ARCTIC_CHANGES | {
    "no scaling": rope_frequencies(20_000.0),
    "scaling of the base alone": rope_frequencies(160_000.0),
    "scaling of the positions alone": rope_frequencies(20_000.0, 8.0),
}
STELLA_CHANGES = ARCTIC_CHANGES | {
    "no scaling": rope_frequencies(160_000.0),
    "scaling of the base alone": rope_frequencies(320_000.0),
}
