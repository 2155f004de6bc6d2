"""The MLPs of NomicBERT: gated, plain, or experts of which a router chooses some for each token."""

from collections.abc import Callable

from akidb_embeddings.checkpoint.arguments import required, supported, whole
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Config

MLP = Callable[[mx.array], mx.array]
# Options of the published code that no published model uses.
_UNSUPPORTED = ("moe_normalize_expert_weights", "expert_choice_router", "num_shared_experts")


class GatedMLP:
    """``fc2(silu(fc12 x) * fc11 x)``"""

    def __init__(self, weights: Weights, name: str, config: Config, kernels: Kernels) -> None:
        hidden, intermediate = required(config, "hidden_size", "intermediate_size")
        supported(config, "hidden_act", "silu", "silu")
        for key in ("mlp_fc1_bias", "mlp_fc2_bias"):
            supported(config, key, None, None, False)
        self.up_gate = weights.linear(
            [f"{name}.fc11", f"{name}.fc12"], hidden, [intermediate, intermediate], bias=False
        )
        self.down = weights.linear(f"{name}.fc2", intermediate, hidden, bias=False)
        self.activation = kernels.silu

    def __call__(self, x: mx.array) -> mx.array:
        up, gate = mx.split(self.up_gate(x), 2, axis=-1)
        return self.down(self.activation.gated(gate, up))


class PlainMLP:
    """``fc2(gelu(fc1 x))``"""

    def __init__(self, weights: Weights, name: str, config: Config, kernels: Kernels) -> None:
        hidden, intermediate = required(config, "hidden_size", "intermediate_size")
        self.up = weights.linear(f"{name}.fc1", hidden, intermediate, bool(config.get("mlp_fc1_bias", True)))
        self.down = weights.linear(f"{name}.fc2", intermediate, hidden, bool(config.get("mlp_fc2_bias", True)))
        self.activation = kernels.gelu

    def __call__(self, x: mx.array) -> mx.array:
        return self.down(self.activation(self.up(x)))


class Experts:
    """Several MLPs without biases: each token's most probable ones are added up, weighted by their probabilities.

    The probabilities are of all experts, so that those of the chosen ones do not add up to 1. One bias is added at the
    end. Every expert computes every token: what the router chooses stays on the device.
    """

    def __init__(self, weights: Weights, name: str, config: Config, kernels: Kernels) -> None:
        hidden, intermediate, experts = required(config, "hidden_size", "intermediate_size", "num_experts")
        self.chosen = whole(config, "moe_top_k", 1)
        # In float32, because rounding would choose another expert where two are nearly as probable.
        self.router = weights.in_float32().linear(f"{name}.router.layer", hidden, experts, bias=False)
        up, down = (
            weights.vector(f"{name}.experts.mlp.{part}", (experts * intermediate, hidden)) for part in ("w1", "w2")
        )
        self.up = [mx.contiguous(part.T) for part in mx.split(up, experts)]
        self.down = mx.split(down, experts)
        mx.eval(self.up, self.down)
        self.bias = weights.vector(f"{name}.experts.bias", (hidden,))
        self.activation = kernels.gelu

    def __call__(self, x: mx.array) -> mx.array:
        probabilities = mx.softmax(self.router(x.astype(mx.float32)), axis=-1)
        ranks = mx.argsort(mx.argsort(-probabilities, axis=-1), axis=-1)
        shares = mx.where(ranks < self.chosen, probabilities, 0.0).astype(x.dtype)
        total = self.bias
        for index, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            total = total + shares[..., index : index + 1] * (self.activation(x @ up) @ down)
        return total


def check_experts(config: Config) -> None:
    """Check the settings of the MLPs; CheckpointError if they are not implemented or do not fit each other."""
    activation = supported(config, "activation_function", "swiglu", "swiglu", "gelu")
    if not config.get("num_experts"):
        return
    if activation != "gelu":
        raise CheckpointError(
            f"config.json gives experts and the activation_function {activation!r}; supported: 'gelu'."
        )
    for key in _UNSUPPORTED:
        supported(config, key, None, None, False, 0)
    supported(config, "ffn_div", 1, 1)
    required(config, "moe_every_n_layers", "moe_top_k")
    experts, chosen = whole(config, "num_experts", 1), whole(config, "moe_top_k", 1)
    whole(config, "moe_every_n_layers", 2, minimum=2)
    if chosen > experts:
        raise CheckpointError(f"config.json gives moe_top_k as {chosen}; there are {experts} experts (num_experts).")


def build_mlp(weights: Weights, name: str, index: int, config: Config, kernels: Kernels) -> MLP:
    """The MLP of the layer ``index``. Of every ``moe_every_n_layers`` layers, the second one has experts."""
    if config.get("num_experts") and index % int(config["moe_every_n_layers"]) == 1:
        return Experts(weights, name, config, kernels)
    kind = PlainMLP if config.get("activation_function") == "gelu" else GatedMLP
    return kind(weights, name, config, kernels)
