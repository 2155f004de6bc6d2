"""The mistakes a port could make, made to a loaded model of transformers on purpose."""

from collections.abc import Callable
from typing import Any

import torch

Change = Callable[[Any], None]

NO_WINDOW = 10**6


def scale_parameters(part: str, factor: float = 0.0, offset: float = 0.0) -> Change:
    """A change that multiplies, then shifts, every parameter whose name contains ``part``."""

    def change(model: torch.nn.Module) -> None:
        chosen = [parameter for name, parameter in model.named_parameters() if part in name]
        assert chosen, part
        for parameter in chosen:
            parameter.mul_(factor).add_(offset)

    return change


def set_window(size: int) -> Change:
    """Set the window as the modelling code reads it: exclusive on either side."""

    def change(model: Any) -> None:
        model.config.sliding_window = size

    return change


def tanh_gelu(model: Any) -> None:
    for layer in model.encoder.layer:
        layer.intermediate.intermediate_act_fn = torch.nn.GELU(approximate="tanh")


def tanh_distilbert(model: Any) -> None:
    for layer in model.transformer.layer:
        layer.ffn.activation = torch.nn.GELU(approximate="tanh")


def tanh_glu(model: Any) -> None:
    for layer in model.layers:
        layer.mlp.act = torch.nn.GELU(approximate="tanh")


def one_theta(model: Any) -> None:
    model.rotary_emb.sliding_attention_inv_freq.copy_(model.rotary_emb.full_attention_inv_freq)


def theta_10000(model: Any) -> None:
    width = 2 * len(model.rotary_emb.inv_freq)
    model.rotary_emb.inv_freq.copy_(1e4 ** -(torch.arange(0, width, 2) / width))


def swapped_thetas(model: Any) -> None:
    rope = model.rotary_emb
    full = rope.full_attention_inv_freq.clone()
    rope.full_attention_inv_freq.copy_(rope.sliding_attention_inv_freq)
    rope.sliding_attention_inv_freq.copy_(full)


def swapped(first: str, second: str) -> Change:
    """Exchange the weights of every pair of modules with these names."""

    def change(model: torch.nn.Module) -> None:
        weights = dict(model.named_parameters())
        pairs = [(name, name.replace(first, second)) for name in weights if first in name]
        assert pairs, first
        for name, other in pairs:
            kept = weights[name].clone()
            weights[name].copy_(weights[other])
            weights[other].copy_(kept)

    return change


