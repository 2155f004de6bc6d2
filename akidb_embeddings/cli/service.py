"""``akidb-embed service``: the server under the system's supervisor, from login on."""

import math
import os
import shlex
import sys
import time
from argparse import ArgumentParser, Namespace
from datetime import datetime
from pathlib import Path

from akidb_embeddings.cli.command import PROGRAM, Command, option_names
from akidb_embeddings.cli.output import print_message
from akidb_embeddings.cli.serve import SERVE
from akidb_embeddings.cli.service_checks import check_settings, environment_to_carry, readiness
from akidb_embeddings.config.file import find_config_file
from akidb_embeddings.errors import EmbeddingError
from akidb_embeddings.supervision.base import Supervisor
from akidb_embeddings.supervision.definition import Definition
from akidb_embeddings.supervision.here import supervisor

_RUNNING, _NOT_RUNNING, _NOT_INSTALLED = 0, 3, 4
# From the signal to the end: drain_seconds, a last round of the model, and closing connections.
_END_SECONDS = 15
# How long `install` waits for an answer. A model may take longer to load, or to be downloaded.
_START_SECONDS, _POLL_SECONDS = 15.0, 0.5
# How long a supervisor may take to have a process.
_SPAWN_SECONDS = 3.0


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("action", metavar="ACTION", choices=tuple(_ACTIONS), help="install, status or uninstall")
    parser.add_argument(
        "--config", metavar="FILE", help="with install: the configuration file (default: as in `serve`)"
    )
    parser.add_argument(
        "--name", metavar="NAME", default="embeddings", help="which service, if there are several (default: embeddings)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="with install: only print the file and the commands that would start it"
    )


class _ServiceCommand(Command):
    """A command that leaves the options that it does not have to ``serve``."""

    def parse(self, name: str, arguments: list[str]) -> Namespace:
        """Parse the arguments; ``flags`` are those for ``serve``, in their order."""
        parser = self.parser(name)
        options, flags = parser.parse_known_args(arguments)
        if options.action != "install" and (flags or options.config or options.dry_run):
            parser.error(f"{options.action} takes --name alone")
        vars(options).update(flags=flags, names=option_names(SERVE.parser("serve")))
        return options


def _run(options: Namespace) -> int:
    return _ACTIONS[options.action](options, supervisor(options.name))


def _install(options: Namespace, service: Supervisor) -> int:
    definition, notes = _definition(options, service)
    is_update = service.installed() is not None
    if options.dry_run:
        stop = service.stop_commands if is_update else []
        print(f"# {service.file}\n{service.written(definition).decode()}")
        print("\n".join(shlex.join(command) for command in [*stop, *service.start_commands]))
        for line in notes:
            print_message(line)
        return 0
    service.install(definition)
    for line in (
        f"{'Updated' if is_update else 'Installed'} and started {service.label}: {service.file}",
        f"Log: {service.log}",
        *service.notes,
        *notes,
    ):
        print(line)
    return _await_answer(service, definition)


def _definition(options: Namespace, service: Supervisor) -> tuple[Definition, list[str]]:
    """What to run, once it is clear that it can, and what to say about it.

    Raises:
        EmbeddingError: `serve` with these flags would end with this error.
    """
    file = Path(options.config).expanduser() if options.config else find_config_file()
    flags = [] if file is None else ["--config", str(file.absolute())]
    flags += options.flags
    served = SERVE.parse("serve", flags)
    # A service that runs already has the ports.
    config = check_settings(served, with_ports=not options.dry_run and service.state().pid is None)
    carried, notes = environment_to_carry(os.environ)
    here = str(Path.cwd())
    notes = [f"Configuration: {file.absolute() if file else 'no file'}. Relative paths begin at {here}.", *notes]
    # -P: modules in the working folder are not the ones that are meant.
    command = (sys.executable, "-P", "-m", "akidb_embeddings", "serve", *flags)
    return Definition(command, carried, here, math.ceil(config.drain_seconds) + _END_SECONDS), notes


def _await_answer(service: Supervisor, definition: Definition) -> int:
    """Wait for the server's answer, for a while. Returns the exit code."""
    begin = time.monotonic()
    while True:
        state, (is_ready, answer) = service.state(), _readiness(definition)
        if is_ready:
            print(f"It answers: {answer}")
            return 0
        if state.pid is None and time.monotonic() - begin > _SPAWN_SECONDS:
            raise EmbeddingError(f"{service.label} started and ended: {state.detail}. Its log says why: {service.log}")
        if time.monotonic() - begin > _START_SECONDS:
            print(f"It does not answer yet, which is right while a model loads; see `{PROGRAM} service status`.")
            return 0
        time.sleep(_POLL_SECONDS)


def _status(_: Namespace, service: Supervisor) -> int:
    definition = service.installed()
    state = service.state()
    if definition is None and not state.is_loaded:
        print(f"{service.label} is not installed: there is no {service.file}")
        return _NOT_INSTALLED
    print(f"{service.label}: {_words(state.pid, state.detail)}")
    if definition is None:
        print(f"Its file is gone: {service.file}")
    else:
        print(f"File: {service.file}")
        print(f"Command: {shlex.join(definition.command)}")
        print(f"Answer: {_readiness(definition)[1]}")
    print(f"Log: {service.log}")
    return _NOT_RUNNING if state.pid is None else _RUNNING


def _words(pid: int | None, detail: str) -> str:
    if pid is None:
        return f"not running, {detail}"
    import psutil

    try:
        since = datetime.fromtimestamp(psutil.Process(pid).create_time()).astimezone()
    except psutil.Error:  # it has ended just now, or may not be looked at
        return f"running, process {pid}"
    return f"running since {since:%Y-%m-%d %H:%M:%S %z}, process {pid}"


def _readiness(definition: Definition) -> tuple[bool, str]:
    flags = definition.command[definition.command.index("serve") + 1 :]
    options = SERVE.parse("serve", list(flags))
    return readiness(options, definition.environment)


def _uninstall(_: Namespace, service: Supervisor) -> int:
    is_installed = service.installed() is not None
    if not is_installed and not service.state().is_loaded:
        print(f"{service.label} is not installed: there is no {service.file}")
        return 0
    service.uninstall()
    print(f"Stopped {service.label} and removed {service.file}. Models, configuration and logs are where they were.")
    return 0


_ACTIONS = {"install": _install, "status": _status, "uninstall": _uninstall}

SERVICE = _ServiceCommand(
    "run `serve` in the background, from login on: with launchd on macOS, with systemd on Linux",
    _add_arguments,
    _run,
    "akidb-embed service install --model minilm-l6-v2 --port 8080",
    """\
install takes every flag of `serve`, checks them as it would, writes a file for your user's supervisor and starts the
server; again, it replaces what was installed. It needs no root.
uninstall stops the server and removes that file, and nothing else.
status exits with 0 if the server runs, 3 if it does not, and 4 if it is not installed.""",
)
