"""Linear layers and embedding tables, with their weights in the form a backend uses.

Inputs and outputs are in the compute dtype. ``weights`` builds the layers from a checkpoint.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from akidb_embeddings.compute.runtime import mx

Linear = Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class Quantization:
    """How a matrix is quantized.

    Attributes:
        group_size: Weights per scale.
        bits: Bits per weight.
        mode: One of MLX's quantization modes.
    """

    group_size: int
    bits: int
    mode: str = "affine"


@dataclass(frozen=True)
class Packed:
    """A quantized matrix as stored.

    Attributes:
        weight: uint32 [out, in * bits / 32].
        scales: [out, in / group_size].
        biases: [out, in / group_size]; None in modes without biases (mxfp4).
        quantization: How the matrix is quantized.
    """

    weight: mx.array
    scales: mx.array
    biases: mx.array | None
    quantization: Quantization

    def expand(self, dtype: mx.Dtype) -> mx.array:
        """The dequantized matrix, ``dtype`` [out, in]."""
        q = self.quantization
        return mx.dequantize(self.weight, self.scales, self.biases, q.group_size, q.bits, q.mode, dtype=dtype)

    def rows(self, indices: mx.array) -> "Packed":
        """The rows ``indices``, still quantized."""
        biases = None if self.biases is None else self.biases[indices]
        return Packed(self.weight[indices], self.scales[indices], biases, self.quantization)

    def multiply(self, x: mx.array) -> mx.array:
        """``x @ W^T`` by the quantized kernel."""
        q = self.quantization
        # In two dimensions: the CUDA backend chooses a kernel by the rows of one matrix, not of all.
        rows = x.reshape(-1, x.shape[-1])
        y = mx.quantized_matmul(rows, self.weight, self.scales, self.biases, True, q.group_size, q.bits, q.mode)
        return y.reshape(*x.shape[:-1], -1)


class ExpandedLinear:
    """``x W^T + b`` with the transposed matrix [in, out] in the compute dtype."""

    def __init__(self, transposed: mx.array, bias: mx.array | None) -> None:
        self.transposed, self.bias = transposed, bias

    def __call__(self, x: mx.array) -> mx.array:
        return x @ self.transposed if self.bias is None else mx.addmm(self.bias, x, self.transposed)


class PackedLinear:
    """``x W^T + b`` with a quantized matrix, multiplied by MLX's quantized kernel."""

    def __init__(self, weight: Packed, bias: mx.array | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: mx.array) -> mx.array:
        y = self.weight.multiply(x)
        return y if self.bias is None else y + self.bias


class PerLayerLinear:
    """``x W^T + b`` with matrices kept as stored. Each is expanded only for its own product, to save memory."""

    def __init__(self, parts: list[Packed | mx.array], bias: mx.array | None, dtype: mx.Dtype) -> None:
        self.parts, self.bias, self.dtype = parts, bias, dtype

    def __call__(self, x: mx.array) -> mx.array:
        outputs: list[mx.array] = []
        for part in self.parts:
            # Each matrix depends on the previous output. Without that, MLX expands the matrices of several layers
            # ahead of time, because they depend on no activation.
            matrix = expanded(_depend_on(part, outputs[-1] if outputs else x), self.dtype)
            outputs.append(x @ matrix.T)
        y = outputs[0] if len(outputs) == 1 else mx.concatenate(outputs, axis=-1)
        return y if self.bias is None else y + self.bias


class ConcatenatedLinear:
    """Several linear layers on the same input, their outputs concatenated. For parts that cannot be one matrix."""

    def __init__(self, parts: list[Linear]) -> None:
        self.parts = parts

    def __call__(self, x: mx.array) -> mx.array:
        return mx.concatenate([part(x) for part in self.parts], axis=-1)


class Embedding:
    """An embedding table. Rows are gathered as stored and expanded afterwards, so a large vocabulary stays small."""

    def __init__(self, table: Packed | mx.array, dtype: mx.Dtype) -> None:
        self.table, self.dtype = table, dtype

    def __call__(self, ids: mx.array) -> mx.array:
        """int32 [...] to [..., dimension]."""
        rows = self.table.rows(ids) if isinstance(self.table, Packed) else self.table[ids]
        return expanded(rows, self.dtype)


def _depend_on(matrix: Packed | mx.array, other: mx.array) -> Packed | mx.array:
    """The matrix, evaluated only after ``other``."""
    array = matrix.weight if isinstance(matrix, Packed) else matrix
    dependent: mx.array = mx.depends(array, other)
    return replace(matrix, weight=dependent) if isinstance(matrix, Packed) else dependent


def expanded(matrix: Packed | mx.array, dtype: mx.Dtype) -> mx.array:
    """The matrix in ``dtype``, dequantized if it is packed."""
    return matrix.expand(dtype) if isinstance(matrix, Packed) else matrix.astype(dtype)


def stack_rows(matrices: list[mx.array]) -> mx.array:
    """Concatenate matrices along rows, so that one product computes all of their outputs."""
    return matrices[0] if len(matrices) == 1 else mx.concatenate(matrices)
