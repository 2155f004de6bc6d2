"""A checkpoint's tensors by name. Each is used exactly once or named in an error."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

from akidb_embeddings.checkpoint.safetensors import Tensors
from akidb_embeddings.compute.backend import Backend, WeightStorage
from akidb_embeddings.compute.layers import (
    ConcatenatedLinear,
    Embedding,
    ExpandedLinear,
    Linear,
    Packed,
    PackedLinear,
    PerLayerLinear,
    Quantization,
    expanded,
    stack_rows,
)
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.errors import CheckpointError


class Weights:
    """The tensors of one model, and the form in which a backend uses them.

    Args:
        tensors: Arrays by name (``layers.0.mlp.up_proj.weight``).
        quantization: config.json's ``quantization``, with per-layer overrides keyed by layer name.
        backend: Decides how weights are stored.
        dtype: The compute dtype.
    """

    def __init__(
        self, tensors: dict[str, mx.array], quantization: Mapping[str, Any], backend: Backend, dtype: mx.Dtype
    ) -> None:
        self._tensors = tensors
        self._quantization = quantization
        self.storage = backend.storage
        self.dtype = dtype

    def in_float32(self) -> Self:
        """The same tensors for layers that compute in float32, expanded, whatever the backend."""
        other = copy.copy(self)
        other.storage, other.dtype = WeightStorage.EXPANDED, mx.float32
        return other

    def peek(self, name: str, rows: int, dimension: int) -> Embedding:
        """The embedding table ``name.weight``, which remains for another user."""
        kept = dict(self._tensors)
        table = self.embedding(name, rows, dimension)
        self._tensors.update(kept)
        return table

    def has(self, name: str) -> bool:
        """Whether there is a tensor ``name`` that was not used yet."""
        return name in self._tensors

    def vector(self, name: str, shape: tuple[int, ...], *, offset: float = 0.0, factor: float = 1.0) -> mx.array:
        """A parameter that is no layer's matrix (a norm's weight, a bias, several experts) in the compute dtype.

        Args:
            name: The tensor's name.
            shape: Its shape.
            offset: What is added to it, in float32.
            factor: What the sum is multiplied by, in float32.
        """
        tensor = self._pop(name, shape, mx.floating)
        if (offset, factor) != (0.0, 1.0):
            tensor = (tensor.astype(mx.float32) + offset) * factor
        return _evaluated(tensor.astype(self.dtype))

    def parameter(self, name: str, like: mx.array) -> mx.array:
        """The tensor ``name``, with the shape and kind of ``like``. Floats are cast to the compute dtype."""
        tensor = self._pop(name, like.shape, mx.floating if mx.issubdtype(like.dtype, mx.floating) else mx.generic)
        return _evaluated(tensor.astype(self.dtype) if mx.issubdtype(tensor.dtype, mx.floating) else tensor)

    def embedding(self, name: str, rows: int, dimension: int) -> Embedding:
        """The embedding table ``name.weight``, [rows, dimension]."""
        return Embedding(self.matrix(name, rows, dimension), self.dtype)

    def linear(self, names: str | Sequence[str], inputs: int, outputs: int | Sequence[int], bias: bool) -> Linear:
        """The linear layer ``name.weight``.

        Args:
            names: One layer, or several that are fused into one with concatenated outputs.
            inputs: The number of inputs.
            outputs: The number of outputs, for each of ``names``.
            bias: Whether each of ``names`` has a bias.
        """
        names = [names] if isinstance(names, str) else names
        outputs = [outputs] if isinstance(outputs, int) else outputs
        parts = [self.matrix(name, rows, inputs) for name, rows in zip(names, outputs, strict=True)]
        biases = [self.vector(f"{name}.bias", (rows,)) for name, rows in zip(names, outputs, strict=True) if bias]
        if self.storage is WeightStorage.PACKED:
            return self._packed_linear(parts, biases)
        bias_vector = mx.concatenate(biases) if biases else None
        if self.storage is WeightStorage.PER_LAYER:
            return PerLayerLinear(parts, bias_vector, self.dtype)
        matrix = stack_rows([expanded(part, self.dtype) for part in parts])
        # BLAS packs a row-contiguous second factor faster: a query's products take a fifth less time.
        return ExpandedLinear(_evaluated(mx.contiguous(matrix.T)), bias_vector)

    @property
    def encoder(self) -> dict[str, mx.array]:
        """The encoder's tensors, without the dense layers'. They can be replaced by renamed or fused ones."""
        return {name: tensor for name, tensor in self._tensors.items() if not name.startswith("dense.")}

    @encoder.setter
    def encoder(self, tensors: dict[str, mx.array]) -> None:
        dense = {name: tensor for name, tensor in self._tensors.items() if name.startswith("dense.")}
        self._tensors = dense | tensors

    def finish(self, ignored: tuple[str, ...] = ()) -> None:
        """Check that every tensor was used.

        Args:
            ignored: Prefixes of the names of tensors that may remain unused.

        Raises:
            CheckpointError: A tensor was not used.
        """
        unused = sorted(name for name in self._tensors if not name.startswith(ignored))
        if unused:
            shown = ", ".join(unused[:8]) + (f" and {len(unused) - 8} more" if len(unused) > 8 else "")
            raise CheckpointError(
                f"The checkpoint has {len(unused)} tensors that this architecture does not use: {shown}. Without "
                "them, vectors would differ from the authors'."
            )

    def _pop(self, name: str, shape: tuple[int, ...], kind: mx.Dtype | mx.DtypeCategory) -> mx.array:
        """Take the tensor ``name``. ``kind`` is the dtype, or the category of dtypes, that its role allows."""
        try:
            tensor = self._tensors.pop(name)
        except KeyError:
            raise CheckpointError(f"The checkpoint lacks the tensor {name}.") from None
        if tensor.shape != shape:
            raise CheckpointError(f"The tensor {name} has shape {tensor.shape}; config.json requires {shape}.")
        fits = mx.issubdtype(tensor.dtype, kind) if isinstance(kind, mx.DtypeCategory) else tensor.dtype == kind
        if not fits:
            raise CheckpointError(f"The tensor {name} holds {tensor.dtype}; its role allows {kind}.")
        return tensor

    def matrix(self, name: str, *shape: int) -> Packed | mx.array:
        """``name.weight``, [rows, columns] or [matrices, rows, columns], as stored."""
        if f"{name}.scales" not in self._tensors:
            return _evaluated(self._pop(f"{name}.weight", shape, mx.floating))
        quantization = quantization_of(self._quantization, name)
        *rows, columns = shape
        is_affine = quantization.mode == "affine"
        weight = self._pop(f"{name}.weight", (*rows, columns * quantization.bits // 32), mx.uint32)
        groups = (*rows, columns // quantization.group_size)
        scales = self._pop(f"{name}.scales", groups, mx.floating if is_affine else mx.uint8)
        if not is_affine:
            return Packed(_evaluated(weight), _evaluated(scales), None, quantization)
        biases = self._pop(f"{name}.biases", groups, mx.floating)
        return Packed(
            _evaluated(weight),
            _evaluated(scales.astype(self.dtype)),
            _evaluated(biases.astype(self.dtype)),
            quantization,
        )

    def _packed_linear(self, parts: list[Packed | mx.array], biases: list[mx.array]) -> Linear:
        """One product where all parts are quantized alike or none is; else one product per part."""
        bias = mx.concatenate(biases) if biases else None
        packed = [part for part in parts if isinstance(part, Packed)]
        plain = [part.astype(self.dtype) for part in parts if not isinstance(part, Packed)]
        if not packed:
            return ExpandedLinear(_evaluated(stack_rows(plain)).T, bias)
        if not plain and len({part.quantization for part in packed}) == 1:
            group_biases = [part.biases for part in packed if part.biases is not None]
            matrix = Packed(
                _evaluated(stack_rows([part.weight for part in packed])),
                _evaluated(stack_rows([part.scales for part in packed])),
                _evaluated(stack_rows(group_biases)) if group_biases else None,
                packed[0].quantization,
            )
            return PackedLinear(matrix, bias)
        return ConcatenatedLinear([self._packed_linear([part], biases[i : i + 1]) for i, part in enumerate(parts)])


def quantization_of(quantization: Mapping[str, Any], name: str) -> Quantization:
    """How the layer ``name`` is quantized: by its own entry in config.json, else the model's.

    Raises:
        CheckpointError: The entry does not say it.
    """
    override = quantization.get(name)
    entry = override if isinstance(override, Mapping) else quantization
    try:
        return Quantization(entry["group_size"], entry["bits"], entry.get("mode", "affine"))
    except KeyError as missing:
        raise CheckpointError(
            f"{name} is quantized, but config.json's quantization does not give its {missing}."
        ) from None


def _evaluated(array: mx.array) -> mx.array:
    """The array, evaluated now, so that at most one matrix at a time is held both as stored and as used."""
    mx.eval(array)
    return array


def load_tensors(tensors: Tensors) -> dict[str, mx.array]:
    """The arrays of a checkpoint by name. Each is read from its file on first use.

    Raises:
        CheckpointError: A file cannot be read.
    """
    files = {location.file for location in tensors.values()}
    try:
        contents = {file: mx.load(str(file)) for file in files}
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"The weights cannot be read: {error}") from error
    arrays = {}
    for name, location in tensors.items():
        content = contents[location.file]
        assert isinstance(content, dict)  # what a safetensors file loads as
        arrays[name] = content[location.key]
    return arrays
