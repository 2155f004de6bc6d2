"""The names of arguments in other LangChain classes, mapped to the fields of ``EmbeddingConfig``."""

from collections.abc import Mapping
from typing import Any

from akidb_embeddings import ConfigurationError
from akidb_embeddings.service.adapter import rename_arguments

_ALIASES = {
    "model": "model_name",
    "cache_folder": "cache_dir",
    "query_instruction": "query_prompt",
    "embed_instruction": "document_prompt",
    # Entries of HuggingFaceEmbeddings' dictionaries that have a field here.
    "encode_kwargs['normalize_embeddings']": "normalize",
    "encode_kwargs['batch_size']": "batch_size",
    "encode_kwargs['truncate_dim']": "dimensions",
    "query_encode_kwargs['prompt']": "query_prompt",
    "query_encode_kwargs['prompt_name']": "query_prompt_name",
}
_DEVICE = "AKIDB_BACKEND=cpu in the environment computes on the CPU where there is a GPU"
_UNSUPPORTED = {
    "device": _DEVICE,
    "trust_remote_code": "a model's own code is never run",
    "encode_kwargs['device']": _DEVICE,
    "encode_kwargs['show_progress_bar']": "show_progress=True shows a progress bar",
    "query_encode_kwargs['normalize_embeddings']": "normalize applies to queries and documents alike",
    "multi_process": "one engine uses all cores, and all threads of a process share it",
    "model_kwargs": f"revision, pooling and max_tokens are arguments of their own, and {_DEVICE}",
}
_OWN = ("config", "config_path", "show_progress")
_DICTIONARIES = ("encode_kwargs", "query_encode_kwargs")


def to_config_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Rename arguments to the fields of ``EmbeddingConfig``, including the entries of dictionaries.

    Raises:
        ConfigurationError: An argument is unknown, unsupported or given twice, or a dictionary is not one.
    """
    flat = {name: value for name, value in given.items() if name not in _DICTIONARIES}
    for name in _DICTIONARIES:
        flat |= _entries(name, given.get(name, {}))
    return rename_arguments(flat, _ALIASES, _UNSUPPORTED, [*_OWN, *_ALIASES, *_DICTIONARIES])


def _entries(name: str, entries: object) -> dict[str, Any]:
    if not isinstance(entries, Mapping):
        raise ConfigurationError(field=name, reason=f"is {entries!r}; it must be a dictionary.")
    flat = {f"{name}[{key!r}]": value for key, value in entries.items()}
    for entry in [entry for entry in flat if entry not in _ALIASES.keys() | _UNSUPPORTED.keys()]:
        known = ", ".join(alias for alias in _ALIASES if alias.startswith(name))
        raise ConfigurationError(
            field=entry,
            reason=f"(value {flat[entry]!r}) is not supported; allowed: {known}. Prompts are set by query_prompt and "
            "document_prompt; the model's own are the default.",
        )
    return flat
