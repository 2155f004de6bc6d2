"""A model folder: architecture, modules after the encoder, prompts, limits, quantization, tensors.

Only JSON files and headers are read here, without MLX; the engine reads the weights. The folder takes precedence. Where
a conversion dropped files, the registry fills in, then the architecture's default.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.architecture import find_architecture
from akidb_embeddings.checkpoint.config_checks import check_config, check_identity
from akidb_embeddings.checkpoint.dense import Dense, check_dense_weights, dense_layers
from akidb_embeddings.checkpoint.digest import digest
from akidb_embeddings.checkpoint.dtypes import check_dtypes
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE, ModelFolder, read_folder
from akidb_embeddings.checkpoint.modules import INT8_BY_TANH, normalizes
from akidb_embeddings.checkpoint.safetensors import Tensors, locate_tensors
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry import ModelSpec
from akidb_embeddings.registry.architectures import Architecture


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a model folder, completed from the registry.

    Attributes:
        folder: The JSON files.
        config: config.json, with canonical keys.
        architecture: The architecture.
        pooling: The trained pooling; None if it is unknown.
        dense: The dense layers after pooling.
        normalize: Whether vectors were normalized in training.
        int8_by_tanh: Whether vectors end as integers, ``round(127 tanh(x))``.
        dimension: The length of vectors before Matryoshka truncation.
        max_tokens: The model's limit, special tokens included.
        truncate_dim: The length to which its authors truncate vectors; None if they do not.
        matryoshka: The lengths to which vectors were trained to be truncated.
        matryoshka_layer_norm: Whether a LayerNorm without weights precedes truncation.
        final_token: The token that is appended to texts if the tokenizer appends none; None if it alone decides.
        prompts: Prompts by name.
        default_prompt: The prompt of texts for which none is requested.
        quantization: config.json's ``quantization``; {} if there is none.
        tensors: The locations of the tensors by name.
    """

    folder: ModelFolder
    config: Mapping[str, Any]
    architecture: Architecture
    pooling: str | None
    dense: tuple[Dense, ...]
    normalize: bool
    int8_by_tanh: bool
    dimension: int
    max_tokens: int
    truncate_dim: int | None
    matryoshka: Collection[int]
    matryoshka_layer_norm: bool
    final_token: str | None
    prompts: Mapping[str, str]
    default_prompt: str
    quantization: Mapping[str, Any]
    tensors: Tensors

    @property
    def path(self) -> Path:
        """The path of the folder."""
        return self.folder.path

    @property
    def digest(self) -> str:
        """The SHA-256 of weights, tokenizer and settings. Folders with equal digests give equal vectors."""
        # Not a functools.cached_property: before Python 3.12 it holds a lock, which a fork may leave locked.
        if "_digest" not in vars(self):
            vars(self)["_digest"] = digest(self.folder)
        return str(vars(self)["_digest"])


def read_checkpoint(path: Path, spec: ModelSpec | None = None) -> Checkpoint:
    """Read a model folder.

    Args:
        path: The folder.
        spec: The model's entry in the registry, if it has one.

    Raises:
        CheckpointError: A file is missing or damaged, a setting is not supported, or the registry contradicts it.
    """
    folder = read_folder(path)
    architecture = _architecture(path, folder.config)
    config = architecture.canonical(folder.config)
    tensors = _tensors(folder, config, architecture)
    quantization = _quantization(config, architecture.prefix)
    dense, dimension = _dense(folder, tensors, quantization, _hidden_size(path, config))
    prompts, default_prompt = _prompts(folder.description, spec)
    truncate_dim = _truncate_dim(path, folder.description, dimension)
    pooling = _pooling(folder, spec, architecture, config)
    checkpoint = Checkpoint(
        folder=folder,
        config=config,
        architecture=architecture,
        pooling=pooling,
        dense=dense,
        normalize=not folder.has_modules or normalizes(folder.steps),
        int8_by_tanh=any(step.kind == INT8_BY_TANH for step in folder.steps),
        dimension=dimension,
        max_tokens=_max_tokens(folder, config, spec, architecture),
        truncate_dim=truncate_dim,
        matryoshka=_matryoshka(config, truncate_dim, spec, dimension),
        matryoshka_layer_norm=bool(config.get("matryoshka_layer_norm", spec and spec.matryoshka_layer_norm)),
        final_token=_final_token(folder, spec, architecture, pooling),
        prompts=prompts,
        default_prompt=default_prompt,
        quantization=quantization,
        tensors=tensors,
    )
    if spec and checkpoint.dimension != spec.dimension:
        raise CheckpointError(
            f"{path} gives {checkpoint.dimension} dimensions, but {spec.name} has {spec.dimension}: another model."
        )
    return checkpoint


