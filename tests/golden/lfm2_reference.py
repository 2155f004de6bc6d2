"""LFM2 that attends both ways: transformers' Lfm2Model with the convolution that its authors' own code has.

That code is in the repositories of LFM2.5-Embedding and LFM2.5-Encoder (modeling_lfm2_bidirectional.py). What it does
is known from public converters of these models: a convolution gets as many tokens before a token as after it, and
attention has no causal mask.
"""

from types import MethodType
from typing import Any

import torch


def attend_both_ways(network: Any, *, convolutions: bool = True) -> None:
    """Let an Lfm2Model attend both ways; its convolutions see later tokens, too, unless told otherwise."""
    network.config.is_causal = False  # which is what the mask is made from
    for layer in network.layers:
        if layer.is_attention_layer:
            layer.self_attn.is_causal = False
        elif convolutions:
            layer.conv.forward = MethodType(_convolved, layer.conv)


def _convolved(module: Any, hidden_states: torch.Tensor, **_: Any) -> torch.Tensor:
    """One text, [1, L, D]."""
    before, after, x = module.in_proj(hidden_states).transpose(-1, -2).chunk(3, dim=-2)
    weight = module.conv.weight
    width, length = weight.shape[-1], x.shape[-1]
    mixed = torch.nn.functional.conv1d(before * x, weight, padding=width // 2, groups=len(weight))[..., :length]
    output: torch.Tensor = module.out_proj((after * mixed).transpose(-1, -2))
    return output
