"""NomicBERT with experts in plain torch, because transformers' own class passes over them: one text at a time.

It does what the authors' code does: nomic-ai/nomic-bert-2048, modeling_hf_nomic_bert.py, with ``moe_impl`` "megablocks"
and without normalization of the experts' weights. The modules have the names of the published tensors.
"""

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads, self.base = config.n_head, config.rotary_emb_base
        self.Wqkv = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.out_proj = nn.Linear(config.n_embd, config.n_embd)

    def rotated(self, x: torch.Tensor) -> torch.Tensor:
        """The two halves of [1, heads, L, D] rotated by the positions."""
        dim = x.shape[-1]
        frequencies = 1.0 / (self.base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
        angles = torch.outer(torch.arange(x.shape[-2], dtype=torch.float32), frequencies)
        cos, sin = angles.cos(), angles.sin()
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.Wqkv(x).chunk(3, dim=-1))
        weights = (self.rotated(q) @ self.rotated(k).transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        out: torch.Tensor = self.out_proj((weights @ v).transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.n_embd, config.n_inner)
        self.fc2 = nn.Linear(config.n_inner, config.n_embd)
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Router(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(config.n_embd, config.num_experts, bias=False)
        self.top = config.moe_top_k
        self.normalizes = False

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The probabilities and the numbers of the chosen experts, [tokens, top]."""
        weights, experts = self.layer(x).softmax(dim=-1, dtype=torch.float32).topk(self.top, dim=-1)
        if self.normalizes:
            weights = weights / weights.sum(-1, keepdim=True)
        return weights, experts


class ExpertMLP(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        rows = config.num_experts * config.n_inner
        self.w1, self.w2 = (nn.Parameter(torch.empty(rows, config.n_embd)) for _ in range(2))
        self.shape = (config.num_experts, config.n_inner, config.n_embd)
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor, expert: int) -> torch.Tensor:
        w1, w2 = self.w1.view(self.shape)[expert], self.w2.view(self.shape)[expert]
        return self.act(x @ w1.T) @ w2


class Experts(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.mlp = ExpertMLP(config)
        self.bias = nn.Parameter(torch.empty(config.n_embd))
        self.bias_for_each = False

    def forward(self, x: torch.Tensor, weights: torch.Tensor, experts: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(x)
        for expert in range(self.mlp.shape[0]):
            tokens, places = torch.where(experts == expert)
            result = self.mlp(x[tokens], expert) + (self.bias if self.bias_for_each else 0)
            out.index_add_(0, tokens, result * weights[tokens, places, None])
        return out if self.bias_for_each else out + self.bias


class ExpertLayer(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.router, self.experts = Router(config), Experts(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(0, 1)
        out: torch.Tensor = self.experts(rows, *self.router(rows))
        return out.view_as(x)


class Block(nn.Module):
    def __init__(self, config: Any, index: int) -> None:
        super().__init__()
        self.attn = Attention(config)
        self.norm1, self.norm2 = (nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon) for _ in range(2))
        self.mlp = ExpertLayer(config) if index % config.moe_every_n_layers == 1 else MLP(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.attn(x))
        normed: torch.Tensor = self.norm2(x + self.mlp(x))
        return normed


class NomicMoeReference(nn.Module):
    """Sizes from config.json."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = sizes = SimpleNamespace(**config)
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(sizes.vocab_size, sizes.n_embd),
                "token_type_embeddings": nn.Embedding(sizes.type_vocab_size, sizes.n_embd),
            }
        )
        self.emb_ln = nn.LayerNorm(sizes.n_embd, eps=sizes.layer_norm_epsilon)
        blocks = nn.ModuleList(Block(sizes, index) for index in range(sizes.n_layer))
        self.encoder = nn.ModuleDict({"layers": blocks})

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        assert attention_mask.all(), "texts of the same length alone"
        types = self.embeddings["token_type_embeddings"](torch.zeros_like(input_ids))
        x = self.emb_ln(self.embeddings["word_embeddings"](input_ids) + types)
        for block in self.encoder["layers"]:
            x = block(x)
        return {"last_hidden_state": x}