def swapped_halves(part: str) -> Change:
    """Exchange the upper and the lower half of fused matrices."""

    def change(model: torch.nn.Module) -> None:
        chosen = [parameter for name, parameter in model.named_parameters() if part in name]
        assert chosen, part
        for parameter in chosen:
            parameter.copy_(parameter.roll(len(parameter) // 2, 0))

    return change


def moved_positions(by: int) -> Change:
    """Every token reads the row of positions that is ``by`` before its own."""

    def change(model: Any) -> None:
        table = model.embeddings.position_embeddings.weight
        table.copy_(table.roll(by, 0))

    return change


def count_padding(model: Any) -> None:
    """Positions for all tokens, padding or not."""

    def from_two(ids: torch.Tensor, *_: Any) -> torch.Tensor:
        return torch.arange(2, 2 + ids.shape[1])[None]

    embeddings = model.embeddings
    if hasattr(embeddings, "create_position_ids_from_input_ids"):
        embeddings.create_position_ids_from_input_ids = from_two
    else:
        forward = embeddings.forward
        embeddings.forward = lambda input_ids, **rest: forward(
            input_ids, **rest | {"position_ids": from_two(input_ids)}
        )


def mirrored_buckets(model: Any) -> None:
    buckets = model.encoder.relative_position_bucket
    model.encoder.relative_position_bucket = lambda distance, **rest: buckets(-distance, **rest)


def other_buckets(**settings: int) -> Change:
    def change(model: Any) -> None:
        buckets = model.encoder.relative_position_bucket
        model.encoder.relative_position_bucket = lambda distance, **rest: buckets(distance, **rest | settings)

    return change


def interleaved_rope(model: Any) -> None:
    """Rotate neighbours instead of halves."""
    for layer in model.layers:
        attention = layer.self_attn
        for projection in (attention.q_proj, attention.k_proj):
            heads = projection.weight.unflatten(0, (-1, attention.head_dim))
            projection.weight.copy_(torch.cat([heads[:, ::2], heads[:, 1::2]], 1).flatten(0, 1))


def rms_norms(model: Any) -> None:
    """LayerNorms that do not subtract the mean."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    for norm in norms:
        norm.forward = torch.nn.RMSNorm(norm.normalized_shape, norm.eps).forward


def first_norm(model: Any) -> None:
    """A norm where the first layer has none."""
    model.layers[0].attn_norm = torch.nn.LayerNorm(model.config.hidden_size, elementwise_affine=False)


def shifted_layers(model: Any) -> None:
    """Full attention in the layers after those that have it."""
    kinds = [layer.attention_type for layer in model.layers]
    for layer, kind in zip(model.layers, [kinds[-1], *kinds[:-1]], strict=True):
        layer.attention_type = kind


def without_last_norm(model: Any) -> None:
    model.final_norm = torch.nn.Identity()


def causal(model: Any) -> None:
    model.config.is_causal = True


def earlier_tokens(model: Any) -> None:
    """Convolutions that see earlier tokens alone, as in the language model."""
    for layer in model.layers:
        if not layer.is_attention_layer:
            layer.conv.forward = type(layer.conv).forward.__get__(layer.conv)


def swapped_gates(model: Any) -> None:
    """The gate after the convolution before it, and the other way round."""
    for layer in model.layers:
        if not layer.is_attention_layer:
            before, after, value = layer.conv.in_proj.weight.chunk(3)
            layer.conv.in_proj.weight.copy_(torch.cat([after, before, value]).clone())


def plain_rope(model: Any) -> None:
    """Rotary positions that are not stretched."""
    theta, width = model.config.rope_parameters["rope_theta"], 2 * len(model.rotary_emb.inv_freq)
    model.rotary_emb.inv_freq.copy_(theta ** -(torch.arange(0, width, 2) / width))


def linear_rope(model: Any) -> None:
    """Rotary positions of which all are stretched alike."""
    plain_rope(model)
    model.rotary_emb.inv_freq.div_(model.config.rope_parameters["factor"])


def constant_queries(model: Any) -> None:
    """Queries that do not grow with their position."""
    model.config.rope_parameters["llama_4_scaling_beta"] = 0.0


def unscaled_embeddings(model: Any) -> None:
    model.embed_tokens.embed_scale.fill_(1.0)


BERT_CHANGES: dict[str, Change] = {
    "no positions": scale_parameters("position_embeddings"),
    "no token types": scale_parameters("token_type_embeddings"),
    "no LayerNorm biases": scale_parameters("LayerNorm.bias"),
}
QWEN_CHANGES: dict[str, Change] = {
    "no query and key norms": scale_parameters("_norm.weight", offset=1.0),
    "rope theta 1e4": theta_10000,
}
GEMMA_CHANGES: dict[str, Change] = {
    "norms of w, not 1 + w": scale_parameters("norm.weight", factor=1.0, offset=-1.0),
    "one rope theta for all layers": one_theta,
    "unscaled embeddings": unscaled_embeddings,
    "no window": set_window(NO_WINDOW),
}

POSITION_CHANGES: dict[str, Change] = {
    "no positions": scale_parameters("position_embeddings"),
    "positions from 0": moved_positions(2),
    "positions from 1": moved_positions(1),
    "positions from 3": moved_positions(-1),
    "no LayerNorm biases": scale_parameters("LayerNorm.bias"),
}
XLM_ROBERTA_CHANGES = POSITION_CHANGES | {"no token type": scale_parameters("token_type_embeddings")}
ROBERTA_CHANGES = XLM_ROBERTA_CHANGES
DISTILBERT_CHANGES: dict[str, Change] = {
    "no positions": scale_parameters("position_embeddings"),
    "no LayerNorm biases": scale_parameters("LayerNorm.bias"),
    "queries and values swapped": swapped("q_lin", "v_lin"),
}
MPNET_CHANGES = POSITION_CHANGES | {
    "no relative bias": scale_parameters("relative_attention_bias"),
    "the relative bias mirrored": mirrored_buckets,
    "relative distances up to 256": other_buckets(max_distance=256),
}
MODERNBERT_CHANGES: dict[str, Change] = {
    "rope thetas swapped": swapped_thetas,
    "one rope theta for all layers": one_theta,
    "no window": set_window(NO_WINDOW),
    "full attention one layer later": shifted_layers,
    "gate and up swapped": swapped_halves("mlp.Wi"),
    "a norm before the first layer": first_norm,
    "no last norm": without_last_norm,
    "RMS norms": rms_norms,
}
NOMIC_CHANGES: dict[str, Change] = {
    "rope theta 1e4": theta_10000,
    "interleaved rope": interleaved_rope,
    "gate and up swapped": swapped("gate_proj", "up_proj"),
    "queries and values swapped": swapped("q_proj", "v_proj"),
    "no token type": scale_parameters("token_type_embeddings"),
    "no norm biases": scale_parameters("norm.bias"),
}
PPLX_CHANGES = QWEN_CHANGES | {"a causal mask": causal}
LLAMA_CHANGES: dict[str, Change] = {
    "rope theta 1e4": theta_10000,
    "interleaved rope": interleaved_rope,
    "gate and up swapped": swapped("gate_proj", "up_proj"),
}
LLAMA_BIDIREC_CHANGES = LLAMA_CHANGES | {
    "a causal mask": causal,
    "rotary positions as they are": plain_rope,
    "all rotary positions slower": linear_rope,
}
MINISTRAL_CHANGES = LLAMA_BIDIREC_CHANGES | {"queries as they are": constant_queries}
LFM2_CHANGES: dict[str, Change] = {
    "rope theta 1e4": theta_10000,
    "gate and up swapped": swapped("w1", "w3"),
    "a causal mask": causal,
    "convolutions of earlier tokens": earlier_tokens,
    "no query and key norms": scale_parameters("_layernorm.weight", offset=1.0),
    "gates of the convolutions swapped": swapped_gates,
}
QWEN2_BIDIREC_CHANGES = LLAMA_CHANGES | {
    "a causal mask": causal,
    "no biases of queries": scale_parameters("q_proj.bias"),
    "no biases of keys": scale_parameters("k_proj.bias"),
    "no biases of values": scale_parameters("v_proj.bias"),
}
