"""`systemctl` and `launchctl` for tests: they record their arguments, and answer as the real ones.

``python fake.py systemctl …`` keeps its state in the folder of the variable ``FAKE``. ``FAKE_PROCESS`` says what it
starts: "server" the command of the file, "sleep" a process that does nothing, "end" one that ends at once.
``FAKE_FAILS`` names a subcommand that fails.
"""

import json
import os
import plistlib
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

_STATE = Path(os.environ["FAKE"], "state.json")
_CALLS = Path(os.environ["FAKE"], "calls.jsonl")
_NO_BUS = "Failed to connect to bus: No medium found"
_NOT_LOADED = 113


def main(program: str, arguments: list[str]) -> int:
    with open(_CALLS, "a", encoding="utf-8") as calls:
        calls.write(json.dumps([program, *arguments]) + "\n")
    if os.environ.get("FAKE_FAILS") in arguments:
        print(_NO_BUS, file=sys.stderr)
        return 1
    return _systemctl(arguments) if program == "systemctl" else _launchctl(arguments)


def _systemctl(arguments: list[str]) -> int:
    assert arguments[0] == "--user"
    action, *rest = arguments[1:]
    file = Path.home() / ".config/systemd/user" / next((one for one in rest if one.endswith(".service")), "none")
    if action == "show":
        pid, is_known = _pid(), file.exists() or _load() is not None
        ended = file.exists() and not pid and _load() is not None
        print(f"Result={'exit-code' if ended else 'success'}")
        print(f"MainPID={pid}")
        print(f"LoadState={'loaded' if is_known else 'not-found'}")
        print("ActiveState=" + ("active" if pid else "failed" if ended else "inactive"))
        print("SubState=" + ("running" if pid else "failed" if ended else "dead"))
    elif action == "enable":
        if not file.exists():
            print(f"Failed to enable unit: Unit file {file.name} does not exist.", file=sys.stderr)
            return 1
        entries = [line.partition("=") for line in file.read_text().splitlines() if "=" in line and line[0] != "#"]
        command = [one.replace("%%", "%").replace("$$", "$") for key, _, value in entries if key == "ExecStart"
                   for one in shlex.split(value)]  # fmt: skip
        pairs = [pair for key, _, value in entries if key == "Environment" for pair in shlex.split(value)]
        [folder] = [value for key, _, value in entries if key == "WorkingDirectory"]
        _start(command, dict(pair.split("=", 1) for pair in pairs), folder, None)
    elif action == "disable":
        _stop(wait=True)
        _STATE.unlink(missing_ok=True)
    elif action == "reset-failed":
        print(f"Failed to reset failed state of unit {file.name}: Unit {file.name} not loaded.", file=sys.stderr)
        return 1
    else:
        assert action == "daemon-reload"
    return 0


def _launchctl(arguments: list[str]) -> int:
    action, *rest = arguments
    if action == "print":
        if _load() is None or ((_load() or {}).get("ending") and not _pid()):
            print(f'Bad request.\nCould not find service "{rest[0].rpartition("/")[2]}" in domain for user gui: 501')
            return _NOT_LOADED
        pid = _pid()
        print(f"{rest[0]} = {{\n\tactive count = 1\n\tstate = {'running' if pid else 'not running'}\n")
        print("\tendpoints = {\n\t\tstate = active\n\t\tpid = 1\n\t}\n\truns = 1")
        print(f"\tpid = {pid}" if pid else "\tlast exit code = 2", end="\n}\n")
    elif action == "bootstrap":
        if _load() is not None and not ((_load() or {}).get("ending") and not _pid()):
            print("Bootstrap failed: 5: Input/output error", file=sys.stderr)
            return 5
        entries = plistlib.loads(Path(rest[1]).read_bytes())
        log = entries["StandardErrorPath"]
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        _start(entries["ProgramArguments"], entries["EnvironmentVariables"], entries["WorkingDirectory"], log)
    elif action == "bootout":
        if _load() is None:
            print("Boot-out failed: 3: No such process", file=sys.stderr)
            return 3
        _stop(wait=False)
    else:
        assert action == "enable"
    return 0


def _start(command: list[str], environment: dict[str, str], folder: str, log: str | None) -> None:
    kind = os.environ.get("FAKE_PROCESS", "sleep")
    if kind == "end":
        _STATE.write_text(json.dumps({"pid": 0}))
        return
    plain = {name: os.environ[name] for name in ("HOME", "PATH")}
    with open(log or Path(os.environ["FAKE"], "log"), "ab") as stream:
        process = subprocess.Popen(
            command if kind == "server" else ["sleep", "60"],
            cwd=folder, env=plain | environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip
    _STATE.write_text(json.dumps({"pid": process.pid}))


def _stop(*, wait: bool) -> None:
    if pid := _pid():
        psutil.Process(pid).terminate()
        while wait and _pid():
            time.sleep(0.05)
    _STATE.write_text(json.dumps((_load() or {}) | {"ending": True}))


def _load() -> dict[str, Any] | None:
    return json.loads(_STATE.read_text()) if _STATE.exists() else None


def _pid() -> int:
    """The process that was started; 0 if it has ended."""
    pid: int = (_load() or {}).get("pid", 0)
    try:
        return pid if pid and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else 0
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
