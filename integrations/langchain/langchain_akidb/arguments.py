"""The names of arguments in other LangChain classes, mapped to the fields of ``EmbeddingConfig``."""

from collections.abc import Collection, Mapping
from typing import Any

from akidb_embeddings import ConfigurationError, EmbeddingConfig
from akidb_embeddings.service.adapter import rename_arguments
from akidb_embeddings.service.elsewhere import CORES, ENCODE, FASTEMBED, SENTENCE_TRANSFORMER, entries, moves

_ALIASES = {
    "model": "model_name",
    "cache_folder": "cache_dir",
    "max_length": "max_tokens",
    "query_instruction": "query_prompt",
    "embed_instruction": "document_prompt",
    # Entries of HuggingFaceEmbeddings' dictionaries that have a field here.
    "model_kwargs['revision']": "revision",
    "model_kwargs['truncate_dim']": "dimensions",
    "model_kwargs['cache_folder']": "cache_dir",
    "encode_kwargs['normalize_embeddings']": "normalize",
    "encode_kwargs['batch_size']": "batch_size",
    "encode_kwargs['truncate_dim']": "dimensions",
    "query_encode_kwargs['prompt']": "query_prompt",
    "query_encode_kwargs['prompt_name']": "query_prompt_name",
}
_PROGRESS = "show_progress=True shows a progress bar"
_BOTH_PROMPTS = (
    "document_prompt and document_prompt_name are for documents, query_prompt and query_prompt_name for queries, which "
    "get these entries, too, in HuggingFaceEmbeddings without query_encode_kwargs"
)
_QUERIES_TOO = "{} applies to queries and documents alike"
_DICTIONARIES = ("model_kwargs", "encode_kwargs", "query_encode_kwargs")
_UNSUPPORTED = {
    **FASTEMBED,
    **{name: text for name, text in SENTENCE_TRANSFORMER.items() if name not in _DICTIONARIES},
    "multi_process": CORES,
    **entries("model_kwargs", SENTENCE_TRANSFORMER),
    **entries("encode_kwargs", ENCODE),
    "encode_kwargs['show_progress_bar']": _PROGRESS,
    "encode_kwargs['prompt']": _BOTH_PROMPTS,
    "encode_kwargs['prompt_name']": _BOTH_PROMPTS,
    **entries("query_encode_kwargs", ENCODE),
    "query_encode_kwargs['show_progress_bar']": _PROGRESS,
    "query_encode_kwargs['normalize_embeddings']": _QUERIES_TOO.format("normalize"),
    "query_encode_kwargs['batch_size']": _QUERIES_TOO.format("batch_size"),
    "query_encode_kwargs['truncate_dim']": _QUERIES_TOO.format("dimensions"),
}
_OWN = ("config", "config_path", "show_progress")


def _in_dictionaries() -> list[str]:
    return [name for name in (*_ALIASES, *_UNSUPPORTED) if name.startswith(_DICTIONARIES)]


MOVING: Mapping[str, Mapping[str, str]] = {
    "HuggingFaceEmbeddings": moves(
        ("model_name", "model", "cache_folder", "show_progress", "multi_process", *_in_dictionaries()),
        _ALIASES,
        _UNSUPPORTED,
    ),
    "HuggingFaceBgeEmbeddings": moves(("query_instruction", "embed_instruction"), _ALIASES, _UNSUPPORTED),
    "FastEmbedEmbeddings": moves(
        ("model_name", "max_length", "cache_dir", "batch_size", *FASTEMBED), _ALIASES, _UNSUPPORTED
    ),
}
"""What becomes of each argument of the classes that people come from: "the same", the name here, or what there is
instead. The documentation has it as a table."""


def to_config_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Rename arguments to the fields of ``EmbeddingConfig``, including the entries of dictionaries.

    Raises:
        ConfigurationError: An argument is unknown, unsupported or given twice, or a dictionary is not one.
    """
    flat = without_dictionaries(given, _DICTIONARIES, _ALIASES, _UNSUPPORTED, EmbeddingConfig)
    return rename_arguments(flat, _ALIASES, _UNSUPPORTED, [*_OWN, *_ALIASES, *_DICTIONARIES])


def without_dictionaries(
    given: Mapping[str, Any],
    dictionaries: Collection[str],
    aliases: Mapping[str, str],
    unsupported: Mapping[str, str],
    config: type,
) -> dict[str, Any]:
    """The arguments with each entry of a dictionary as one of its own, by a name such as ``model_kwargs['revision']``.

    Args:
        given: The arguments.
        dictionaries: Those that are dictionaries.
        aliases: The names, such an entry's among them, of fields.
        unsupported: The names of what is refused with an explanation.
        config: The class whose fields are arguments.

    Raises:
        ConfigurationError: A dictionary is not one, or has an unknown entry.
    """
    flat = {name: value for name, value in given.items() if name not in dictionaries}
    for name in dictionaries:
        flat |= _entries(name, given.get(name, {}), aliases, unsupported, config)
    return flat


def _entries(
    name: str, entries: object, aliases: Mapping[str, str], unsupported: Mapping[str, str], config: type
) -> dict[str, Any]:
    if not isinstance(entries, Mapping):
        raise ConfigurationError(field=name, reason=f"is {entries!r}; it must be a dictionary.")
    flat = {f"{name}[{key!r}]": value for key, value in entries.items()}
    for entry in [entry for entry in flat if entry not in aliases.keys() | unsupported.keys()]:
        allowed = ", ".join(alias for alias in aliases if alias.startswith(name))
        raise ConfigurationError(
            field=entry,
            reason=f"(value {flat[entry]!r}) is not supported; allowed: {allowed}. Further settings are arguments of "
            f"their own: those of {config.__name__}.",
        )
    return flat
