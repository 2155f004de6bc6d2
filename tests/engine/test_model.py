"""Every backend's code path on the CPU, quantized and not, and what makes a checkpoint fail."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.compute.backend import Backend, WeightStorage, cpu, cuda, metal
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.conversion.convert import convert
from akidb_embeddings.engine.model import MLXModel
from akidb_embeddings.engine.planner import pad
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from tests.fixtures import TINY, Array, copy_model, cosines, edit_json, forward, golden, long_but, model_path
from tests.golden.texts import TEXTS, counted_text
from tests.random_models import CONFIGS, GEMMA3, QWEN3, Rule, quantize_folder, random_model

DEVICE = mx.Device(mx.cpu)
SHORT = [text for text in TEXTS if len(text) < 300]
MIXED = ["a", "Mixed lengths, Ünïcode and a window of 16.", *(counted_text(n) for n in (3, 15, 16, 17, 40, 100))]
# Of MIXED, the short ones and then the long ones: with all in one, most would be padding, and MLX's quantized products
# of float16 take the CPU seconds.
AT_ONCE = 6
# Backends as they are on other machines, run here; and one with exact arithmetic, to compare packed weights strictly.
BACKENDS: dict[str, Backend] = {
    "cpu": cpu("fast"),
    "cpu-compact": cpu("compact"),
    "metal": metal(DEVICE),
    "cuda": cuda(DEVICE),
    "packed-float32": replace(metal(DEVICE), dtype=mx.float32),
}
# "cuda" computes as "metal" does but for the size of micro-batches, and both take seconds with packed weights.
QUANTIZED = [pytest.param(name, marks=pytest.mark.long) if name == "cuda" else name for name in BACKENDS]


@pytest.mark.parametrize("backend", ["metal", "cuda", "packed-float32"])
@pytest.mark.parametrize("name", TINY)
def test_accelerators_code_path_gives_the_authors_vectors(name: str, backend: str) -> None:
    """float16 where the model bears it: the same directions to three decimals more than retrieval can see."""
    vectors = forward(model_path(name), BACKENDS[backend], SHORT, "last" if name == "tiny-qwen3" else None)
    expected = golden(name)["texts"][[len(text) < 300 for text in TEXTS]]
    assert cosines(vectors, expected).min() >= (0.99999 if backend == "packed-float32" else 0.9999)


@dataclass(frozen=True)
class Quantized:
    """Folders of one random model in two ways of quantizing it, and the vectors that both ways' bits stand for."""

    folders: tuple[Path, Path]
    expected: Array
    original: Array


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Quantized]:
    """Make the model of a kind and its two quantizations, once for all backends."""

    @cache
    def make(kind: str, bits: int) -> Quantized:
        folder = tmp_path_factory.mktemp("quantized")
        model, converted, packed, expanded = (folder / name for name in ("model", "converted", "packed", "expanded"))
        random_model(model, CONFIGS[kind], [(64, 128), (128, 64)] if kind == "gemma3" else [])
        convert(model, converted, bits=bits, group_size=32)
        quantize_folder(model, packed, expanded, lambda _: (bits, 32, "affine"))
        expected = forward(expanded, BACKENDS["packed-float32"], MIXED)
        return Quantized((converted, packed), expected, forward(model, BACKENDS["cpu"], MIXED))

    return make


