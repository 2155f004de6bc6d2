"""The parts that several architectures are made of."""

from akidb_embeddings.architectures import Config
from akidb_embeddings.architectures.arguments import required
from akidb_embeddings.kernels import Activation, Kernels
from akidb_embeddings.runtime import mx
from akidb_embeddings.weights import Weights


class LayerNorm:
    """Mean and variance normalized, then ``weight * x + bias``."""

    def __init__(self, weights: Weights, name: str, size: int, eps: float) -> None:
        self.weight = weights.vector(f"{name}.weight", (size,))
        self.bias = weights.vector(f"{name}.bias", (size,))
        self.eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm:
    """The root mean square normalized, then ``(weight + offset) * x``; Gemma's offset is 1."""

    def __init__(self, weights: Weights, name: str, size: int, eps: float, offset: float) -> None:
        self.weight = weights.vector(f"{name}.weight", (size,)) + offset
        self.eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self.weight, self.eps)


class GroupedAttention:
    """Attention whose query heads share key heads, with per-head norms of q and k before rotary positions.

    ``theta`` is the base of the rotation, ``scale`` what scores are multiplied by.
    """

    def __init__(
        self, weights: Weights, name: str, config: Config, theta: float, scale: float, offset: float, kernels: Kernels
    ) -> None:
        hidden, self.heads, self.kv_heads, self.head_dim = required(
            config, "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"
        )
        bias, eps = bool(config.get("attention_bias", False)), config.get("rms_norm_eps", 1e-6)
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        parts = [f"{name}.{part}_proj" for part in "qkv"]
        self.qkv = weights.linear(parts, hidden, [queries, keys, keys], bias)
        self.output = weights.linear(f"{name}.o_proj", queries, hidden, bias)
        self.q_norm = RMSNorm(weights, f"{name}.q_norm", self.head_dim, eps, offset)
        self.k_norm = RMSNorm(weights, f"{name}.k_norm", self.head_dim, eps, offset)
        self.theta, self.scale, self.kernels = theta, scale, kernels

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        B, L, _ = x.shape
        heads = self.qkv(x).reshape(B, L, -1, self.head_dim)
        q, k, v = mx.split(heads, [self.heads, self.heads + self.kv_heads], axis=2)
        q, k = self._rotate(self.q_norm(q)), self._rotate(self.k_norm(k))
        mixed = self.kernels.attention(q, k, v.transpose(0, 2, 1, 3), self.scale, mask)
        return self.output(mixed.transpose(0, 2, 1, 3).reshape(B, L, -1))

    def _rotate(self, x: mx.array) -> mx.array:
        x = x.transpose(0, 2, 1, 3)
        return mx.fast.rope(x, self.head_dim, traditional=False, base=self.theta, scale=1.0, offset=0)


class GatedMLP:
    """``down(activation(gate(x)) * up(x))``, gate and up in one product."""

    def __init__(self, weights: Weights, name: str, hidden: int, inner: int, activation: Activation) -> None:
        self.gate_up = weights.linear([f"{name}.gate_proj", f"{name}.up_proj"], hidden, [inner, inner], bias=False)
        self.down = weights.linear(f"{name}.down_proj", inner, hidden, bias=False)
        self.activation = activation

    def __call__(self, x: mx.array) -> mx.array:
        gate, up = mx.split(self.gate_up(x), 2, axis=-1)
        return self.down(self.activation(gate) * up)
