"""LoRA adapters in PEFT's layout: what training changed of another model's matrices, as products of two small ones.

Only headers and JSON are read here; ``compute/low_rank.py`` adds the products to the weights.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.adapter_config import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    AdapterConfig,
    read_adapter_config,
)
from akidb_embeddings.checkpoint.dtypes import FLOATS
from akidb_embeddings.checkpoint.safetensors import Location, Tensors, read_header
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Architecture

_PREFIX = "base_model.model."
# The endings of the two tensors of a layer, and of those of a table, whose product PEFT transposes.
_LINEAR = (".lora_A.weight", ".lora_B.weight")
_TABLE = (".lora_embedding_A", ".lora_embedding_B")


@dataclass(frozen=True)
class LowRank:
    """The change of one layer's matrix: ``scaling * up @ down``, or the transpose of that.

    Attributes:
        layer: The name of the layer whose ``weight`` changes.
        down: PEFT's A, [rank, inputs].
        up: PEFT's B, [outputs, rank].
        scaling: The factor.
        transposed: Whether the product is transposed.
    """

    layer: str
    down: Location
    up: Location
    scaling: float
    transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the change."""
        shape = self.up.shape[0], self.down.shape[1]
        return shape[::-1] if self.transposed else shape


@dataclass(frozen=True)
class Adapter:
    """An adapter that fits a model.

    Attributes:
        path: The folder.
        base: The name of the model that it was trained on; None if the folder does not give it.
        changes: The changes of the model's matrices.
    """

    path: Path
    base: str | None
    changes: tuple[LowRank, ...]

    @property
    def files(self) -> tuple[Path, Path]:
        """Its two files."""
        return self.path / ADAPTER_CONFIG, self.path / ADAPTER_WEIGHTS


def read_adapter(
    path: Path,
    architecture: Architecture,
    tensors: Tensors,
    quantization: Mapping[str, Any],
    head_layers: Collection[str] = (),
    *,
    stores_transposed: bool = False,
) -> Adapter:
    """Read an adapter, and match its tensors with the model's.

    Args:
        path: The adapter's folder.
        architecture: The model's architecture.
        tensors: The model's tensors.
        quantization: The model's ``quantization``, as in ``BaseCheckpoint``.
        head_layers: The layers of the model's head, of those that the architecture ignores.
        stores_transposed: Whether the model's layers store their matrices as [inputs, outputs].

    Raises:
        CheckpointError: A file is missing or damaged; a setting is not supported; or a tensor belongs to no matrix of
            the model, or to one of another shape.
    """
    config = read_adapter_config(path)
    file = path / ADAPTER_WEIGHTS
    changes = []
    for module, (down, up, is_table) in sorted(_pairs(file).items()):
        _check_rank(module, down, up, config)
        name = module.removeprefix(architecture.prefix)
        if name not in head_layers and f"{name}.weight".startswith(architecture.ignored):
            continue  # such as a pooler, of which no vector is made: the model may have been saved without it
        layer = _layer(module, architecture, tensors)
        if layer is None:
            raise CheckpointError(
                f"{file} changes {module}, and the model has no {module}.weight: the adapter belongs to another model."
            )
        # fan_in_fan_out says it, too, but PEFT corrects that by the kind of layer.
        change = LowRank(layer, down, up, config.scaling(module), is_table or stores_transposed)
        shape = _matrix_shape(layer, tensors, quantization)
        if change.shape != shape:
            raise CheckpointError(
                f"{file} changes {module} by a matrix of shape {change.shape}, but the model's has {shape}: the "
                "adapter belongs to another model."
            )
        changes.append(change)
    if not changes:
        raise CheckpointError(f"{file} has no LoRA tensors of the encoder: the adapter would change nothing.")
    return Adapter(path, config.base, tuple(changes))


def _pairs(file: Path) -> dict[str, tuple[Location, Location, bool]]:
    """A and B of each module, and whether it is a table."""
    found: dict[str, dict[str, Location]] = {}
    for key, location in read_header(file).items():
        ending = next((ending for ending in (*_LINEAR, *_TABLE) if key.endswith(ending)), None)
        if ending is None or not key.startswith(_PREFIX):
            raise CheckpointError(
                f"{file} has the tensor {key:.200}, which is no LoRA tensor of a matrix "
                f"({_PREFIX}…{_LINEAR[0]}). Modules that were trained as a whole, and biases, are not supported: merge "
                "the adapter with PEFT's merge_and_unload, save the model, and give that."
            )
        if location.dtype not in FLOATS or len(location.shape) != 2:
            raise CheckpointError(
                f"{file} stores the tensor {key:.200} as {location.dtype} with shape {location.shape}; it must be a "
                f"matrix in {', '.join(FLOATS)}."
            )
        found.setdefault(key.removeprefix(_PREFIX).removesuffix(ending), {})[ending] = location
    pairs = {}
    for module, parts in found.items():
        endings = next((endings for endings in (_LINEAR, _TABLE) if parts.keys() == set(endings)), None)
        if endings is None:
            raise CheckpointError(
                f"{file} has {' and '.join(f'{module}{ending}' for ending in parts)}, which is not one A and one B."
            )
        pairs[module] = parts[endings[0]], parts[endings[1]], endings is _TABLE
    return pairs


def _check_rank(module: str, down: Location, up: Location, config: AdapterConfig) -> None:
    if not down.shape[0] == up.shape[1] == config.rank(module):
        raise CheckpointError(
            f"{down.file} has matrices of shapes {down.shape} and {up.shape} for {module}, but {ADAPTER_CONFIG} gives "
            f"the rank {config.rank(module)} (r, rank_pattern)."
        )


def _layer(module: str, architecture: Architecture, tensors: Tensors) -> str | None:
    """The model's name of a module; None if it has no such module.

    An adapter of the bare encoder and one of the model with a head have names that differ by the architecture's prefix,
    which is removed from the names of the model's tensors. mlx-lm's architectures keep theirs, if they have it.
    """
    names = module.removeprefix(architecture.prefix), module, f"model.{module}", module.removeprefix("model.")
    return next((name for name in names if f"{name}.weight" in tensors), None)


def _matrix_shape(layer: str, tensors: Tensors, quantization: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of a layer's matrix; of a quantized one, once it is expanded."""
    shape = tensors[f"{layer}.weight"].shape
    if f"{layer}.scales" not in tensors or not shape:
        return shape
    entry = quantization.get(layer)
    bits = (entry if isinstance(entry, Mapping) else quantization).get("bits")
    return (*shape[:-1], shape[-1] * 32 // bits) if isinstance(bits, int) and bits > 0 else shape
