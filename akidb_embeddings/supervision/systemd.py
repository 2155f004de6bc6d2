"""systemd: a unit of the user's own manager."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from akidb_embeddings.errors import ConfigurationError, EmbeddingError
from akidb_embeddings.supervision.base import Command, Supervisor, failure, run
from akidb_embeddings.supervision.definition import Definition, State

_HEADING = "# Written by `akidb-embed service install`, which also changes it. Your own changes belong into a drop-in:"
_PLAIN = re.compile(r"[A-Za-z0-9_./:@=,+-]+")
# systemd refuses all but the $, which it would replace in the program's name for itself, and not in its path.
_NOT_IN_PROGRAMS = frozenset("$\"'\\")
# A wrong configuration (exit code 2) is not cured by another start. Five seconds between starts are longer than
# systemd's limit on starts, which would give up after the fifth.
_UNIT = """\
{heading}
# systemctl --user edit {label}

[Unit]
Description=akidb-embeddings, {name}

[Service]
ExecStart={command}
WorkingDirectory={folder}
{environment}\
{reload}\
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2
TimeoutStopSec={seconds}
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""
_HINT = (
    "systemd's manager of your user does not answer. It runs where you logged in, not after `su` or `sudo`, and in "
    "few containers; `loginctl enable-linger` starts it without a login"
)


class Systemd(Supervisor):
    """A systemd user unit."""

    hint = _HINT

    @property
    def label(self) -> str:
        """The unit."""
        return f"akidb-{self.name}.service"

    @property
    def file(self) -> Path:
        """The unit's file. systemd's manager reads it there, whatever this process's environment says."""
        return Path.home() / ".config/systemd/user" / self.label

    @property
    def log(self) -> str:
        """systemd's journal, which rotates itself."""
        return f"journalctl --user --unit {self.label} --follow"

    @property
    def notes(self) -> list[str]:
        """When it runs."""
        return ["It ends when you log out, unless `loginctl enable-linger` was run once; then it also starts at boot."]

    @property
    def start_commands(self) -> list[Command]:
        """Reload and start."""
        return [_systemctl("daemon-reload"), _systemctl("enable", "--now", self.label)]

    @property
    def stop_commands(self) -> list[Command]:
        """Stop, and wait for it."""
        return [_systemctl("disable", "--now", self.label)]

    def forget(self) -> None:
        """Reload, and forget a failure."""
        self._run_all([_systemctl("daemon-reload")])
        run(_systemctl("reset-failed", self.label))  # fails where nothing is to be reset

    def written(self, definition: Definition) -> bytes:
        """The unit's text."""
        program, *arguments = definition.command
        if set(program) & _NOT_IN_PROGRAMS:
            raise ConfigurationError(f"systemd cannot start {program!r}: its path has one of $, quotes and backslash")
        if definition.folder.endswith(("\\", " ")):
            raise ConfigurationError(f"systemd has no form for the folder {definition.folder!r}: its last character")
        words = [_quoted(program), *(_quoted(one).replace("$", "$$") for one in arguments)]
        pairs = [_quoted(f"{name}={value}") for name, value in definition.environment.items()]
        text = _UNIT.format(
            heading=_HEADING,
            label=self.label,
            name=self.name,
            command=" ".join(words),
            folder=definition.folder.replace("%", "%%"),
            # Without a configuration file, the signal would end the server.
            reload="ExecReload=/bin/kill -HUP $MAINPID\n" if "--config" in definition.command else "",
            environment="".join(f"Environment={pair}\n" for pair in pairs),
            seconds=definition.stop_seconds,
        )
        return text.encode()

    def parsed(self, content: bytes) -> Definition | None:
        """What the unit says."""
        text = content.decode(errors="replace")
        if not text.startswith(_HEADING):
            return None
        entries = list(_entries(text))
        values = dict(entries)
        try:
            program, *arguments = shlex.split(values["ExecStart"])
            if "serve" not in arguments:
                return None
            environment = [shlex.split(value) for key, value in entries if key == "Environment"]
            pairs = [pair.replace("%%", "%").partition("=") for listed in environment for pair in listed]
            return Definition(
                command=tuple(one.replace("%%", "%") for one in [program, *(a.replace("$$", "$") for a in arguments)]),
                environment={name: value for name, _, value in pairs},
                folder=values["WorkingDirectory"].replace("%%", "%"),
                stop_seconds=int(values["TimeoutStopSec"]),
            )
        except (KeyError, ValueError):  # changed by hand
            return None

    def state(self) -> State:
        """What systemd says."""
        command = _systemctl("show", self.label, "--property=LoadState,ActiveState,SubState,MainPID,Result")
        done = run(command)
        if done.returncode:
            raise failure(command, done, self.hint)
        found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        if "LoadState" not in found:
            raise EmbeddingError(f"`{' '.join(command)}` did not tell a state")
        pid = int(found.get("MainPID") or 0)
        result = found.get("Result", "success")
        detail = f"{found.get('ActiveState')} ({found.get('SubState')})"
        return State(
            is_loaded=found["LoadState"] != "not-found",
            pid=pid or None,
            detail=detail if result == "success" else f"{detail}, {result}",
        )


def _systemctl(*arguments: str) -> Command:
    return ["systemctl", "--user", *arguments]


def _quoted(word: str) -> str:
    """A word with its characters' special meaning taken away: of quotes and backslashes, and of % in specifiers."""
    if _PLAIN.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, sign, value = line.partition("=")
        if sign and not line.startswith(("#", "[")):
            yield key, value
