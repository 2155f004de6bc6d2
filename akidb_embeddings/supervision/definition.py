"""What a supervisor is to run, and in which state it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from akidb_embeddings.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Definition:
    """What is to run.

    Attributes:
        command: The program, as an absolute path, and its arguments.
        environment: Variables for it, besides the few that the supervisor sets.
        folder: The working folder, absolute.
        stop_seconds: The time from the signal to end until it is killed.

    Raises:
        ConfigurationError: Something cannot be written into a supervisor's file.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str
    stop_seconds: int

    def __post_init__(self) -> None:
        texts = [*self.command, *self.environment, *self.environment.values(), self.folder]
        for text in texts:
            # isprintable() is False for surrogates, which stand for bytes that are no UTF-8, and for line breaks.
            if not text.isprintable():
                raise ConfigurationError(f"{text!r} has characters that cannot be in a supervisor's file")


@dataclass(frozen=True)
class State:
    """What a supervisor says of a service.

    Attributes:
        is_loaded: Whether it knows the service.
        pid: The process; None if it does not run.
        detail: The state in the supervisor's words.
    """

    is_loaded: bool
    pid: int | None
    detail: str


def check_name(name: str) -> str:
    """The name of a service, if it can be part of a file's name.

    Raises:
        ConfigurationError: It cannot.
    """
    if not _NAME.fullmatch(name):
        reason = f"is {name!r}; it must be 1 to 63 letters, digits, - and _, the first one a letter or digit."
        raise ConfigurationError(field="name", reason=reason)
    return name
