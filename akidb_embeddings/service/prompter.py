"""Which prompt goes before a call's texts: what callers may give, and what follows for one model."""

import logging
from typing import cast

from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.prompts import instruct
from akidb_embeddings.checkpoint.settings import Settings, lacks_query_prompt
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import InputError
from akidb_embeddings.service.inputs import check_task, check_text
from akidb_embeddings.service.job import Options

_log = logging.getLogger(__name__)


class PromptOptions(Options, total=False):
    """``Options`` and another prompt than the usual one: ``prompt_name`` of the model's, or a ``prompt`` as text."""

    prompt_name: str | None
    prompt: str | None


class QueryOptions(PromptOptions, total=False):
    """``PromptOptions``, or the ``task`` of queries: an instruction for models whose query prompt holds one."""

    task: str | None


class Prompter:
    """The prompts of one service, shared with those that ``with_options`` makes of it."""

    def __init__(self, config: EmbeddingConfig, checkpoint: Checkpoint, settings: Settings) -> None:
        self._config, self._checkpoint, self._settings = config, checkpoint, settings
        self._has_told = False

    def resolve(self, *, prompt_name: str | None = None, prompt: str | None = None, task: str | None = None) -> str:
        """The text that ``encode`` with these arguments puts before each text.

        ConfigurationError: the model has no prompt of that name, or takes no task. InputError: more than one is given.
        """
        options = {"prompt_name": prompt_name, "prompt": prompt, "task": task}
        given = [name for name, value in options.items() if value is not None]
        if len(given) > 1:
            raise InputError(f"Give {' or '.join(given)}, not {'both' if len(given) == 2 else 'all'}.")
        if task is not None:
            return instruct(self._checkpoint.prompts, check_task(task))
        if prompt_name is not None:
            text = self._settings.prompt(prompt_name)
            self._tell_if_missing(prompt_name)
            return text
        return self._settings.default_prompt if prompt is None else check_text(prompt)

    def _tell_if_missing(self, name: str) -> None:
        if name == "query" and not self._has_told and lacks_query_prompt(self._config, self._checkpoint):
            self._has_told = True
            _log.warning(
                "%s has prompts, but none called 'query', so queries get none. Set query_prompt_name to one of %s, or "
                "query_prompt to '' if it is meant so.",
                self._config.model_name,
                ", ".join(self._checkpoint.prompts),
            )


def or_prompt(name: str, options: QueryOptions) -> QueryOptions:
    """The options with the model's prompt called ``name``, unless they have another."""
    given = options.get("prompt_name"), options.get("prompt"), options.get("task")
    return options if any(one is not None for one in given) else {**options, "prompt_name": name}


def for_documents(options: PromptOptions) -> QueryOptions:
    """The options with the model's document prompt, unless they have another. InputError: they have a task."""
    asked = cast(QueryOptions, options)
    if asked.get("task") is not None:  # no type checker looked
        raise InputError("A task is for queries. For other texts with its prompt, use encode(texts, task=…).")
    return or_prompt("document", asked)
