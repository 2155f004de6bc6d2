"""The layers that hold weights, in the form a backend wants them: linear maps and embedding tables.

Every class is called with and returns arrays of the compute dtype. ``weights`` builds them from a checkpoint.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from akidb_embeddings.compute.runtime import mx

Linear = Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class Quantization:
    """How a tensor is packed: ``group_size`` weights share a scale, ``bits`` each, in one of MLX's modes."""

    group_size: int
    bits: int
    mode: str = "affine"


@dataclass(frozen=True)
class Packed:
    """A quantized matrix as stored: uint32 ``weight`` ``[out, in * bits / 32]``, ``scales`` and ``biases`` by group.

    ``biases`` is None in modes that have none (mxfp4).
    """

    weight: mx.array
    scales: mx.array
    biases: mx.array | None
    quantization: Quantization

    def expand(self, dtype: mx.Dtype) -> mx.array:
        """The matrix ``[out, in]`` these bits stand for."""
        q = self.quantization
        return mx.dequantize(self.weight, self.scales, self.biases, q.group_size, q.bits, q.mode, dtype=dtype)

    def rows(self, indices: mx.array) -> "Packed":
        """The chosen rows, still packed."""
        biases = None if self.biases is None else self.biases[indices]
        return Packed(self.weight[indices], self.scales[indices], biases, self.quantization)

    def multiply(self, x: mx.array) -> mx.array:
        """``x @ W^T`` by the quantized kernel."""
        q = self.quantization
        return mx.quantized_matmul(x, self.weight, self.scales, self.biases, True, q.group_size, q.bits, q.mode)


class ExpandedLinear:
    """``x W^T + b`` with the transposed matrix ``[in, out]`` in the compute dtype."""

    def __init__(self, transposed: mx.array, bias: mx.array | None) -> None:
        self.transposed, self.bias = transposed, bias

    def __call__(self, x: mx.array) -> mx.array:
        return x @ self.transposed if self.bias is None else mx.addmm(self.bias, x, self.transposed)


class PackedLinear:
    """``x W^T + b`` with a quantized matrix, multiplied as it is."""

    def __init__(self, weight: Packed, bias: mx.array | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: mx.array) -> mx.array:
        y = self.weight.multiply(x)
        return y if self.bias is None else y + self.bias


class PerLayerLinear:
    """``x W^T + b`` with matrices kept as stored, each expanded for its product alone, to save memory."""

    def __init__(self, parts: list[Packed | mx.array], bias: mx.array | None, dtype: mx.Dtype) -> None:
        self.parts, self.bias, self.dtype = parts, bias, dtype

    def __call__(self, x: mx.array) -> mx.array:
        outputs: list[mx.array] = []
        for part in self.parts:
            # One after the other, and not before there is something to multiply: left to itself MLX expands those
            # of several layers ahead, since nothing holds them back.
            matrix = expanded(_after(part, outputs[-1] if outputs else x), self.dtype)
            outputs.append(x @ matrix.T)
        y = outputs[0] if len(outputs) == 1 else mx.concatenate(outputs, axis=-1)
        return y if self.bias is None else y + self.bias


class SideBySide:
    """Several linear maps of the same input whose outputs stand side by side; for parts that cannot be one matrix."""

    def __init__(self, parts: list[Linear]) -> None:
        self.parts = parts

    def __call__(self, x: mx.array) -> mx.array:
        return mx.concatenate([part(x) for part in self.parts], axis=-1)


class Embedding:
    """A table of rows, gathered as stored and only then expanded: the table of a large vocabulary stays small."""

    def __init__(self, table: Packed | mx.array, dtype: mx.Dtype) -> None:
        self.table, self.dtype = table, dtype

    def __call__(self, ids: mx.array) -> mx.array:
        """``[...]`` int32 -> ``[..., dimension]``."""
        rows = self.table.rows(ids) if isinstance(self.table, Packed) else self.table[ids]
        return expanded(rows, self.dtype)


def _after(matrix: Packed | mx.array, other: mx.array) -> Packed | mx.array:
    """The matrix, available once ``other`` is computed."""
    stored = matrix.weight if isinstance(matrix, Packed) else matrix
    late: mx.array = mx.depends(stored, other)
    return replace(matrix, weight=late) if isinstance(matrix, Packed) else late


def expanded(matrix: Packed | mx.array, dtype: mx.Dtype) -> mx.array:
    """The matrix in ``dtype``, dequantized if it is packed."""
    return matrix.expand(dtype) if isinstance(matrix, Packed) else matrix.astype(dtype)


def stack_rows(matrices: list[mx.array]) -> mx.array:
    """Matrices under each other, so that one product computes all of their outputs."""
    return matrices[0] if len(matrices) == 1 else mx.concatenate(matrices)
