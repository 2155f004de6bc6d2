"""A checkpoint's tensors, taken by name: each is used once or named in an error."""

from collections.abc import Mapping, Sequence
from typing import Any

from akidb_embeddings.checkpoint.safetensors import Tensors
from akidb_embeddings.compute.backend import Backend, WeightStorage
from akidb_embeddings.compute.layers import (
    Embedding,
    ExpandedLinear,
    Linear,
    Packed,
    PackedLinear,
    PerLayerLinear,
    Quantization,
    SideBySide,
    expanded,
    stack_rows,
)
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.errors import CheckpointError


class Weights:
    """The tensors of one model, and how a backend wants them.

    ``tensors`` maps names (``layers.0.mlp.up_proj.weight``) to arrays; ``quantization`` is config.json's entry of
    that name, with per-layer overrides keyed by layer name; ``dtype`` is the compute dtype.
    """

    def __init__(
        self, tensors: dict[str, mx.array], quantization: Mapping[str, Any], backend: Backend, dtype: mx.Dtype
    ) -> None:
        self._tensors = tensors
        self._quantization = quantization
        self.storage = backend.storage
        self.dtype = dtype

    def vector(self, name: str, shape: tuple[int, ...]) -> mx.array:
        """A small parameter (a norm's weight, a bias) in the compute dtype."""
        return _now(self._take(name, shape).astype(self.dtype))

    def parameter(self, name: str, like: mx.array) -> mx.array:
        """The tensor, of the shape of ``like``; in the compute dtype, unless it is of integers."""
        tensor = self._take(name, like.shape)
        return _now(tensor.astype(self.dtype) if mx.issubdtype(tensor.dtype, mx.floating) else tensor)

    def embedding(self, name: str, rows: int, dimension: int) -> Embedding:
        """The table ``name.weight``, ``[rows, dimension]``."""
        return Embedding(self.matrix(name, rows, dimension), self.dtype)

    def linear(self, names: str | Sequence[str], inputs: int, outputs: int | Sequence[int], bias: bool) -> Linear:
        """The linear map ``name.weight``; several names with their ``outputs`` become one map, outputs side by side."""
        names = [names] if isinstance(names, str) else names
        outputs = [outputs] if isinstance(outputs, int) else outputs
        parts = [self.matrix(name, rows, inputs) for name, rows in zip(names, outputs, strict=True)]
        offsets = [self.vector(f"{name}.bias", (rows,)) for name, rows in zip(names, outputs, strict=True) if bias]
        if self.storage is WeightStorage.PACKED:
            return self._packed(parts, offsets)
        offset = mx.concatenate(offsets) if offsets else None
        if self.storage is WeightStorage.PER_LAYER:
            return PerLayerLinear(parts, offset, self.dtype)
        matrix = stack_rows([expanded(part, self.dtype) for part in parts])
        # BLAS packs its second factor faster when that lies in rows: a query's products take a fifth less time.
        return ExpandedLinear(_now(mx.contiguous(matrix.T)), offset)

    @property
    def encoder(self) -> dict[str, mx.array]:
        """The encoder's tensors: all but the dense layers'. Others may be set in their place, renamed or joined."""
        return {name: tensor for name, tensor in self._tensors.items() if not name.startswith("dense.")}

    @encoder.setter
    def encoder(self, tensors: dict[str, mx.array]) -> None:
        dense = {name: tensor for name, tensor in self._tensors.items() if name.startswith("dense.")}
        self._tensors = dense | tensors

    def finish(self, ignored: tuple[str, ...] = ()) -> None:
        """Raise CheckpointError for tensors nobody took, other than those whose names start with an ``ignored``."""
        left = sorted(name for name in self._tensors if not name.startswith(ignored))
        if left:
            shown = ", ".join(left[:8]) + (f" and {len(left) - 8} more" if len(left) > 8 else "")
            raise CheckpointError(
                f"The checkpoint has {len(left)} tensors that this architecture does not use: {shown}. Computing "
                "without them would give other vectors than its authors'."
            )

    def _take(self, name: str, shape: tuple[int, ...] | None = None) -> mx.array:
        try:
            tensor = self._tensors.pop(name)
        except KeyError:
            raise CheckpointError(f"The checkpoint lacks the tensor {name}.") from None
        if shape is not None and tensor.shape != shape:
            raise CheckpointError(f"The tensor {name} has shape {tensor.shape}; config.json asks for {shape}.")
        return tensor

    def matrix(self, name: str, *shape: int) -> Packed | mx.array:
        """``name.weight`` ``[rows, columns]``, or several such in one, as stored."""
        if f"{name}.scales" not in self._tensors:
            return _now(self._take(f"{name}.weight", shape))
        quantization = self._quantization_of(name)
        *rows, columns = shape
        weight = self._take(f"{name}.weight", (*rows, columns * quantization.bits // 32))
        groups = (*rows, columns // quantization.group_size)
        scales = self._take(f"{name}.scales", groups)
        if quantization.mode != "affine":
            return Packed(_now(weight), _now(scales), None, quantization)
        biases = self._take(f"{name}.biases", groups)
        return Packed(_now(weight), _now(scales.astype(self.dtype)), _now(biases.astype(self.dtype)), quantization)

    def _quantization_of(self, name: str) -> Quantization:
        """The layer's own entry where config.json has one, else the model's."""
        own = self._quantization.get(name)
        entry = own if isinstance(own, Mapping) else self._quantization
        try:
            return Quantization(entry["group_size"], entry["bits"], entry.get("mode", "affine"))
        except KeyError as missing:
            raise CheckpointError(
                f"{name} is quantized, but config.json's quantization does not give its {missing}."
            ) from None

    def _packed(self, parts: list[Packed | mx.array], offsets: list[mx.array]) -> Linear:
        """One product where all parts are packed alike or all are plain; else one product a part."""
        bias = mx.concatenate(offsets) if offsets else None
        packed = [part for part in parts if isinstance(part, Packed)]
        plain = [part.astype(self.dtype) for part in parts if not isinstance(part, Packed)]
        if not packed:
            return ExpandedLinear(_now(stack_rows(plain)).T, bias)
        if not plain and len({part.quantization for part in packed}) == 1:
            biases = [part.biases for part in packed if part.biases is not None]
            matrix = Packed(
                _now(stack_rows([part.weight for part in packed])),
                _now(stack_rows([part.scales for part in packed])),
                _now(stack_rows(biases)) if biases else None,
                packed[0].quantization,
            )
            return PackedLinear(matrix, bias)
        return SideBySide([self._packed([part], offsets[i : i + 1]) for i, part in enumerate(parts)])


def _now(array: mx.array) -> mx.array:
    """The array, computed. One after the other, so that at most one matrix is held both as stored and as used."""
    mx.eval(array)
    return array


def load_tensors(tensors: Tensors) -> dict[str, mx.array]:
    """The arrays of a checkpoint by name; each is read from its file when it is first used."""
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
