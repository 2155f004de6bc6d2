"""Tensors by name: fused, expanded or packed, and each used once."""

import numpy as np
import pytest

from akidb_embeddings.compute.backend import Backend, WeightStorage, cpu, metal
from akidb_embeddings.compute.layers import ConcatenatedLinear, ExpandedLinear, PackedLinear, PerLayerLinear
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.errors import CheckpointError

FAST, COMPACT, PACKED = cpu("fast"), cpu("compact"), metal(mx.Device(mx.cpu))
GENERATOR = np.random.default_rng(0)
MATRICES = {name: mx.array(GENERATOR.standard_normal((32, 64), np.float32)) for name in "qkv"}
X = mx.array(GENERATOR.standard_normal((5, 64), np.float32))


def plain(backend: Backend = FAST) -> Weights:
    tensors = {f"{name}.weight": matrix for name, matrix in MATRICES.items()}
    tensors |= {f"{name}.bias": mx.full((32,), float(i)) for i, name in enumerate(MATRICES)}
    return Weights(tensors, {}, backend, mx.float32)


def packed(bits: dict[str, int], backend: Backend = PACKED) -> Weights:
    tensors: dict[str, mx.array] = {}
    entries = {}
    for name, matrix in MATRICES.items():
        parts = mx.quantize(matrix, 32, bits[name])
        tensors |= dict(zip((f"{name}.weight", f"{name}.scales", f"{name}.biases"), parts, strict=True))
        entries[name] = {"group_size": 32, "bits": bits[name]}
    return Weights(tensors, entries, backend, mx.float32)


def expected(bits: dict[str, int] | None = None) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    outputs = []
    for index, (name, matrix) in enumerate(MATRICES.items()):
        used = mx.dequantize(*mx.quantize(matrix, 32, bits[name]), 32, bits[name]) if bits else matrix
        outputs.append(np.array(X @ used.T) + (0 if bits else index))
    return np.concatenate(outputs, axis=1)


@pytest.mark.parametrize(
    ("backend", "kind"), [(FAST, ExpandedLinear), (COMPACT, PerLayerLinear), (PACKED, ExpandedLinear)]
)
def test_three_maps_become_one(backend: Backend, kind: type) -> None:
    linear = plain(backend).linear(["q", "k", "v"], 64, [32, 32, 32], bias=True)
    assert isinstance(linear, kind)
    np.testing.assert_allclose(np.array(linear(X)), expected(), atol=1e-4)


@pytest.mark.parametrize("backend", [FAST, COMPACT, PACKED])
@pytest.mark.parametrize("bits", [{"q": 4, "k": 4, "v": 4}, {"q": 8, "k": 4, "v": 2}])
def test_quantized_maps_become_one_where_they_can(backend: Backend, bits: dict[str, int]) -> None:
    linear = packed(bits, backend).linear(["q", "k", "v"], 64, [32, 32, 32], bias=False)
    if backend is PACKED:
        assert isinstance(linear, PackedLinear if len(set(bits.values())) == 1 else ConcatenatedLinear)
    np.testing.assert_allclose(np.array(linear(X)), expected(bits), atol=1e-4)


def test_a_quantized_table_stays_packed_and_gives_its_rows() -> None:
    table = packed({"q": 8, "k": 4, "v": 4}, FAST).embedding("q", 32, 64)
    whole = mx.dequantize(*mx.quantize(MATRICES["q"], 32, 8), 32, 8)
    assert FAST.storage is WeightStorage.EXPANDED
    np.testing.assert_allclose(np.array(table(mx.array([[3, 0]]))), np.array(whole)[[[3, 0]]], atol=1e-6)


def test_what_nobody_took_is_named_unless_it_may_be_left() -> None:
    weights = plain()
    weights.linear("q", 64, 32, bias=True)
    with pytest.raises(CheckpointError, match=r"4 tensors.*k\.bias, k\.weight, v\.bias, v\.weight"):
        weights.finish()
    with pytest.raises(CheckpointError, match="2 tensors"):
        weights.finish(ignored=("k.",))
    weights.finish(ignored=("k.", "v."))


def test_each_tensor_is_taken_once_and_fits() -> None:
    weights = plain()
    weights.vector("q.bias", (32,))
    with pytest.raises(CheckpointError, match=r"lacks the tensor q\.bias"):
        weights.vector("q.bias", (32,))
    with pytest.raises(CheckpointError, match=r"k\.bias has shape \(32,\).*\(31,\)"):
        weights.vector("k.bias", (31,))
    with pytest.raises(CheckpointError, match=r"v\.weight has shape"):
        weights.linear("v", 63, 32, bias=False)


def test_quantization_that_config_json_does_not_describe() -> None:
    tensors = dict(zip(("q.weight", "q.scales", "q.biases"), mx.quantize(MATRICES["q"], 32, 4), strict=True))
    with pytest.raises(CheckpointError, match="'group_size'"):
        Weights(tensors, {}, FAST, mx.float32).linear("q", 64, 32, bias=False)
