"""What a model folder says: architecture, what follows the encoder, prompts, limits, quantization, tensors.

Only JSON and headers are read here, so it costs nothing of MLX; ``model`` reads the weights. The folder decides. Where
a conversion dropped files, the registry and then the architecture's trained default fill in.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.architecture import find_architecture
from akidb_embeddings.checkpoint.digest import digest
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE, ModelFolder, read_folder
from akidb_embeddings.checkpoint.modules import INT8_BY_TANH, Dense, dense_layers
from akidb_embeddings.checkpoint.safetensors import Tensors, locate_tensors
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry import ModelSpec
from akidb_embeddings.registry.architectures import Architecture


@dataclass(frozen=True)
class Checkpoint:
    """A model folder, read.

    ``pooling`` and ``normalize`` are as trained; ``pooling`` is None where nothing says. ``int8_by_tanh``: whether
    vectors end as integers, ``round(127 tanh(x))``. ``dimension`` is that of the vectors before Matryoshka truncation,
    ``truncate_dim`` what its authors cut them to, if they do, ``matryoshka`` the lengths that they were trained to be
    cut to, ``matryoshka_layer_norm`` whether a LayerNorm without weights comes before. ``max_tokens`` is the model's
    own limit, special tokens included; ``lowercase``: whether texts are lowercased before its tokenizer.
    ``default_prompt`` precedes texts for which none is asked; ``quantization`` is config.json's, {} if there is none.
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
    lowercase: bool
    prompts: Mapping[str, str]
    default_prompt: str
    quantization: Mapping[str, Any]
    tensors: Tensors

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def digest(self) -> str:
        """SHA-256 over weights, tokenizer and settings: folders with the same one give the same vectors."""
        # Not a functools.cached_property: until Python 3.12 it computes under a lock, which a fork may leave held.
        if "_digest" not in vars(self):
            vars(self)["_digest"] = digest(self.folder)
        return str(vars(self)["_digest"])


def read_checkpoint(path: Path, spec: ModelSpec | None = None) -> Checkpoint:
    """Read the folder at ``path``; ``spec`` is the registry's entry, if the model has one.

    CheckpointError: a file is missing or damaged, the architecture or a setting is not supported, or the folder
    contradicts the registry.
    """
    folder = read_folder(path)
    architecture = _architecture(path, folder.config)
    config = architecture.canonical(folder.config)
    if (path / "adapter_config.json").is_file():
        raise CheckpointError(f"{path} is an adapter to another model; merge the two first.")
    dense_folders = [step.folder for step in folder.steps if step.kind == "Dense"]
    tensors = locate_tensors(path, architecture.prefix, dense_folders)
    quantization = _quantization(config, architecture.prefix)
    hidden = _positive(path, config, "hidden_size")
    _positive(path, config, "vocab_size")
    dense = dense_layers(folder.steps, tensors, quantization, hidden)
    dimension = dense[-1].outputs if dense else hidden
    prompts, default_prompt = _prompts(folder.description, spec)
    truncate_dim = _truncate_dim(path, folder.description, dimension)
    checkpoint = Checkpoint(
        folder=folder,
        config=config,
        architecture=architecture,
        pooling=folder.pooling or (spec.pooling if spec else None) or architecture.pooling(config),
        dense=tuple(dense),
        normalize=not folder.has_modules or any(step.kind == "Normalize" for step in folder.steps),
        int8_by_tanh=any(step.kind == INT8_BY_TANH for step in folder.steps),
        dimension=dimension,
        max_tokens=_max_tokens(
            folder,
            config,
            folder.transformer.max_seq_length or (spec.max_tokens if spec else None),
            architecture.max_tokens(config),
        ),
        truncate_dim=truncate_dim,
        matryoshka=_matryoshka(config, truncate_dim, spec, dimension),
        matryoshka_layer_norm=bool(config.get("matryoshka_layer_norm", spec and spec.matryoshka_layer_norm)),
        lowercase=folder.transformer.do_lower_case,
        prompts=prompts,
        default_prompt=default_prompt,
        quantization=quantization,
        tensors=tensors,
    )
    if checkpoint.pooling not in (None, *architecture.poolings):
        raise CheckpointError(
            f"{path} asks for {checkpoint.pooling} pooling; this {config['model_type']} model, computed through "
            f"{architecture.computed_by}, allows {' or '.join(architecture.poolings)}: its first token sees no other."
        )
    if spec and checkpoint.dimension != spec.dimension:
        raise CheckpointError(
            f"{path} gives {checkpoint.dimension} dimensions, but {spec.name} has {spec.dimension}: another model."
        )
    return checkpoint


def _architecture(path: Path, config: Mapping[str, Any]) -> Architecture:
    try:
        return find_architecture(config)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _quantization(config: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    """config.json's ``quantization`` with the layers of its overrides named as this library names tensors."""
    entry = config.get("quantization") or config.get("quantization_config") or {}
    if not isinstance(entry, Mapping):
        raise CheckpointError(f"config.json gives quantization as {entry!r}; it must be an object.")
    return {str(key).removeprefix(prefix): value for key, value in entry.items()}


def _prompts(description: Mapping[str, Any], spec: ModelSpec | None) -> tuple[Mapping[str, str], str]:
    """Prompts by name, and the one that texts get when none is asked for.

    The registry's are there too, for names that the folder does not give: some authors describe a prompt on the model's
    page only, and some call that of a query otherwise. An empty one of the folder does not displace them:
    sentence-transformers writes those for models that come without.
    """
    named = dict(spec.prompts) if spec else {}
    prompts = description.get("prompts")
    if not isinstance(prompts, Mapping):
        return named, ""
    own = {str(name): text for name, text in prompts.items() if isinstance(text, str)}
    named |= {name: text for name, text in own.items() if text or name not in named}
    default = description.get("default_prompt_name")
    if default is not None and (not isinstance(default, str) or default not in named):
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
    """The lengths vectors were trained to be cut to: config.json's list (as vLLM reads it), else the registry's."""
    authors = {truncate_dim} if truncate_dim else set()
    lengths = config.get("matryoshka_dimensions")
    if lengths is not None:
        if not isinstance(lengths, list) or not all(type(one) is int and one > 0 for one in lengths):
            raise CheckpointError(f"config.json gives matryoshka_dimensions as {lengths!r}; it must list lengths.")
        return authors.union(lengths)
    if spec and spec.matryoshka:
        return authors.union(spec.matryoshka)
    if config.get("is_matryoshka") is True:
        least = config.get("matryoshka_minimum", 1)
        return authors.union(range(least if type(least) is int else 1, dimension + 1))
    return authors


def _max_tokens(folder: ModelFolder, config: Mapping[str, Any], chosen: int | None, computed: int | None) -> int:
    """The authors' limit, else the tokenizer's, and never more than there are positions or than are ``computed``.

    The authors' comes before the tokenizer's own files: all-MiniLM-L6-v2 says 256 in sentence_bert_config.json, its
    tokenizer.json 128 and its tokenizer_config.json 512.
    """
    limit = chosen or folder.tokenizer_config.get("model_max_length")
    positions = config.get("max_position_embeddings")
    limits = [int(value) for value in (limit, positions, computed) if isinstance(value, int | float) and value > 0]
    if not limits:
        raise CheckpointError(f"{folder.path} does not say how many tokens its model takes (max_position_embeddings).")
    return min(limits)


def _positive(path: Path, config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or value < 1:
        raise CheckpointError(f"{path / 'config.json'} gives {key} as {value!r}; it must be a positive integer.")
    return value
