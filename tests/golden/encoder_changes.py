"""The mistakes a port of the later encoders could make, made to a loaded model of transformers on purpose."""

from typing import Any

import torch
from changes import (
    NO_WINDOW,
    Change,
    interleaved_rope,
    scale_parameters,
    set_window,
    shifted_layers,
    swapped,
    swapped_halves,
    tanh_glu,
    theta_10000,
    without_last_norm,
)


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


def theta_of_local_layers(model: Any) -> None:
    """ModernBERT's own base in the layers with a window."""
    width = 2 * len(model.rotary_emb.sliding_attention_inv_freq)
    model.rotary_emb.sliding_attention_inv_freq.copy_(1e4 ** -(torch.arange(0, width, 2) / width))


def scaled_slopes(factor: float) -> Change:
    """ALiBi with other slopes."""

    def change(model: Any) -> None:
        model.encoder.slopes = [factor * slope for slope in model.encoder.slopes]

    return change


def even_slopes(model: Any) -> None:
    """The slopes that the formula for powers of 2 gives for another number of heads."""
    heads = len(model.encoder.slopes)
    model.encoder.slopes = [2 ** (-8 * (head + 1) / heads) for head in range(heads)]


def one_sided_alibi(model: Any) -> None:
    """ALiBi for earlier tokens alone, as decoders have it."""
    bias = model.encoder.bias
    model.encoder.bias = lambda length: bias(length).tril()


def shifted_heads(model: Any) -> None:
    model.encoder.slopes = [*model.encoder.slopes[1:], model.encoder.slopes[0]]


def tanh_jina(model: Any) -> None:
    for layer in model.encoder.layer:
        layer.mlp.act = torch.nn.GELU(approximate="tanh")


def no_query_norms(model: Any) -> None:
    for layer in model.encoder.layer:
        attention = layer.attention.self
        attention.layer_norm_q = attention.layer_norm_k = torch.nn.Identity()


def norms_of_heads(model: Any) -> None:
    """Norms of each head's queries and keys instead of all heads' together."""

    def change(norm: torch.nn.LayerNorm, heads: int) -> Any:
        def forward(x: torch.Tensor) -> torch.Tensor:
            parts = x.unflatten(-1, (heads, -1))
            normed = torch.nn.functional.layer_norm(parts, parts.shape[-1:]).flatten(-2)
            return normed * norm.weight + norm.bias

        return forward

    for layer in model.encoder.layer:
        attention = layer.attention.self
        for norm in (attention.layer_norm_q, attention.layer_norm_k):
            norm.forward = change(norm, attention.heads)


def one_residual(model: Any) -> None:
    """The block's input added once, as in jina-embeddings-v2-base-en."""
    for layer in model.encoder.layer:
        layer.layer_norm_1.forward = one_sum(layer)


def one_sum(layer: Any) -> Any:
    norm = torch.nn.functional.layer_norm

    def forward(total: torch.Tensor) -> torch.Tensor:
        weights = layer.layer_norm_1
        return norm(total - layer.attention.input, total.shape[-1:], weights.weight, weights.bias, weights.eps)

    attend = layer.attention.forward

    def remember(x: torch.Tensor, bias: torch.Tensor) -> Any:
        layer.attention.input = x
        return attend(x, bias)

    layer.attention.forward = remember
    return forward


ALIBI_CHANGES: dict[str, Change] = {
    "no ALiBi": scaled_slopes(0.0),
    "half the slopes": scaled_slopes(0.5),
    "ALiBi in one direction": one_sided_alibi,
    "the slopes of other heads": shifted_heads,
    "queries and values swapped": swapped("query", "value"),
    "no token type": scale_parameters("token_type_embeddings"),
    "no biases of queries": scale_parameters("query.bias"),
}
JINA_CHANGES = ALIBI_CHANGES | {
    "the slopes of a power of 2": even_slopes,
    "gate and up swapped": swapped_halves("gated_layers"),
    "no norm biases": scale_parameters("layernorm.bias"),
    "no bias after the MLP": scale_parameters("mlp.wo.bias"),
}
JINA_CODE_CHANGES = ALIBI_CHANGES | {
    "gate and up swapped": swapped_halves("up_gated_layer"),
    "no norm biases": scale_parameters("layer_norm_1.bias"),
    "no bias after the MLP": scale_parameters("down_layer.bias"),
    "no norms of queries and keys": no_query_norms,
    "norms of each head": norms_of_heads,
    "the input added once": one_residual,
}
SMALL_CHANGES: dict[str, Change] = {
    **dict.fromkeys(("tiny-gte", "tiny-arctic", "tiny-stella"), tanh_gated),
    **dict.fromkeys(("tiny-jina", "tiny-jina-code"), tanh_jina),
}
"""The GELU of tanh."""


