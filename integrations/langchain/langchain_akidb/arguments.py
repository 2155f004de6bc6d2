"""The words that LangChain's users type by habit, put into those of ``EmbeddingConfig``."""

from collections.abc import Mapping
from typing import Any

from akidb_embeddings import ConfigurationError
from akidb_embeddings.service.adapter import rename

_SAME = {
    "model": "model_name",
    "cache_folder": "cache_dir",
    "query_instruction": "query_prompt",
    "embed_instruction": "document_prompt",
    # Entries of HuggingFaceEmbeddings' dictionaries that mean the same here.
    "encode_kwargs['normalize_embeddings']": "normalize",
    "encode_kwargs['batch_size']": "batch_size",
    "encode_kwargs['truncate_dim']": "dimensions",
    "query_encode_kwargs['prompt']": "query_prompt",
    "query_encode_kwargs['prompt_name']": "query_prompt_name",
}
_DEVICE = "AKIDB_BACKEND=cpu in the environment computes on the CPU where there is a GPU"
_ELSEWHERE = {
    "device": _DEVICE,
    "trust_remote_code": "a model's own code is never run",
    "encode_kwargs['device']": _DEVICE,
    "encode_kwargs['show_progress_bar']": "show_progress=True shows a progress bar",
    "query_encode_kwargs['normalize_embeddings']": "normalize holds for queries and documents alike",
    "multi_process": "one engine uses all cores, and all threads of a process share it",
    "model_kwargs": f"revision, pooling and max_tokens are arguments of their own, and {_DEVICE}",
}
_OWN = ("config", "config_path", "show_progress")
_DICTIONARIES = ("encode_kwargs", "query_encode_kwargs")


def in_our_words(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of ``EmbeddingConfig``. ConfigurationError: one is unknown or wrong, or comes twice."""
    flat = {name: value for name, value in given.items() if name not in _DICTIONARIES}
    for name in _DICTIONARIES:
        flat |= _entries(name, given.get(name, {}))
    return rename(flat, _SAME, _ELSEWHERE, [*_OWN, *_SAME, *_DICTIONARIES])


def _entries(name: str, entries: object) -> dict[str, Any]:
    if not isinstance(entries, Mapping):
        raise ConfigurationError(f"{name} is {entries!r}; it must be a dictionary.")
    flat = {f"{name}[{key!r}]": value for key, value in entries.items()}
    for entry in [entry for entry in flat if entry not in _SAME.keys() | _ELSEWHERE.keys()]:
        known = ", ".join(one for one in _SAME if one.startswith(name))
        raise ConfigurationError(
            f"{entry} (value {flat[entry]!r}) has no meaning here; {known} have. Prompts are query_prompt and "
            "document_prompt; the model's own are used unasked."
        )
    return flat