def _pooling(
    folder: ModelFolder, spec: ModelSpec | None, architecture: Architecture, config: Mapping[str, Any]
) -> str | None:
    pooling = folder.pooling or (spec.pooling if spec else None) or architecture.pooling(config)
    if pooling not in (None, *architecture.poolings):
        raise CheckpointError(
            f"{folder.path} asks for {pooling} pooling; this {config['model_type']} model, computed by "
            f"{architecture.computed_by}, allows {' or '.join(architecture.poolings)}: its first token sees no others."
        )
    return pooling


def _final_token(
    folder: ModelFolder, spec: ModelSpec | None, architecture: Architecture, pooling: str | None
) -> str | None:
    """The token to append if the tokenizer appends none; None if the folder's tokenizer decides alone.

    It does in a complete sentence-transformers folder, whose authors trained with it. A model in the registry, and a
    folder that conversions left without those files, get the architecture's token.
    """
    complete = folder.has_modules and folder.pooling is not None
    return architecture.final_token if pooling == "last" and (spec is not None or not complete) else None


def _tensors(folder: ModelFolder, config: Mapping[str, Any], architecture: Architecture) -> Tensors:
    """The locations of the tensors, once they fit their roles and config.json."""
    dense_folders = [step.folder for step in folder.steps if step.kind == "Dense"]
    tensors = locate_tensors(folder.path, architecture.prefix, dense_folders)
    check_dtypes(folder.path, tensors, architecture)
    check_config(folder.path / "config.json", config, architecture, tensors)
    return tensors


def _dense(
    folder: ModelFolder, tensors: Tensors, quantization: Mapping[str, Any], hidden: int
) -> tuple[tuple[Dense, ...], int]:
    """The dense layers, and the length of vectors after them."""
    layers = dense_layers(folder.steps, tensors, quantization, hidden)
    check_dense_weights(folder.steps, layers, tensors, quantization)
    return tuple(layers), layers[-1].outputs if layers else hidden


def _architecture(path: Path, config: Mapping[str, Any]) -> Architecture:
    check_identity(path / "config.json", config)
    try:
        architecture = find_architecture(config)
    except CheckpointError as error:
        raise error.changed(source=str(path)) from None
    if (path / "adapter_config.json").is_file():
        raise CheckpointError(f"{path} is an adapter to another model; merge the two first.")
    return architecture


def _quantization(config: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    """config.json's ``quantization``, with ``prefix`` removed from the layers' names."""
    entry = config.get("quantization") or config.get("quantization_config") or {}
    return {str(key).removeprefix(prefix): value for key, value in entry.items()}


def _prompts(description: Mapping[str, Any], spec: ModelSpec | None) -> tuple[Mapping[str, str], str]:
    """Prompts by name, and the prompt of texts for which none is requested.

    The registry adds names that the folder does not have, because some authors give a prompt only on the model's page,
    and some give the query prompt another name. An empty prompt in the folder does not override the registry's, because
    sentence-transformers writes empty ones for models without prompts.
    """
    named = dict(spec.prompts) if spec else {}
    own = {name: text for name, text in (description.get("prompts") or {}).items() if text is not None}
    named |= {name: text for name, text in own.items() if text or name not in named}
    default = description.get("default_prompt_name")
    if default is not None and default not in named:
        raise CheckpointError(f"default_prompt_name is {default!r}, but the prompts are {', '.join(named) or 'none'}.")
    return named, "" if default is None else named[default]


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


def _max_tokens(
    folder: ModelFolder, config: Mapping[str, Any], spec: ModelSpec | None, architecture: Architecture
) -> int:
    """The authors' limit, else the tokenizer's, and at most the number of positions and the architecture's limit.

    The authors' limit takes precedence over the tokenizer's files: all-MiniLM-L6-v2 has 256 in
    sentence_bert_config.json, 128 in tokenizer.json and 512 in tokenizer_config.json.
    """
    trained = folder.transformer.max_seq_length or (spec.max_tokens if spec else None)
    limit = trained or folder.tokenizer_config.get("model_max_length")
    positions, supported = config.get("max_position_embeddings"), architecture.max_tokens(config)
    limits = [int(value) for value in (limit, positions, supported) if value is not None]
    if not limits:
        raise CheckpointError(f"{folder.path} does not give the model's maximum length (max_position_embeddings).")
    if min(limits) < 1:
        raise CheckpointError(
            f"{folder.path / 'config.json'} gives max_position_embeddings as {positions} and pad_token_id as "
            f"{config.get('pad_token_id')}, which leaves no position for a token."
        )
    return min(limits)


def _hidden_size(path: Path, config: Mapping[str, Any]) -> int:
    """The length of hidden states; CheckpointError if config.json lacks it, or the size of the vocabulary."""
    for key in ("hidden_size", "vocab_size"):
        if config.get(key) is None:
            raise CheckpointError(f"{path / 'config.json'} gives {key} as None; it must be a positive integer.")
    return int(config["hidden_size"])
