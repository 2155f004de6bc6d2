"""LFM2 that attends both ways, as in LFM2.5-Embedding (Liquid AI, 2026): gated short convolutions and attention."""

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.architectures.decoder import with_head_sizes
from akidb_embeddings.architectures.parts import GatedMLP, GroupedAttention, RMSNorm, run_blocks
from akidb_embeddings.architectures.rope import Rope, read_rope
from akidb_embeddings.checkpoint.arguments import number, required, supported, whole
from akidb_embeddings.compute.kernels import AttentionMask, Kernels
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.pooling import select_tokens
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Config

_EPS = 1e-5
_KINDS = ("conv", "full_attention")


class Attention(GroupedAttention):
    OUTPUT, NORMS = "out_proj", ("q_layernorm", "k_layernorm")


class MLP(GatedMLP):
    NAMES = ("w1", "w3", "w2")


class ShortConvolution:
    """``output(C * convolution(B * x))``, of each channel apart, over as many tokens before a token as after it."""

    def __init__(self, weights: Weights, name: str, config: Config) -> None:
        (hidden,) = required(config, "hidden_size")
        self.taps = whole(config, "conv_L_cache", 3)
        self.gates = weights.linear(f"{name}.in_proj", hidden, 3 * hidden, bias=False)
        kernel = weights.vector(f"{name}.conv.weight", (hidden, 1, self.taps))
        self.kernel = [kernel[:, 0, tap] for tap in range(self.taps)]
        self.output = weights.linear(f"{name}.out_proj", hidden, hidden, bias=False)

    def __call__(self, x: mx.array, is_real: mx.array | None) -> mx.array:
        """[B, L, D] to the same shape. ``is_real``, [B, L, 1], is false for padding, which counts as zeros."""
        before, after, x = mx.split(self.gates(x), 3, axis=-1)
        x = before * x
        if is_real is not None:
            x = mx.where(is_real, x, 0)
        length, left = x.shape[1], self.taps // 2
        x = mx.pad(x, [(0, 0), (left, self.taps - 1 - left), (0, 0)])
        convolved = sum(weight * x[:, tap : tap + length] for tap, weight in enumerate(self.kernel))
        return self.output(after * convolved)


class Block:
    def __init__(self, weights: Weights, name: str, config: Config, kind: str, kernels: Kernels, rope: Rope) -> None:
        hidden, head_dim = required(config, "hidden_size", "head_dim")
        eps = number(config, "rms_norm_eps", _EPS)
        self.norm = RMSNorm(weights, f"{name}.operator_norm", hidden, eps, offset=0.0)
        self.attention = self.convolution = None
        if kind == "conv":
            self.convolution = ShortConvolution(weights, f"{name}.conv", config)
        else:
            self.attention = Attention(
                weights, f"{name}.self_attn", config, rope, head_dim**-0.5, kernels, norm_offset=0.0
            )
        self.mlp_norm = RMSNorm(weights, f"{name}.ffn_norm", hidden, eps, offset=0.0)
        self.mlp = MLP(weights, f"{name}.feed_forward", hidden, _mlp_size(config), kernels.silu)

    def __call__(
        self, x: mx.array, masks: tuple[AttentionMask | None, mx.array | None], tokens: mx.array | None = None
    ) -> mx.array:
        mask, is_real = masks
        normed = self.norm(x)
        if self.attention is not None:
            mixed = self.attention(normed, mask, tokens)
        else:
            assert self.convolution is not None
            mixed = select_tokens(self.convolution(normed, is_real), tokens)
        x = select_tokens(x, tokens) + mixed
        return x + self.mlp(self.mlp_norm(x))


class Lfm2:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        hidden, layers, vocab_size, head_dim = required(
            config, "hidden_size", "num_hidden_layers", "vocab_size", "head_dim"
        )
        supported(config, "conv_bias", False, False)
        supported(config, "is_causal", False, False, None)
        rope = read_rope(config, head_dim)
        self.embed_tokens = weights.embedding("embed_tokens", vocab_size, hidden)
        self.blocks = [
            Block(weights, f"layers.{i}", config, kind, kernels, rope)
            for i, kind in enumerate(_layer_kinds(config, layers))
        ]
        self.norm = RMSNorm(weights, "embedding_norm", hidden, number(config, "rms_norm_eps", _EPS), offset=0.0)
        self.kernels = kernels

    def __call__(self, texts: Inputs) -> mx.array:
        x = self.embed_tokens(texts.ids)
        visible = Visibility(texts.lengths, texts.width)
        is_real = None
        if visible.padded:
            is_real = (mx.arange(texts.width)[None, :] < mx.array(texts.lengths)[:, None])[..., None]
        masks = self.kernels.mask(visible, x.dtype), is_real
        return self.norm(run_blocks(self.blocks, x, lambda block: masks, texts.tokens))


def _layer_kinds(config: Config, layers: int) -> list[str]:
    """Each layer's kind, from ``layer_types`` or transformers 4's ``full_attn_idxs``."""
    kinds = config.get("layer_types")
    if kinds is None:
        attending = config.get("full_attn_idxs")
        attending = range(layers) if attending is None else attending
        kinds = [_KINDS[i in attending] for i in range(layers)]
    if len(kinds) != layers or not set(kinds) <= set(_KINDS):
        raise CheckpointError(
            f"config.json gives layer_types as {kinds!r:.200}; {layers} of {' and '.join(_KINDS)} are expected."
        )
    return list(kinds)


def _mlp_size(config: Config) -> int:
    """The width of the MLP: two thirds of what config.json says, rounded up, unless it says otherwise."""
    (given,) = required(config, "intermediate_size")
    size = whole(config, "block_ff_dim", given) if config.get("block_ff_dim") is not None else int(given)
    if not supported(config, "block_auto_adjust_ff_dim", True, True, False):
        return size
    size = int(2 * size / 3)
    if config.get("block_ffn_dim_multiplier", 1.0) is None:
        return size
    multiple = whole(config, "block_multiple_of", 256)
    size = int(number(config, "block_ffn_dim_multiplier", 1.0) * size)
    return multiple * ((size + multiple - 1) // multiple)


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Lfm2(with_head_sizes({"rms_norm_eps": _EPS, **config}), weights, kernels)