@pytest.mark.parametrize("backend", QUANTIZED)
@pytest.mark.parametrize("bits", [4, pytest.param(8, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", long_but(CONFIGS, "bert", "gemma3"))
def test_quantized_weights_mean_their_dequantized_values(
    quantized: Callable[[str, int], Quantized], kind: str, bits: int, backend: str
) -> None:
    made = quantized(kind, bits)
    for folder in made.folders:
        vectors = forward(folder, BACKENDS[backend], MIXED, rows=AT_ONCE)
        assert cosines(vectors, made.expected).min() >= 0.9999
    visible = cosines(made.expected, made.original).min() < 0.999999
    assert visible, "quantization must be visible for this test to mean anything"


@pytest.mark.parametrize("backend", QUANTIZED)
@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(
            lambda name: (8, 64, "affine") if "q_proj" in name else (4, 32, "affine"), id="q differs from k, v"
        ),
        pytest.param(lambda name: None if "gate" in name or "embed" in name else (3, 32, "affine"), id="gate is plain"),
        pytest.param(lambda name: (2, 32, "affine") if "down" in name else (6, 64, "affine"), id="2 and 6 bits"),
        pytest.param(lambda _: (4, 32, "mxfp4"), id="mxfp4"),
    ],
)
def test_layers_may_be_quantized_each_in_its_own_way(tmp_path: Path, rule: Rule, backend: str) -> None:
    random_model(tmp_path / "model", QWEN3)
    quantize_folder(tmp_path / "model", tmp_path / "packed", tmp_path / "expanded", rule)
    expected = forward(tmp_path / "expanded", BACKENDS["packed-float32"], MIXED)
    assert cosines(forward(tmp_path / "packed", BACKENDS[backend], MIXED, rows=AT_ONCE), expected).min() >= 0.9999


def test_groups_of_128_and_overrides_with_a_prefix(tmp_path: Path) -> None:
    config = {**QWEN3, "hidden_size": 128}
    random_model(tmp_path / "model", config)
    quantize_folder(tmp_path / "model", tmp_path / "packed", tmp_path / "expanded", lambda _: (4, 128, "affine"))
    packed = load_file(tmp_path / "packed" / "model.safetensors")
    save_file({f"model.{name}": values for name, values in packed.items()}, tmp_path / "packed" / "model.safetensors")
    layers = {name.removesuffix(".scales") for name in packed if name.endswith(".scales")}
    override = {"group_size": 128, "bits": 4}
    edit_json(
        tmp_path / "packed" / "config.json",
        quantization={"group_size": 64, "bits": 8, **{f"model.{name}": override for name in layers}},
    )
    expected = forward(tmp_path / "expanded", BACKENDS["cpu"], MIXED)
    assert cosines(forward(tmp_path / "packed", BACKENDS["cpu"], MIXED), expected).min() >= 0.9999


def test_embeddinggemma_in_the_layout_of_mlx_community(tmp_path: Path) -> None:
    """Dense layers among the weights, quantized, and every sentence-transformers file dropped."""
    random_model(tmp_path / "model", GEMMA3, [(64, 128), (128, 64)])
    convert(tmp_path / "model", tmp_path / "converted", bits=4, group_size=32)
    names = load_file(tmp_path / "converted" / "model.safetensors").keys()
    assert {"dense.0.weight", "dense.0.scales", "dense.0.biases", "dense.1.weight"} <= set(names)
    assert not (tmp_path / "converted" / "modules.json").exists()
    checkpoint = read_checkpoint(tmp_path / "converted")
    assert [(layer.inputs, layer.outputs, layer.activation) for layer in checkpoint.dense] == [
        (64, 128, "Identity"),
        (128, 64, "Identity"),
    ]
    assert checkpoint.pooling == "mean"
    converted = forward(tmp_path / "converted", BACKENDS["cpu"], MIXED)
    assert cosines(converted, forward(tmp_path / "model", BACKENDS["cpu"], MIXED)).min() >= 0.9


def test_both_memory_settings_give_the_same_vectors(tmp_path: Path) -> None:
    random_model(tmp_path / "model", QWEN3)
    convert(tmp_path / "model", tmp_path / "packed", bits=4, group_size=32)
    fast, compact = (forward(tmp_path / "packed", cpu(memory), MIXED) for memory in ("fast", "compact"))
    np.testing.assert_allclose(fast, compact, atol=1e-5 * np.abs(fast).max())
    assert cpu("compact").storage is WeightStorage.PER_LAYER


def test_what_mlx_lm_computes_has_small_micro_batches_on_gpus() -> None:
    """Its attention holds all scores."""
    sizes = {}
    for name in ("tiny-llama", "tiny-qwen3"):
        model = MLXModel(read_checkpoint(model_path(name)), cuda(DEVICE))
        sizes[name] = model.tokens_per_batch
        model.close()
    assert sizes == {"tiny-llama": 8192, "tiny-qwen3": 65536}


def test_micro_batches_run_side_by_side_and_alone_alike() -> None:
    checkpoint = read_checkpoint(model_path("tiny-bert"))
    ids = Tokenizer(checkpoint, 512).encode(["one text", counted_text(100)]).ids
    model = MLXModel(checkpoint, replace(cpu(), streams=2))
    batches = [pad([row], "mean") for row in ids]
    together = model.start(batches)()
    alone = [model.start([batch])()[0] for batch in batches]
    model.close()
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_tensor_nobody_uses_is_named(tmp_path: Path) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "layers.0.self_attn.gate.weight": np.ones((2, 2), np.float32)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.0\.self_attn\.gate\.weight"):
        MLXModel(read_checkpoint(folder), cpu())


def test_a_tensor_that_lacks_is_named(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    [name] = [name for name in tensors if name.endswith("layers.3.self_attn.k_norm.weight")]
    save_file({key: values for key, values in tensors.items() if key != name}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks the tensor layers\.3\.self_attn\.k_norm\.weight"):
        MLXModel(read_checkpoint(folder), cpu())


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model", intermediate_size=65)
    with pytest.raises(CheckpointError, match=r"encoder\.layer\.0\.intermediate\.dense\.weight has shape"):
        MLXModel(read_checkpoint(folder), cpu())
