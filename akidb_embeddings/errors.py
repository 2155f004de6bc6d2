"""Every error a caller can meet, in one hierarchy.

``except EmbeddingError`` catches all of them. Each also inherits from the built-in exception
that callers already expect (``ValueError`` for bad values, ``OSError`` for failed downloads, …).
"""

import copy
from collections.abc import Mapping
from string import Formatter
from typing import Any, Self

Names = Mapping[str, str | None]
"""What another interface calls the library's arguments: ``{"prompt_name": "--prompt"}``. None: it has none for that."""

_OWN_NAMES: Names = {}


class EmbeddingError(Exception):
    """Base class of every error this library raises on purpose.

    The message is made from the attributes, here and nowhere else. Code that passes an error on under another name or
    number makes a ``changed`` copy; no code reads a message.

    Attributes:
        text: The whole message, for errors that are not about one argument.
        field: The argument, setting or list at fault (``"texts"``, ``"max_tokens"``); None if it is no single one.
        index: Which item of ``field``, counted from 0; None if it is no list.
        limit: The number that ``field`` exceeds; None if it is not about a limit.
        reason: What is wrong with ``field``: the message is ``"{field}[{index}] {reason}"``.
        hint: A way out that names other arguments, in braces: ``"Or give {prompt}=TEXT."``
        source: The file or environment variable that ``field`` was set in; "" if it was an argument.
    """

    def __init__(
        self,
        text: str = "",
        *,
        field: str | None = None,
        index: int | None = None,
        limit: float | None = None,
        reason: str = "",
        hint: str = "",
        source: str = "",
    ) -> None:
        super().__init__(text)
        self.text, self.field, self.index, self.limit = text, field, index, limit
        self.reason, self.hint, self.source = reason, hint, source

    def __str__(self) -> str:
        return self.message()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message()!r})"

    def message(self, names: Names = _OWN_NAMES) -> str:
        """The message with arguments called by ``names``.

        A hint is left out if it needs an argument that has no name there. If the value is from a ``source``, such as a
        file, the setting keeps its own name.
        """
        if self.source:
            names = _OWN_NAMES
        parts = [self._statement(names), self._hint(names)]
        message = " ".join(part for part in parts if part)
        return f"{self.source}: {message}" if self.source else message

    def subject(self, names: Names = _OWN_NAMES) -> str | None:
        """What is at fault, as the message calls it: ``texts[3]``; None if it is no single thing."""
        if self.field is None:
            return None
        name = names.get(self.field) or self.field
        return name if self.index is None else f"{name}[{self.index}]"

    def changed(self, **attributes: Any) -> Self:
        """A copy with other attributes, for a caller that has another name or number for what is at fault."""
        other = copy.copy(self)
        vars(other).update(attributes)
        other.__cause__ = self.__cause__
        return other

    def shifted(self, offset: int) -> Self:
        """A copy whose ``index``, if it has one, is counted from ``offset`` instead of 0."""
        return self if self.index is None else self.changed(index=self.index + offset)

    def _statement(self, names: Names) -> str:
        return f"{self.subject(names)} {self.reason}" if self.reason else self.text

    def _hint(self, names: Names) -> str:
        used = {name: names.get(name, name) for _, name, _, _ in Formatter().parse(self.hint) if name}
        return "" if None in used.values() else self.hint.format_map(used)


class ConfigurationError(EmbeddingError, ValueError):
    """A configuration key, type or value that is not allowed."""


class ArgumentError(ConfigurationError, TypeError):
    """A keyword argument that does not exist, of a method, a constructor or a configuration; ``field`` is its name.

    Python's own error for that is a TypeError, so callers may expect one.
    """


class ModelNotFoundError(EmbeddingError, LookupError):
    """A model name that leads nowhere, or a model that is neither cached nor may be downloaded."""


class DownloadError(EmbeddingError, OSError):
    """A download that was tried and failed; nothing of it counts as cached."""


class CheckpointError(EmbeddingError, ValueError):
    """A model folder whose files are missing, damaged or not supported."""


class InputError(EmbeddingError, ValueError):
    """A text or vector the caller passed that cannot be used. ``field`` and ``index`` say which."""


class OverloadError(EmbeddingError, RuntimeError):
    """The engine's queue is full or too long, or the request waited past its deadline.

    Attributes:
        retry_after: Seconds after which the call may succeed; None if that is not known.
    """

    def __init__(self, text: str = "", *, retry_after: float | None = None, **attributes: Any) -> None:
        super().__init__(text, **attributes)
        self.retry_after = retry_after


class DeadlineError(OverloadError):
    """The call was not done by its deadline."""


class MemoryLimitError(EmbeddingError, MemoryError):
    """A model does not fit below a pool's ``max_memory``, whatever other models leave.

    Attributes:
        model: The model's name in the pool.
        limit: The pool's ``max_memory`` in bytes.
        needed: The bytes that the model needs.
        taken: The bytes that pinned models take.
    """

    def __init__(self, text: str = "", *, model: str = "", needed: int = 0, taken: int = 0, **attributes: Any) -> None:
        super().__init__(text, **attributes)
        self.model, self.needed, self.taken = model, needed, taken


class WorkerError(EmbeddingError, RuntimeError):
    """The MLX thread failed, died, was closed, or belongs to another process."""


class UnusableVectorError(WorkerError):
    """The model's output for a text is no vector; the kinds are NonFiniteVectorError and ZeroVectorError.

    Attributes:
        index: The text's.
        tokens: How many tokens the text has.
    """

    fault = "no vector"
    cause = "its weights are damaged."

    def __init__(self, index: int, tokens: int) -> None:
        super().__init__(field="texts", index=index)
        self.args = (index, tokens)
        self.tokens = tokens

    def _statement(self, names: Names) -> str:
        return f"The model gave {self.fault} for {self.subject(names)} ({self.tokens} tokens): {self.cause}"


class NonFiniteVectorError(UnusableVectorError):
    """The model produced NaN or infinity for a text, which is an error and never a vector."""

    fault = "NaN or infinity"
    cause = "its weights are damaged, or its activations overflow."


class ZeroVectorError(UnusableVectorError):
    """The model produced only zeros for a text, before or after truncation: a vector without direction."""

    fault = "only zeros"
    cause = "its weights are damaged, or the vector is cut to too few dimensions."
