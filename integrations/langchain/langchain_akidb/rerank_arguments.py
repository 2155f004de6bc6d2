"""The names of arguments in other LangChain rerankers, mapped to the fields of ``RerankConfig``."""

from collections.abc import Mapping
from typing import Any

from akidb_embeddings import RerankConfig
from akidb_embeddings.config.rerank import FIELDS
from akidb_embeddings.service.adapter import rename_arguments
from akidb_embeddings.service.elsewhere import CROSS_ENCODER_MODEL, RERANK_API, entries, moves
from langchain_akidb.arguments import without_dictionaries

_ALIASES = {
    "model": "model_name",
    "cache_folder": "cache_dir",
    "max_length": "max_tokens",
    # Entries of HuggingFaceCrossEncoder's dictionary that have a field here.
    "model_kwargs['revision']": "revision",
    "model_kwargs['cache_folder']": "cache_dir",
    "model_kwargs['max_length']": "max_tokens",
    "model_kwargs['default_prompt_name']": "prompt_name",
}
_DICTIONARIES = ("model_kwargs",)
_UNSUPPORTED = {
    **{name: text for name, text in CROSS_ENCODER_MODEL.items() if name not in _DICTIONARIES},
    **RERANK_API,
    "score_threshold": "each document has its score in metadata['relevance_score'] to choose by",
    "prefix_metadata": "the score is metadata['relevance_score']",
    **entries("model_kwargs", CROSS_ENCODER_MODEL),
}
_OWN = ("config", "config_path", "top_n", "activation", "max_over_passages")

MOVING: Mapping[str, Mapping[str, str]] = {
    "CrossEncoderReranker": moves(("model", "top_n"), _ALIASES, _UNSUPPORTED),
    "HuggingFaceCrossEncoder": moves(
        ("model_name", *(name for name in (*_ALIASES, *_UNSUPPORTED) if name.startswith(_DICTIONARIES))),
        _ALIASES,
        _UNSUPPORTED,
    ),
    "CohereRerank": moves(
        ("model", "top_n", "client", "cohere_api_key", "base_url", "user_agent"), _ALIASES, _UNSUPPORTED
    ),
    "FlashrankRerank": moves(
        ("model", "top_n", "client", "score_threshold", "prefix_metadata"), _ALIASES, _UNSUPPORTED
    ),
}
"""What becomes of each argument of the classes that people come from: "the same", the name here, or what there is
instead. The documentation has it as a table."""


def to_config_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Rename arguments to the fields of ``RerankConfig``, including the entries of dictionaries.

    Raises:
        ConfigurationError: An argument is unknown, unsupported or given twice, or a dictionary is not one.
    """
    flat = without_dictionaries(given, _DICTIONARIES, _ALIASES, _UNSUPPORTED, RerankConfig)
    return rename_arguments(flat, _ALIASES, _UNSUPPORTED, [*_OWN, *_ALIASES, *_DICTIONARIES], FIELDS)
