"""Models of real dimensions with random quantized weights: as fast as the real ones, made in seconds, no download.

Weights are written straight in their packed form, tensor by tensor: 4 bits in groups of 64, float16 scales and biases,
so that the products' results are about as large as their inputs. Vectors of such a model mean nothing. Libraries that
do not know this form get an expanded copy: float32 weights, the very ones that the bits stand for.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.model_folders import staged, write_json, write_tensors
from bench.random_tokenizers import write_tokenizer

_BITS, _GROUP = 4, 64
# Uniform over 0..15, as random bits are.
_DEVIATION = math.sqrt((16**2 - 1) / 12)
_VERSION = 1

QWEN3: dict[str, Any] = {
    "model_type": "qwen3", "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151669,
    "max_position_embeddings": 32768, "rope_theta": 1000000, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "hidden_act": "silu",
}  # fmt: skip
GEMMA3: dict[str, Any] = {
    "model_type": "gemma3_text", "hidden_size": 768, "num_hidden_layers": 24, "num_attention_heads": 3,
    "num_key_value_heads": 1, "head_dim": 256, "intermediate_size": 1152, "vocab_size": 262144,
    "max_position_embeddings": 2048, "rope_theta": 1000000, "rope_local_base_freq": 10000, "rms_norm_eps": 1e-6,
    "sliding_window": 512, "_sliding_window_pattern": 6, "use_bidirectional_attention": True,
    "query_pre_attn_scalar": 256, "hidden_activation": "gelu_pytorch_tanh", "attention_bias": False,
    "architectures": ["Gemma3TextModel"],
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What a random model is made of; ``dense`` gives (inputs, outputs) of the layers after pooling."""

    config: Mapping[str, Any]
    dense: tuple[tuple[int, int], ...] = ()


RECIPES: Mapping[str, Recipe] = {
    "qwen3-0.6b-4bit": Recipe(QWEN3),
    "gemma-300m-4bit": Recipe(GEMMA3, ((768, 3072), (3072, 768))),
}


