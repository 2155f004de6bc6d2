"""The folder of a model that makes vectors: its modules after the encoder, pooling and lengths of vectors."""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.adapter import Adapter, read_adapter
from akidb_embeddings.checkpoint.base import (
    BaseCheckpoint,
    check_sizes,
    read_architecture,
    read_limit,
    read_prompts,
    read_quantization,
    read_tensors,
)
from akidb_embeddings.checkpoint.classes import check_no_reranker
from akidb_embeddings.checkpoint.dense import Dense, check_dense_weights, dense_layers
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE, ModelFolder, read_folder
from akidb_embeddings.checkpoint.modules import INT8_BY_TANH, SENTENCE_EMBEDDING, TOKEN_EMBEDDINGS, normalizes
from akidb_embeddings.checkpoint.safetensors import Tensors
from akidb_embeddings.checkpoint.sparse import WEIGHT_LAYER, SparseHead, Splade, splade_head, with_token_weights
from akidb_embeddings.checkpoint.token_vectors import TokenVectors, read_token_vectors, with_markers
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry import ModelSpec
from akidb_embeddings.registry.architectures import MODEL2VEC, Architecture
from akidb_embeddings.registry.outputs import DENSE, SPARSE, TOKENS


@dataclass(frozen=True)
class Checkpoint(BaseCheckpoint):
    """The folder of a model that makes vectors.

    Attributes:
        pooling: The trained pooling, or the only output if that is no dense vector; None if it is unknown.
        dense: The dense layers after pooling.
        normalize: Whether vectors were normalized in training.
        int8_by_tanh: Whether vectors end as integers, ``round(127 tanh(x))``.
        dimension: The length of vectors before Matryoshka truncation.
        truncate_dim: The length to which its authors truncate dense vectors; None if they do not.
        matryoshka: The lengths to which vectors were trained to be truncated.
        matryoshka_layer_norm: Whether a LayerNorm without weights precedes truncation.
        sparse: What makes sparse weights; None if nothing does.
        late: What its token vectors are; None if it makes others.
    """

    pooling: str | None
    dense: tuple[Dense, ...]
    normalize: bool
    int8_by_tanh: bool
    dimension: int
    truncate_dim: int | None
    matryoshka: Collection[int]
    matryoshka_layer_norm: bool
    sparse: SparseHead | None
    late: TokenVectors | None

    @property
    def after_encoder(self) -> Hashable:
        """See ``BaseCheckpoint``."""
        return self.dense, self.int8_by_tanh, self.sparse

    @property
    def head_layers(self) -> tuple[str, ...]:
        """See ``BaseCheckpoint``."""
        if isinstance(self.sparse, Splade):
            assert self.architecture.masked_lm is not None
            return self.architecture.masked_lm.layers
        return () if self.sparse is None else (WEIGHT_LAYER,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What it makes of a text, some of ``OUTPUTS``."""
        made = {
            DENSE: self.late is None and not isinstance(self.sparse, Splade),
            SPARSE: self.sparse is not None,
            TOKENS: self.late is not None,
        }
        return tuple(output for output, is_made in made.items() if is_made)


# mlx-lm's architectures whose layers are transformers' Conv1D, which stores matrices as [inputs, outputs].
_CONV1D = ("gpt2",)


def read_checkpoint(path: Path, spec: ModelSpec | None = None, adapter: Path | None = None) -> Checkpoint:
    """Read a model folder.

    Args:
        path: The folder.
        spec: The model's entry in the registry, if it has one.
        adapter: The folder of a LoRA adapter to the model; None for none.

    Raises:
        CheckpointError: A file is missing or damaged, a setting is not supported, the registry contradicts it, or the
            adapter belongs to another model.
    """
    folder = read_folder(path, adapter=adapter)
    architecture = read_architecture(path, folder.config)
    config = architecture.canonical(folder.config)
    tensors = read_tensors(folder, config, architecture)
    check_no_reranker(path, config, architecture, tensors)
    quantization = read_quantization(config, architecture.prefix)
    hidden = _hidden_size(path, config, architecture)
    tensors, weights = with_token_weights(path, tensors, hidden)
    splade = splade_head(folder, tensors, config, architecture.masked_lm)
    late = read_token_vectors(folder, config, architecture)
    dense, length = _dense(folder, tensors, quantization, hidden, is_late=late is not None)
    dimension = int(config["vocab_size"]) if splade else length
    prompts, default_prompt = _prompts(folder, spec, late)
    truncate_dim = None if splade or late else _truncate_dim(path, folder.description, dimension)
    pooling = SPARSE if splade else TOKENS if late else _pooling(folder, spec, architecture, config)
    checkpoint = Checkpoint(
        folder=folder,
        config=config,
        architecture=architecture,
        pooling=pooling,
        dense=dense,
        normalize=_normalizes(folder),
        int8_by_tanh=any(step.kind == INT8_BY_TANH for step in folder.steps),
        dimension=dimension,
        max_tokens=read_limit(folder, config, spec, architecture),
        truncate_dim=truncate_dim,
        matryoshka=_matryoshka(config, truncate_dim, spec, dimension),
        matryoshka_layer_norm=bool(config.get("matryoshka_layer_norm", spec and spec.matryoshka_layer_norm)),
        final_token=_final_token(folder, spec, architecture, pooling),
        prompts=prompts,
        default_prompt=default_prompt,
        quantization=quantization,
        tensors=tensors,
        adapter=None if adapter is None else _adapter(adapter, config, architecture, tensors, quantization, splade),
        sparse=splade or weights,
        late=late,
    )
    return _checked(checkpoint, spec)


def _adapter(
    path: Path,
    config: Mapping[str, Any],
    architecture: Architecture,
    tensors: Tensors,
    quantization: Mapping[str, Any],
    splade: Splade | None,
) -> Adapter:
    spec = architecture.masked_lm if splade else None
    found = read_adapter(
        path,
        architecture,
        tensors,
        quantization,
        spec.layers if spec else (),
        stores_transposed=config["model_type"] in _CONV1D,
    )
    if spec and splade and splade.tied and any(change.layer == spec.table for change in found.changes):
        raise CheckpointError(
            f"{path} changes the token embeddings, which are also the last layer of this masked language model. PEFT "
            "changes that layer only when it merges: merge the adapter with merge_and_unload, save the model, and give "
            "that."
        )
    return found


def _hidden_size(path: Path, config: Mapping[str, Any], architecture: Architecture) -> int:
    check_sizes(path, config)
    return architecture.dimension(config)


def _prompts(folder: ModelFolder, spec: ModelSpec | None, late: TokenVectors | None) -> tuple[Mapping[str, str], str]:
    """The prompts by name, and the default one's name."""
    description = with_markers(folder.description) if late else folder.description
    return read_prompts(description, spec.prompts if spec else {})


def _checked(checkpoint: Checkpoint, spec: ModelSpec | None) -> Checkpoint:
    """The checkpoint, whose dimension is the registry's, and whose expanded queries have positions."""
    expansion = checkpoint.late.expansion if checkpoint.late else None
    if expansion and expansion.length > checkpoint.positions:
        raise CheckpointError(
            f"{checkpoint.path} expands queries to {expansion.length} tokens, but the encoder has "
            f"{checkpoint.positions} positions."
        )
    if spec and checkpoint.dimension != spec.dimension:
        raise CheckpointError(
            f"{checkpoint.path} gives {checkpoint.dimension} dimensions, but {spec.name} has {spec.dimension}: another "
            "model."
        )
    return checkpoint


def _pooling(
    folder: ModelFolder, spec: ModelSpec | None, architecture: Architecture, config: Mapping[str, Any]
) -> str | None:
    pooling = folder.pooling or (spec.pooling if spec else None) or architecture.pooling(config)
    if pooling not in (None, *architecture.poolings):
        raise CheckpointError(
            f"{folder.path} asks for {pooling} pooling; {architecture.described(config)} allows "
            f"{' or '.join(architecture.poolings)}: its first token sees no others."
        )
    return pooling


def _normalizes(folder: ModelFolder) -> bool:
    if folder.has_modules:
        return normalizes(folder.steps)
    return folder.config.get("model_type") != MODEL2VEC or bool(folder.config.get("normalize"))


def _final_token(
    folder: ModelFolder, spec: ModelSpec | None, architecture: Architecture, pooling: str | None
) -> str | None:
    """The token to append if the tokenizer appends none; None if the folder's tokenizer decides alone.

    It does in a complete sentence-transformers folder, whose authors trained with it. A model in the registry, unless
    its entry says otherwise, and a folder that conversions left without those files, get the architecture's token.
    """
    complete = folder.has_modules and folder.pooling is not None
    gets_one = spec.gets_final_token if spec else not complete
    return architecture.final_token if pooling == "last" and gets_one else None


def _dense(
    folder: ModelFolder, tensors: Tensors, quantization: Mapping[str, Any], hidden: int, is_late: bool
) -> tuple[tuple[Dense, ...], int]:
    """The dense layers, and the length of vectors after them."""
    applied_to = TOKEN_EMBEDDINGS if is_late else SENTENCE_EMBEDDING
    layers = dense_layers(folder.steps, tensors, quantization, hidden, applied_to)
    check_dense_weights(folder.steps, layers, tensors, quantization)
    return tuple(layers), layers[-1].outputs if layers else hidden


def _truncate_dim(path: Path, description: Mapping[str, Any], dimension: int) -> int | None:
    cut = description.get("truncate_dim")
    if cut is None or (type(cut) is int and 0 < cut <= dimension):
        return cut
    raise CheckpointError(f"{path / PROMPTS_FILE} gives truncate_dim as {cut!r}; it must be from 1 to {dimension}.")


def _matryoshka(
    config: Mapping[str, Any], truncate_dim: int | None, spec: ModelSpec | None, dimension: int
) -> Collection[int]:
    """The trained lengths: config.json's list (which vLLM reads too), else the registry's."""
    authors = {truncate_dim} if truncate_dim else set()
    lengths = config.get("matryoshka_dimensions")
    if lengths is not None:
        return authors.union(lengths)
    if spec and spec.matryoshka:
        return authors.union(spec.matryoshka)
    if config.get("is_matryoshka") is True:
        return authors.union(range(config.get("matryoshka_minimum") or 1, dimension + 1))
    return authors