def on_experts(change: Change) -> Change:
    """The change of every layer with experts."""

    def change_all(model: Any) -> None:
        for block in model.encoder["layers"][1::2]:
            change(block.mlp)

    return change_all


def normalized_weights(layer: Any) -> None:
    layer.router.normalizes = True


def bias_for_each_expert(layer: Any) -> None:
    layer.experts.bias_for_each = True


def one_expert(layer: Any) -> None:
    layer.router.top = 1


def all_experts(layer: Any) -> None:
    layer.router.top = layer.experts.mlp.shape[0]


def turned_experts(layer: Any) -> None:
    """The second matrices as if they were stored [hidden, intermediate]."""
    experts, inner, hidden = layer.experts.mlp.shape
    weights = layer.experts.mlp.w2
    weights.copy_(weights.view(experts, hidden, inner).transpose(1, 2).reshape(-1, hidden))


def next_expert(layer: Any) -> None:
    weights = layer.experts.mlp.w1
    weights.copy_(weights.roll(layer.experts.mlp.shape[1], 0))


def theta_1000(model: Any) -> None:
    for block in model.encoder["layers"]:
        block.attn.base = 1000


def experts_one_layer_earlier(model: Any) -> None:
    layers = model.encoder["layers"]
    for first, second in zip(layers[::2], layers[1::2], strict=True):
        first.mlp, second.mlp = second.mlp, first.mlp


def tanh_nomic(model: Any) -> None:
    for block in model.encoder["layers"]:
        mlp = getattr(block.mlp, "experts", block).mlp
        mlp.act = torch.nn.GELU(approximate="tanh")


NOMIC_MOE_CHANGES: dict[str, Change] = {
    "rope theta 1000": theta_1000,
    "queries and values swapped": swapped_halves("Wqkv.weight"),
    "no token type": scale_parameters("token_type_embeddings"),
    "no biases of queries": scale_parameters("Wqkv.bias"),
    "no bias in the MLPs": scale_parameters("fc1.bias"),
    "no bias of the experts": scale_parameters("experts.bias"),
    "experts one layer earlier": experts_one_layer_earlier,
    "weights of the experts that add up to 1": on_experts(normalized_weights),
    "the bias for each expert": on_experts(bias_for_each_expert),
    "one expert": on_experts(one_expert),
    "all experts": on_experts(all_experts),
    "the second matrices turned": on_experts(turned_experts),
    "the first matrix of another expert": on_experts(next_expert),
}
SMALL_CHANGES["tiny-nomic-moe"] = tanh_nomic

MMBERT_CHANGES: dict[str, Change] = {
    "another theta in local layers": theta_of_local_layers,
    "no window": set_window(NO_WINDOW),
    "full attention one layer later": shifted_layers,
    "no last norm": without_last_norm,
}
SMALL_CHANGES["tiny-mmbert"] = tanh_glu


def gelu_glu(model: Any) -> None:
    for layer in model.layers:
        layer.mlp.act = torch.nn.GELU()


GRANITE_CHANGES = {
    "GELU": gelu_glu,
    "one base in all layers": lambda model: model.rotary_emb.full_attention_inv_freq.copy_(
        model.rotary_emb.sliding_attention_inv_freq
    ),
    "no window": set_window(NO_WINDOW),
    "full attention one layer later": shifted_layers,
    "no last norm": without_last_norm,
}
