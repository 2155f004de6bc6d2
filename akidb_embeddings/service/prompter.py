"""Chooses the prompt before a call's texts."""

import logging
from typing import Any, cast

from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.prompts import instruct
from akidb_embeddings.checkpoint.settings import Settings, lacks_query_prompt
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import InputError
from akidb_embeddings.service.inputs import check_task, check_text
from akidb_embeddings.service.options import Options, QueryOptions

_log = logging.getLogger(__name__)


class Prompter:
    """The prompts of one service, shared with the services that its ``with_options`` returns."""

    def __init__(self, config: EmbeddingConfig, checkpoint: Checkpoint, settings: Settings) -> None:
        self._config, self._checkpoint, self._settings = config, checkpoint, settings
        self._has_warned = False

    def resolve(self, *, prompt_name: str | None = None, prompt: str | None = None, task: str | None = None) -> str:
        """The text that ``encode`` with these arguments puts before each text.

        Raises:
            ConfigurationError: The model has no prompt of that name, or takes no task.
            InputError: More than one of the arguments is given, or one is not a string.
        """
        options = {"prompt_name": prompt_name, "prompt": prompt, "task": task}
        given = [name for name, value in options.items() if value is not None]
        if len(given) > 1:
            names = " or ".join(f"{{{name}}}" for name in given)
            raise InputError(hint=f"Give {names}, not {'both' if len(given) == 2 else 'all'}.")
        if task is not None:
            return instruct(self._checkpoint.prompts, check_task(task))
        if prompt_name is not None:
            text = self._settings.prompt(prompt_name)
            self._warn_if_missing(prompt_name)
            return text
        return self._settings.default_prompt if prompt is None else check_text(prompt)

    def take(self, options: QueryOptions) -> tuple[str, Options]:
        """Split a call's options into the prompt that they select, as ``resolve`` finds it, and the others."""
        others = dict(options)
        arguments: Any = {name: others.pop(name, None) for name in ("prompt_name", "prompt", "task")}
        return self.resolve(**arguments), cast(Options, others)

    def _warn_if_missing(self, name: str) -> None:
        if name == "query" and not self._has_warned and lacks_query_prompt(self._config, self._checkpoint):
            self._has_warned = True
            _log.warning(
                "%s has prompts, but none called 'query', so queries get no prompt. Set query_prompt_name to one of "
                "%s, or set query_prompt to '' if that is intended.",
                self._config.model_name,
                ", ".join(self._checkpoint.prompts),
            )
