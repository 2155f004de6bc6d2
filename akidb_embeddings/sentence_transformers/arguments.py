"""The arguments of ``SentenceTransformer`` and its ``encode``: which are accepted, and what is said of the others."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, cast

from akidb_embeddings.config.file import check_keys
from akidb_embeddings.errors import ArgumentError, InputError
from akidb_embeddings.service.elsewhere import CORES, SENTENCE_TRANSFORMER
from akidb_embeddings.vectors import PRECISIONS

P = ParamSpec("P")
R = TypeVar("R")

SETTINGS = (
    *("pooling", "untrained_dimensions", "max_tokens", "truncate", "batch_size", "memory", "compute"),
    *("warm_up", "keep_warm", "max_queued_tokens", "adapter", "adapter_revision"),
)
"""Fields of ``EmbeddingConfig`` that the constructor takes besides sentence-transformers' arguments."""

ALLOWED_PRECISIONS = tuple(name for name in PRECISIONS if name != "float16")
"""Those of ``encode``."""

_UNSUPPORTED: Mapping[str, str] = {
    **{
        name: SENTENCE_TRANSFORMER[name]
        for name in (
            *("modules", "token", "use_auth_token", "model_kwargs", "processor_kwargs", "tokenizer_kwargs"),
            *("config_kwargs", "model_card_data"),
        )
    },
    "normalize": "vectors are as the model's modules make them; encode(…, normalize_embeddings=True) normalizes",
    "dimensions": "give truncate_dim",
    "query_prompt": "give prompts={'query': …}",
    "document_prompt": "give prompts={'document': …}",
    "cache_dir": "give cache_folder",
    "auto_download": "give local_files_only=True",
}
_ENCODE: Mapping[str, str] = {
    "task": "a prompt tells a model its task: give prompt_name or prompt, or call encode_query or encode_document",
    "processing_kwargs": "the tokenizer is the model's; set max_seq_length for another limit",
    "pool": CORES,
}
_OUTPUTS = "there is one vector per text, and no embeddings of single tokens; the only value is 'sentence_embedding'"


def check_constructor(given: Mapping[str, Any], backend: str) -> dict[str, Any]:
    """Check the constructor's arguments beyond those that it has.

    Returns:
        Those that are ``SETTINGS``.

    Raises:
        ArgumentError: One is unknown, or can do nothing here and is given; the message says what there is instead.
    """
    for name, value in given.items():
        if name in _UNSUPPORTED and value not in (None, {}):
            raise ArgumentError(
                field=name, reason=f"(value {value!r}) is not supported: {_UNSUPPORTED[name]}. Leave it out."
            )
    if backend != "torch":
        raise ArgumentError(
            field="backend", reason=f"is {backend!r}; {SENTENCE_TRANSFORMER['backend']}. Leave it out, or give 'torch'."
        )
    settings = {name: value for name, value in given.items() if name not in _UNSUPPORTED}
    check_keys(settings, SETTINGS)
    return settings


def check_encode(output_value: object, precision: object, batch_size: object, given: Mapping[str, Any]) -> None:
    """Check those arguments of ``encode`` that cannot all be honoured; ``given`` are those that only have a reason.

    Raises:
        ArgumentError: An argument can do nothing here; the message says what there is instead.
        InputError: A value is not allowed.
    """
    if output_value != "sentence_embedding":
        raise InputError(field="output_value", reason=f"is {output_value!r}; {_OUTPUTS}.")
    if precision not in (None, *ALLOWED_PRECISIONS):
        raise InputError(
            field="precision", reason=f"is {precision!r}; it must be one of {', '.join(ALLOWED_PRECISIONS)}."
        )
    if not isinstance(batch_size, int) or batch_size <= 0:
        raise InputError(field="batch_size", reason=f"is {batch_size!r}; it must be a positive integer.")
    for name, value in given.items():
        if name in _ENCODE and value is not None:
            raise ArgumentError(field=name, reason=f"(value {value!r}) is not supported: {_ENCODE[name]}.")


def checked_names(method: Callable[P, R]) -> Callable[P, R]:
    """Make a method refuse unknown arguments by name, and take ``sentences``, the older name of ``inputs``."""
    known = [name for name in signature(method).parameters if name not in ("self", "kwargs")]

    @wraps(method)
    def call(*positional: P.args, **given: P.kwargs) -> R:
        named = cast("dict[str, Any]", given)
        if "sentences" in named:
            texts = named.pop("sentences")
            if "inputs" in named or len(positional) > 1:
                raise ArgumentError("inputs and sentences are the same argument, and both are given; give one.")
            named["inputs"] = texts
        check_keys(named, [*known, *_ENCODE], function=method.__name__)
        return method(*positional, **given)

    return call
