"""What a model folder says of any model, whether it makes vectors or scores: architecture, limits, prompts, tensors.

Only JSON files and headers are read here, without MLX; the engine reads the weights. The folder takes precedence. Where
a conversion dropped files, the registry fills in, then the architecture's default.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.adapter import Adapter
from akidb_embeddings.checkpoint.architecture import find_architecture
from akidb_embeddings.checkpoint.config_checks import check_config, check_identity
from akidb_embeddings.checkpoint.digest import digest
from akidb_embeddings.checkpoint.dtypes import check_dtypes
from akidb_embeddings.checkpoint.folder import ModelFolder
from akidb_embeddings.checkpoint.safetensors import Tensors, locate_tensors
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry import Spec
from akidb_embeddings.registry.architectures import Architecture

FileVersions = tuple[tuple[str, int, int, int, int], ...]
"""Of each file its path, inode, times in nanoseconds of its contents and of its last change, and size."""


@dataclass(frozen=True)
class BaseCheckpoint(ABC):
    """The contents of a model folder, completed from the registry.

    Attributes:
        folder: The JSON files.
        config: config.json, with canonical keys.
        architecture: The architecture.
        max_tokens: The model's limit, special tokens included.
        final_token: The token that is appended to texts if the tokenizer appends none; None if it alone decides.
        prompts: Prompts by name.
        default_prompt: The prompt of texts for which none is requested.
        quantization: config.json's ``quantization``; {} if there is none.
        tensors: The locations of the tensors by name.
        adapter: What is added to the tensors; None for nothing.
    """

    folder: ModelFolder
    config: Mapping[str, Any]
    architecture: Architecture
    max_tokens: int
    final_token: str | None
    prompts: Mapping[str, str]
    default_prompt: str
    quantization: Mapping[str, Any]
    tensors: Tensors
    adapter: Adapter | None = field(default=None, kw_only=True)

    @property
    def path(self) -> Path:
        """The path of the folder."""
        return self.folder.path

    @property
    def digest(self) -> str:
        """The SHA-256 of weights, tokenizer, settings and adapter. Equal digests mean equal vectors and scores."""
        # Not a functools.cached_property: before Python 3.12 it holds a lock, which a fork may leave locked.
        if "_digest" not in vars(self):
            vars(self)["_digest"] = digest(self.folder)
        return str(vars(self)["_digest"])

    def file_versions(self) -> FileVersions:
        """What tells whether a file of the weights or of the adapter is written again, without reading it.

        Raises:
            OSError: A file is gone.
        """
        files = {location.file.resolve() for location in self.tensors.values()}
        files |= {file.resolve() for file in self.adapter.files} if self.adapter else set()
        stats = sorted((str(file), file.stat()) for file in files)
        # The times of contents may be set back, as copying programs do; that of the last change may not.
        return tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for name, stat in stats)

    def check_versions(self, versions: FileVersions) -> None:
        """Check that the files are still those of ``versions``, or have the same contents, as after a copy.

        Raises:
            CheckpointError: A file was written again, or is gone.
        """
        try:
            is_same = self.file_versions() == versions or digest(self.folder) == vars(self).get("_digest")
        except OSError:
            is_same = False
        if not is_same:
            raise CheckpointError(f"The files in {self.path} have changed since the model was opened. Open it again.")

    @property
    def positions(self) -> int:
        """The largest number of tokens that the encoder has positions for, whatever its authors' limit is."""
        given = self.config.get("max_position_embeddings"), self.architecture.max_tokens(self.config)
        return min((int(value) for value in given if value is not None), default=self.max_tokens)

    @property
    @abstractmethod
    def after_encoder(self) -> Hashable:
        """What is computed of the encoder's hidden states, for comparison."""

    @property
    def head_layers(self) -> tuple[str, ...]:
        """The layers of the head that makes scores, by the names of their tensors; none if it makes vectors."""
        return ()

    @property
    def used_tensors(self) -> Tensors:
        """The tensors that vectors or scores depend on."""
        ignored, head = self.architecture.ignored, self.head_layers
        return {
            name: location
            for name, location in self.tensors.items()
            if name.rpartition(".")[0] in head or not name.startswith(ignored)
        }


def read_tensors(folder: ModelFolder, config: Mapping[str, Any], architecture: Architecture) -> Tensors:
    """The locations of the tensors, once they fit their roles and config.json."""
    dense_folders = [step.folder for step in folder.steps if step.kind == "Dense"]
    located = locate_tensors(folder.encoder, architecture.prefix, dense_folders)
    tensors = {architecture.tensor_names.get(name, name): location for name, location in located.items()}
    check_dtypes(folder.path, tensors, architecture)
    check_config(folder.path / "config.json", config, architecture, tensors)
    return tensors


def read_architecture(path: Path, config: Mapping[str, Any]) -> Architecture:
    """The architecture of the folder's config.json; CheckpointError if it is none of a whole, known model."""
    check_identity(path / "config.json", config)
    try:
        architecture = find_architecture(config)
    except CheckpointError as error:
        raise error.changed(source=str(path)) from None
    return architecture


def read_quantization(config: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    """config.json's ``quantization``, with ``prefix`` removed from the layers' names."""
    entry = config.get("quantization") or config.get("quantization_config") or {}
    return {str(key).removeprefix(prefix): value for key, value in entry.items()}


def read_prompts(description: Mapping[str, Any], known: Mapping[str, str]) -> tuple[Mapping[str, str], str]:
    """Prompts by name, and the prompt of texts for which none is requested.

    The registry adds names that the folder does not have, because some authors give a prompt only on the model's page,
    and some give the query prompt another name. An empty prompt in the folder does not override the registry's, because
    sentence-transformers writes empty ones for models without prompts.
    """
    named = dict(known)
    own = {name: text for name, text in (description.get("prompts") or {}).items() if text is not None}
    named |= {name: text for name, text in own.items() if text or name not in named}
    default = description.get("default_prompt_name")
    if default is not None and default not in named:
        raise CheckpointError(f"default_prompt_name is {default!r}, but the prompts are {', '.join(named) or 'none'}.")
    return named, "" if default is None else named[default]


def read_limit(folder: ModelFolder, config: Mapping[str, Any], spec: Spec | None, architecture: Architecture) -> int:
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


def check_sizes(path: Path, config: Mapping[str, Any]) -> None:
    """CheckpointError if config.json lacks the length of hidden states, or the size of the vocabulary."""
    for key in ("hidden_size", "vocab_size"):
        if config.get(key) is None:
            raise CheckpointError(f"{path / 'config.json'} gives {key} as None; it must be a positive integer.")
