"""JinaBERT's forward pass in plain torch, because no package has it: one text, or texts of the same length.

It does what the authors' code does: jinaai/jina-bert-implementation and jinaai/jina-bert-v2-qk-post-norm,
modeling_bert.py, with ``attn_implementation`` as if not given. The modules have the names of the published tensors.
"""

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn


def slopes_of(heads: int) -> list[float]:
    """``_get_alibi_head_slopes`` of the authors' code."""
    if math.log2(heads).is_integer():
        start = 2 ** (-(2 ** -(math.log2(heads) - 3)))
        return [start * start**i for i in range(heads)]
    closest = 2 ** math.floor(math.log2(heads))
    return slopes_of(closest) + slopes_of(2 * closest)[0::2][: heads - closest]


class Embeddings(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.LayerNorm(
            self.word_embeddings(ids) + self.token_type_embeddings(torch.zeros_like(ids))
        )
        return normed


class SelfAttention(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads = config.num_attention_heads
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        if config.norms_queries:
            self.layer_norm_q, self.layer_norm_k = (nn.LayerNorm(size, eps=config.layer_norm_eps) for _ in range(2))
        else:
            self.layer_norm_q = self.layer_norm_k = nn.Identity()

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        states = (self.layer_norm_q(self.query(x)), self.layer_norm_k(self.key(x)), self.value(x))
        q, k, v = (state.unflatten(-1, (self.heads, -1)).transpose(1, 2) for state in states)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2)


class Output(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


class Attention(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Output(config)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.output.LayerNorm(self.output.dense(self.self(x, bias)) + x)
        return normed


class GatedMLP(nn.Module):
    """That of jina-embeddings-v2: the first half is the gate, and the residual sum and its norm are inside."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.gated_layers = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.wo = nn.Linear(config.intermediate_size, config.hidden_size)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gated, other = self.gated_layers(x).chunk(2, dim=-1)
        normed: torch.Tensor = self.layernorm(self.wo(self.act(gated) * other) + x)
        return normed


class CodeMLP(nn.Module):
    """That of jina-embeddings-v2-base-code: the second half is the gate."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.up_gated_layer = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_layer = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        up, gated = self.up_gated_layer(x).chunk(2, dim=-1)
        down: torch.Tensor = self.down_layer(up * self.act(gated))
        return down


class Layer(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = GatedMLP(config)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.mlp(self.attention(x, bias))
        return normed


class CodeLayer(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.layer_norm_1, self.layer_norm_2 = (
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) for _ in range(2)
        )
        self.mlp = CodeMLP(config)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        residual = self.layer_norm_1(x + self.attention(x, bias))
        normed: torch.Tensor = self.layer_norm_2(residual + self.mlp(residual))
        return normed


class Encoder(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        kind = CodeLayer if config.norms_queries else Layer
        self.layer = nn.ModuleList(kind(config) for _ in range(config.num_hidden_layers))
        self.slopes = slopes_of(config.num_attention_heads)

    def bias(self, length: int) -> torch.Tensor:
        """[1, heads, L, L]"""
        positions = torch.arange(length)
        distances = (positions[None] - positions[:, None]).abs()
        return (-torch.tensor(self.slopes)[:, None, None] * distances)[None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = self.bias(x.shape[1])
        for layer in self.layer:
            x = layer(x, bias)
        return x


class JinaBertReference(nn.Module):
    """Sizes from config.json; ``norms_queries`` for the variant of jina-embeddings-v2-base-code."""

    def __init__(self, config: dict[str, Any], norms_queries: bool) -> None:
        super().__init__()
        self.config = SimpleNamespace(**config, norms_queries=norms_queries)
        self.embeddings = Embeddings(self.config)
        self.encoder = Encoder(self.config)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        assert attention_mask.all(), "texts of the same length alone"
        return {"last_hidden_state": self.encoder(self.embeddings(input_ids))}
