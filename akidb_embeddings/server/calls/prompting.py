"""Which prompt a request has put before each of its texts."""

from typing import Any

from akidb_embeddings.errors import InputError
from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind
from akidb_embeddings.server.calls.embed_options import EmbedOptions
from akidb_embeddings.service.service import EmbeddingService

# What an ``input_type`` calls the prompts "query" and "document", which every model has, if only as empty ones.
_ROLES = {
    "query": "query",
    "search_query": "query",
    "document": "document",
    "search_document": "document",
    "passage": "document",
}
INPUT_TYPES = (*_ROLES, "classification", "clustering")
"""What texts may be for. The last two have a prompt only in models with a prompt of that name."""


def prompt_of(service: EmbeddingService, options: EmbedOptions) -> str | None:
    """The prompt's text; None for the model's default prompt.

    Raises:
        InputError: More than one prompt is given, or there is no such type of texts.
        ConfigurationError: The model has no prompt of that name, or takes no task.
    """
    chosen = chosen_prompt(service, options)
    return service.resolve_prompt(**chosen) if chosen.keys() & {"task", "prompt_name"} else options.prompt


def chosen_prompt(service: EmbeddingService, options: EmbedOptions) -> dict[str, str]:
    """The prompt as an argument of ``encode``; none for the model's default prompt.

    Raises:
        InputError: More than one prompt is given, or there is no such type of texts.
    """
    _check_single(options)
    name = options.prompt_name if options.input_type is None else _name(service, options.input_type)
    if options.task is not None:
        return {"task": options.task}
    if name is not None:
        return {"prompt_name": name}
    return {} if options.prompt is None else {"prompt": options.prompt}


def older_prompt(name: str, prompt_name: str | None) -> dict[str, Any]:
    """The options for a request that names its prompt by the older field ``prompt``.

    Raises:
        ApiError: It has both fields.
    """
    if prompt_name is not None:
        message = "Give prompt_name or prompt, its older name, not both."
        raise ApiError(ErrorKind.INVALID, message, field="prompt_name")
    return {"prompt_name": name, "names": {"prompt_name": "prompt"}}


def _check_single(options: EmbedOptions) -> None:
    """Check that at most one prompt is given. A task is an instruction for queries, and may be given with that role."""
    given = {name: getattr(options, name) for name in ("prompt_name", "prompt", "task", "input_type")}
    chosen = [name for name, value in given.items() if value is not None]
    if chosen == ["task", "input_type"] and _ROLES.get(options.input_type or "") == "query":
        return
    if len(chosen) > 1:
        names = " or ".join(f"{{{name}}}" for name in chosen)
        raise InputError(field=chosen[1], hint=f"Give {names}, not {'both' if len(chosen) == 2 else 'all'}.")


def _name(service: EmbeddingService, input_type: str) -> str | None:
    """The name of the prompt for texts of a type; None if the model has none for it, and texts get the default one.

    Raises:
        InputError: There is no such type.
    """
    if input_type not in INPUT_TYPES:
        raise InputError(
            field="input_type", reason=f"is {input_type[:200]!r}; it must be one of {', '.join(INPUT_TYPES)}."
        )
    own = {name.lower(): name for name in service.settings.prompts}
    return _ROLES.get(input_type) or own.get(input_type)
