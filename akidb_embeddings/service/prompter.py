"""Chooses the prompt before a call's texts."""

import logging
from collections.abc import Mapping
from typing import Any

from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.prompts import instruct
from akidb_embeddings.checkpoint.settings import Settings, doubtful_document_prompt, lacks_query_prompt
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import InputError
from akidb_embeddings.service.inputs import check_task, check_text

_log = logging.getLogger(__name__)


class Prompter:
    """The prompts of one service, shared with the services that its ``with_options`` returns."""

    def __init__(self, config: EmbeddingConfig, checkpoint: Checkpoint, settings: Settings) -> None:
        self._config, self._checkpoint, self._settings = config, checkpoint, settings
        self._warned: set[str] = set()

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
            self._warn_once(prompt_name)
            return text
        return self._settings.default_prompt if prompt is None else check_text(prompt)

    def take(self, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Split a call's options into the prompt that they select, as ``resolve`` finds it, and the others."""
        others = dict(options)
        arguments: Any = {name: others.pop(name, None) for name in ("prompt_name", "prompt", "task")}
        return self.resolve(**arguments), others

    def _warn_once(self, name: str) -> None:
        """Warn at the first use of a prompt that may not be the one that the caller expects."""
        if name in self._warned:
            return
        self._warned.add(name)
        if name == "query" and lacks_query_prompt(self._config, self._checkpoint):
            _log.warning(
                "%s has prompts, but none called 'query', so queries get no prompt. Set query_prompt_name to one of "
                "%s, or set query_prompt to '' if that is intended.",
                self._config.model_name,
                ", ".join(self._checkpoint.prompts),
            )
        if name == "document" and (other := doubtful_document_prompt(self._config, self._checkpoint)):
            _log.warning(
                "%s has no prompt 'document', so documents get its prompt %r; sentence-transformers 5 and 6 would "
                "embed them without. Set document_prompt_name to %r to confirm it, or document_prompt to ''."
                if self._settings.prompt(name)
                else "%s has an empty prompt 'document', so documents get no prompt, as in sentence-transformers, "
                "though there is a prompt %r. Set document_prompt_name to %r to use it, or document_prompt to ''.",
                self._config.model_name,
                other,
                other,
            )