@dataclass(frozen=True)
class _Matrix:
    """A quantized matrix ``[rows, columns]`` whose values have the deviation ``spread``."""

    name: str
    rows: int
    columns: int
    spread: float

    @property
    def parts(self) -> list[tuple[str, str, tuple[int, int]]]:
        """Name, type and shape of each tensor it is stored as."""
        groups = (self.rows, self.columns // _GROUP)
        return [
            (f"{self.name}.weight", "uint32", (self.rows, self.columns * _BITS // 32)),
            (f"{self.name}.scales", "float16", groups),
            (f"{self.name}.biases", "float16", groups),
        ]

    def values(self, generator: np.random.Generator) -> list[NDArray[Any]]:
        """The tensors of ``parts``."""
        scale = self.spread / _DEVIATION
        groups = (self.rows, self.columns // _GROUP)
        return [
            generator.integers(0, 1 << 32, (self.rows, self.columns * _BITS // 32), dtype=np.uint32),
            np.full(groups, scale, dtype=np.float16),
            np.full(groups, -7.5 * scale, dtype=np.float16),
        ]

    def expand(self, packed: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """What the tensors of ``values`` stand for: ``scale * bits + bias``, the first value in the lowest bits."""
        words, scales, biases = packed
        shifts = np.arange(0, 32, _BITS, dtype=np.uint32)
        bits = ((words[:, :, None] >> shifts) & (2**_BITS - 1)).astype(np.float32).reshape(self.rows, -1, _GROUP)
        values: NDArray[np.float32] = bits * scales[:, :, None].astype(np.float32)
        return (values + biases[:, :, None].astype(np.float32)).reshape(self.rows, self.columns)


@dataclass(frozen=True)
class _Vector:
    """A vector of equal values: a norm's weights."""

    name: str
    size: int
    value: float

    @property
    def parts(self) -> list[tuple[str, str, tuple[int]]]:
        return [(self.name, "float16", (self.size,))]

    def values(self, generator: np.random.Generator) -> list[NDArray[Any]]:
        return [np.full((self.size,), self.value, dtype=np.float16)]

    def expand(self, packed: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        [values] = packed
        return values.astype(np.float32)


_Tensor = _Matrix | _Vector


def random_model(name: str, cache: Path, *, expanded: bool = False) -> Path:
    """The folder of the random model ``name`` below ``cache``; made if it is not there yet."""
    folder = cache / "bench" / f"random-{name}-v{_VERSION}{'-float32' if expanded else ''}"
    if not folder.is_dir():
        write_model(folder, RECIPES[name], expanded=expanded)
    return folder


def write_model(folder: Path, recipe: Recipe, seed: int = 5, *, expanded: bool = False) -> None:
    """Write a whole model folder. It appears under its name when it is whole."""
    generator = np.random.default_rng(seed)
    with staged(folder) as staging:
        write_tokenizer(staging, recipe.config["model_type"])
        if expanded:
            _write_expanded(staging, recipe, generator)
        else:
            quantization = {"group_size": _GROUP, "bits": _BITS}
            write_json(staging / "config.json", {**recipe.config, "quantization": quantization})
            _write_packed(staging / "model.safetensors", list(_tensors(recipe)), generator)


def _write_packed(file: Path, tensors: list[_Tensor], generator: np.random.Generator) -> None:
    parts = [part for tensor in tensors for part in tensor.parts]
    write_tensors(file, parts, (values for tensor in tensors for values in tensor.values(generator)))


def _write_expanded(folder: Path, recipe: Recipe, generator: np.random.Generator) -> None:
    """The layout of sentence-transformers: the encoder, pooling, dense layers and normalization."""
    config = {**recipe.config, "dtype": "float32"}
    write_json(folder / "config.json", config)
    tensors = list(_tensors(recipe))
    encoder = [tensor for tensor in tensors if tensor.name.startswith("model.")]
    values = (tensor.expand(tensor.values(generator)) for tensor in tensors)  # in the order in which they are packed
    write_tensors(folder / "model.safetensors", [_expanded_part(tensor) for tensor in encoder], values)
    kinds = ["Transformer", "Pooling", *["Dense"] * len(recipe.dense), "Normalize"]
    paths = ["", *(f"{index}_{kind}" for index, kind in enumerate(kinds) if index)]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    write_json(folder / "modules.json", modules)
    is_mean = config["model_type"] == "gemma3_text"
    pooling = {"pooling_mode_mean_tokens": is_mean, "pooling_mode_lasttoken": not is_mean}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": config["hidden_size"], **pooling})
    for (inputs, outputs), path in zip(recipe.dense, paths[2:], strict=False):
        identity = "torch.nn.modules.linear.Identity"
        layer = {"in_features": inputs, "out_features": outputs, "bias": False, "activation_function": identity}
        write_json(folder / path / "config.json", layer)
        part = ("linear.weight", "float32", (outputs, inputs))
        write_tensors(folder / path / "model.safetensors", [part], itertools.islice(values, 1))


def _expanded_part(tensor: _Tensor) -> tuple[str, str, tuple[int, ...]]:
    if isinstance(tensor, _Vector):
        return tensor.name.removeprefix("model."), "float32", (tensor.size,)
    return f"{tensor.name.removeprefix('model.')}.weight", "float32", (tensor.rows, tensor.columns)


def _tensors(recipe: Recipe) -> Iterator[_Tensor]:
    config = recipe.config
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    gemma = config["model_type"] == "gemma3_text"
    # Gemma multiplies by 1 + weight, and has norms behind attention and MLP too.
    one = 0.0 if gemma else 1.0
    norms = ["input_layernorm", "post_attention_layernorm"]
    norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if gemma else []
    yield _Matrix("model.embed_tokens", config["vocab_size"], hidden, 0.03)
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        yield from (_Vector(f"{layer}.{norm}.weight", hidden, one) for norm in norms)
        yield from (_Vector(f"{layer}.self_attn.{part}_norm.weight", head, one) for part in "qk")
        for name, rows, columns in (
            ("self_attn.q_proj", queries, hidden),
            ("self_attn.k_proj", keys, hidden),
            ("self_attn.v_proj", keys, hidden),
            ("self_attn.o_proj", hidden, queries),
            ("mlp.gate_proj", inner, hidden),
            ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner),
        ):
            yield _Matrix(f"{layer}.{name}", rows, columns, columns**-0.5)
    yield _Vector("model.norm.weight", hidden, one)
    for index, (inputs, outputs) in enumerate(recipe.dense):
        yield _Matrix(f"dense.{index}", outputs, inputs, inputs**-0.5)
