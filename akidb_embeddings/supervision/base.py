"""What supervisors have in common: one file for each service, and commands that load and remove it."""

import contextlib
import os
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from akidb_embeddings.errors import EmbeddingError
from akidb_embeddings.supervision.definition import Definition, State, check_name

# systemctl waits until a service has stopped, which may take as long as the requests in flight.
_COMMAND_SECONDS = 600.0
Command = Sequence[str]


class Supervisor(ABC):
    """One service of a supervisor.

    Attributes:
        name: The service's name, in the user's words.
        hint: What is most likely wrong if the supervisor's commands fail.
    """

    hint: str

    def __init__(self, name: str) -> None:
        self.name = check_name(name)

    @property
    @abstractmethod
    def label(self) -> str:
        """The supervisor's name of the service."""

    @property
    @abstractmethod
    def file(self) -> Path:
        """The supervisor's file about the service."""

    @property
    @abstractmethod
    def log(self) -> str:
        """Where the service's log is, in words."""

    @property
    @abstractmethod
    def notes(self) -> list[str]:
        """What users should know about a service of this supervisor, a line each."""

    @property
    @abstractmethod
    def start_commands(self) -> list[Command]:
        """The commands that load the file, start the service, and have it started at every login."""

    @property
    @abstractmethod
    def stop_commands(self) -> list[Command]:
        """The commands that stop the service, and have it started no more."""

    @abstractmethod
    def written(self, definition: Definition) -> bytes:
        """The content of the file.

        Raises:
            ConfigurationError: This supervisor cannot run such a command.
        """

    @abstractmethod
    def parsed(self, content: bytes) -> Definition | None:
        """What a file says, the reverse of ``written``; None if it was not written here."""

    @abstractmethod
    def state(self) -> State:
        """What the supervisor says of the service.

        Raises:
            EmbeddingError: The supervisor does not answer.
        """

    def installed(self) -> Definition | None:
        """What the file says; None if there is none.

        Raises:
            EmbeddingError: There is one that was not written here, or it cannot be read.
        """
        try:
            content = self.file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EmbeddingError(f"{self.file} cannot be read: {error.strerror}") from error
        found = self.parsed(content)
        if found is None:
            raise EmbeddingError(
                f"{self.file} was not written by this command, which leaves it as it is. Choose another name with "
                "--name, or stop that service and remove the file"
            )
        return found

    def install(self, definition: Definition) -> None:
        """Write the file and start the service; if there is one already, it is stopped before.

        Raises:
            ConfigurationError: As in ``written``.
            EmbeddingError: The file cannot be written, or a command fails.
        """
        content = self.written(definition)
        if self.state().is_loaded:
            self.stop()
        _replace(self.file, content)
        self._run_all(self.start_commands)

    def uninstall(self) -> None:
        """Stop the service and remove its file, and nothing else.

        Raises:
            EmbeddingError: A command fails, or the file cannot be removed.
        """
        if self.state().is_loaded:
            self.stop()
        with _as_own_error(self.file), contextlib.suppress(FileNotFoundError):
            self.file.unlink()
        self.forget()

    def stop(self) -> None:
        """Stop the service, and return when it has ended.

        Raises:
            EmbeddingError: A command fails.
        """
        self._run_all(self.stop_commands)

    @abstractmethod
    def forget(self) -> None:
        """Have the supervisor notice that the file is gone."""

    def _run_all(self, commands: Sequence[Command]) -> None:
        for command in commands:
            done = run(command)
            if done.returncode:
                raise failure(command, done, self.hint)


def run(command: Command) -> "subprocess.CompletedProcess[str]":
    """Run a command.

    Raises:
        EmbeddingError: It is not on this machine, or does not end.
    """
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=os.environ | {"LC_ALL": "C"},
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise EmbeddingError(
            f"{command[0]} is not on this machine; docs/deployment.md says how to run the server without it"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddingError(f"`{' '.join(command)}` failed: {error}") from error


def failure(command: Command, done: "subprocess.CompletedProcess[str]", hint: str) -> EmbeddingError:
    """The error for a command that failed."""
    said = " ".join(f"{done.stderr} {done.stdout}".split())
    text = f"`{' '.join(command)}` failed with exit code {done.returncode}: {said or 'it does not say why'}"
    return EmbeddingError(f"{text}. {hint}".rstrip(". "))


def _replace(file: Path, content: bytes) -> None:
    """Write a file, which only its owner can read, in one step."""
    with _as_own_error(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".akidb-")
        try:
            with open(descriptor, "wb") as stream:
                stream.write(content)
            os.replace(temporary, file)
        except BaseException:
            os.unlink(temporary)
            raise


@contextlib.contextmanager
def _as_own_error(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddingError(f"{file}: {error.strerror}") from error
