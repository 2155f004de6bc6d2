"""The names of arguments in other Haystack embedders, mapped to the fields of ``EmbeddingConfig``."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from akidb_embeddings import EmbeddingConfig
from akidb_embeddings.service.adapter import rename_arguments
from akidb_embeddings.service.elsewhere import CORES, ENCODE, FASTEMBED, SENTENCE_TRANSFORMER, moves
from akidb_embeddings.service.shared import folder_of

_ALIASES = {
    "model": "model_name",
    "normalize_embeddings": "normalize",
    "truncate_dim": "dimensions",
}
_UNSUPPORTED = {
    **FASTEMBED,
    **SENTENCE_TRANSFORMER,
    "suffix": "nothing is put after a text; a prompt before it is query_prompt or document_prompt",
    "precision": ENCODE["precision"],
    "encode_kwargs": "normalize, batch_size and dimensions are arguments of their own",
    "parallel": CORES,
    "progress_bar": "a single text needs none",
}
_SENTENCE_TRANSFORMERS = (
    *("model", "device", "token", "prefix", "suffix", "batch_size", "progress_bar", "normalize_embeddings"),
    *("trust_remote_code", "local_files_only", "truncate_dim", "model_kwargs", "tokenizer_kwargs", "config_kwargs"),
    *("precision", "encode_kwargs", "backend", "revision"),
)
_FASTEMBED = (*("model", "cache_dir", "threads", "prefix", "suffix", "progress_bar", "parallel", "local_files_only"),)
_BAR = ("progress_bar", "document_prompt")
_DOCUMENTS = ("batch_size", "meta_fields_to_embed", "embedding_separator")


def _moves(names: Iterable[str], prefix: str) -> dict[str, str]:
    """What becomes of an embedder's arguments; the one of documents has a progress bar."""
    unsupported = {name: text for name, text in _UNSUPPORTED.items() if (name, prefix) != _BAR}
    return moves(names, {**_ALIASES, "prefix": prefix}, unsupported)


MOVING: Mapping[str, Mapping[str, str]] = {
    "SentenceTransformersTextEmbedder": _moves(_SENTENCE_TRANSFORMERS, "query_prompt"),
    "SentenceTransformersDocumentEmbedder": _moves((*_SENTENCE_TRANSFORMERS, *_DOCUMENTS), "document_prompt"),
    "FastembedTextEmbedder": _moves(_FASTEMBED, "query_prompt"),
    "FastembedDocumentEmbedder": _moves((*_FASTEMBED, *_DOCUMENTS), "document_prompt"),
}
"""What becomes of each argument of the classes that people come from: "the same", the name here, or what there is
instead. The documentation has it as a table."""


def configuration(
    model: str | os.PathLike[str] | None,
    config: EmbeddingConfig | None,
    config_path: str | Path | None,
    settings: Mapping[str, Any],
    prefix: str,
) -> EmbeddingConfig:
    """The configuration that a component's arguments give.

    Args:
        model: The model; None for the configuration's.
        config: A whole configuration.
        config_path: A YAML file with one.
        settings: Fields of ``EmbeddingConfig``, some by other names.
        prefix: The field that the argument ``prefix`` stands for.

    Raises:
        ConfigurationError: An argument is unknown, unsupported, given twice, of a wrong type or out of range.
    """
    given = dict(settings) if model is None else {**settings, "model": model}
    aliases = {**_ALIASES, "prefix": prefix}
    return EmbeddingConfig.resolve(config, config_path, **rename_arguments(given, aliases, _UNSUPPORTED, list(aliases)))


def settings_of(config: EmbeddingConfig) -> dict[str, Any]:
    """All fields as the arguments of a component, which give the same vectors wherever they are read.

    A folder gets its absolute path, for programs that run elsewhere.
    """
    values = config.to_dict()
    for name in ("model_name", "adapter"):
        if values[name] and (folder := folder_of(values[name])):
            values[name] = folder
    return {"model": values.pop("model_name"), **values}
