"""launchd: an agent of the user's own session on a Mac."""

import os
import plistlib
import re
import time
from pathlib import Path
from xml.parsers.expat import ExpatError

from akidb_embeddings.supervision.base import Command, Supervisor, failure, run
from akidb_embeddings.supervision.definition import Definition, State

# What `launchctl print` and `bootout` end with if there is no such service.
_NOT_FOUND = (113, 3)
_PID = re.compile(r"^\tpid = (\d+)$", re.MULTILINE)
_STATE = re.compile(r"^\t(?:state|last exit code) = .+$", re.MULTILINE)
_STOP_SECONDS = 600.0
_POLL_SECONDS = 0.2
# launchd's own words for it are "Domain does not support specified action", and "Input/output error".
_HINT = "An agent needs somebody who is logged in at the Mac's screen; over SSH alone there is no session for it"


class Launchd(Supervisor):
    """A LaunchAgent."""

    hint = _HINT

    @property
    def label(self) -> str:
        """The agent's label."""
        return f"org.akidb.{self.name}"

    @property
    def file(self) -> Path:
        """The agent's property list."""
        return Path.home() / f"Library/LaunchAgents/{self.label}.plist"

    @property
    def log_file(self) -> Path:
        """The file that gets what the agent prints."""
        return Path.home() / f"Library/Logs/{self.label}.log"

    @property
    def log(self) -> str:
        """How to see the log."""
        return f"tail -f {self.log_file}"

    @property
    def notes(self) -> list[str]:
        """When it runs, and what nobody does by itself."""
        return [
            "It runs from login to logout, and not while the Mac sleeps.",
            f"Nothing rotates its log: empty it with `: > {self.log_file}`; --no-access-log keeps it small.",
        ]

    @property
    def start_commands(self) -> list[Command]:
        """Allow and load."""
        return [
            ["launchctl", "enable", self._target],
            ["launchctl", "bootstrap", self._domain, str(self.file)],
        ]

    @property
    def stop_commands(self) -> list[Command]:
        """Stop and unload."""
        return [["launchctl", "bootout", self._target]]

    def stop(self) -> None:
        """Stop it, and wait for it: ``bootout`` may return earlier, and an agent that still ends cannot be loaded."""
        [command] = self.stop_commands
        done = run(command)
        end = time.monotonic() + _STOP_SECONDS
        while self.state().is_loaded:
            if time.monotonic() > end:
                raise failure(command, done, self.hint)
            time.sleep(_POLL_SECONDS)

    def forget(self) -> None:
        """Nothing: launchd forgot it when it was unloaded."""

    def written(self, definition: Definition) -> bytes:
        """The property list."""
        entries: dict[str, object] = {
            "Label": self.label,
            "ProgramArguments": list(definition.command),
            "EnvironmentVariables": dict(definition.environment),
            "WorkingDirectory": definition.folder,
            "StandardOutPath": str(self.log_file),
            "StandardErrorPath": str(self.log_file),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},  # after a failure alone
            "ThrottleInterval": 30,  # seconds between starts, if it cannot start
            "ExitTimeOut": definition.stop_seconds,
            "ProcessType": "Interactive",  # otherwise macOS slows it down in favour of programs with windows
        }
        return plistlib.dumps(entries, sort_keys=False)

    def parsed(self, content: bytes) -> Definition | None:
        """What the property list says."""
        try:
            entries = plistlib.loads(content)
            command = tuple(entries["ProgramArguments"])
            if not {"akidb_embeddings", "serve"} <= set(command):
                return None
            return Definition(
                command=command,
                environment=entries["EnvironmentVariables"],
                folder=entries["WorkingDirectory"],
                stop_seconds=entries["ExitTimeOut"],
            )
        except (plistlib.InvalidFileException, ExpatError, KeyError, ValueError, TypeError):  # changed by hand
            return None

    def state(self) -> State:
        """What launchd says."""
        command = ["launchctl", "print", self._target]
        done = run(command)
        if done.returncode in _NOT_FOUND:
            return State(is_loaded=False, pid=None, detail="not loaded")
        if done.returncode:
            raise failure(command, done, self.hint)
        pid = _PID.search(done.stdout)
        words = ", ".join(match.strip() for match in _STATE.findall(done.stdout))
        return State(is_loaded=True, pid=int(pid[1]) if pid else None, detail=words or "loaded")

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"

    @property
    def _target(self) -> str:
        return f"{self._domain}/{self.label}"
