"""`akidb-embed service` with supervisors that record what they are asked; for one test they start a real server."""

import contextlib
import json
import os
import platform
import signal
import stat
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from akidb_embeddings.cli import main, service
from akidb_embeddings.cli.serve import SERVE
from akidb_embeddings.cli.service_checks import readiness
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.supervision.here import supervisor
from tests.cli.tools import BUNDLED
from tests.conftest import LONG, REPOSITORY, eventually
from tests.conftest import service as embedding_service
from tests.server.conftest import server_here

SYSTEMS = {"Linux": "systemctl", "Darwin": "launchctl"}
UNIT = "akidb-embeddings.service"


class Fake(NamedTuple):
    """A system with a fake supervisor."""

    system: str
    folder: Path

    @property
    def calls(self) -> list[list[str]]:
        """The commands that changed something."""
        lines = (self.folder / "calls.jsonl").read_text().splitlines()
        every: list[list[str]] = [json.loads(line) for line in lines]
        return [call for call in every if not {"show", "print"} & {*call}]

    @property
    def pid(self) -> int:
        pid: int = json.loads((self.folder / "state.json").read_text())["pid"]
        return pid


@pytest.fixture(params=SYSTEMS)
def fake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """A system of each kind, with a home and a working folder without configuration."""
    folder = tmp_path / "fake"
    folder.mkdir()
    program = folder / SYSTEMS[request.param]
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.supervision.fake {program.name} "$@"\n')
    program.chmod(0o755)
    (folder / "calls.jsonl").touch()
    monkeypatch.setattr(platform, "system", lambda: request.param)
    monkeypatch.setattr(service, "_START_SECONDS", 0.5)
    monkeypatch.setattr(service, "_SPAWN_SECONDS", 0.2)
    paths = filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])
    for name, value in {
        "FAKE": str(folder),
        "FAKE_PROCESS": "sleep",
        "HOME": str(tmp_path / "home"),
        "PATH": f"{folder}:/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(paths),
    }.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.startswith("AKIDB_") or name == "HF_TOKEN"]:
        monkeypatch.delenv(name)
    made = Fake(request.param, folder)
    yield made
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if pid := made.pid:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def port() -> int:
    import socket

    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        number: int = made.getsockname()[1]
        return number


@pytest.mark.long
def test_a_server_is_installed_runs_and_is_removed(
    fake: Fake, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the real server, which the fake supervisor starts from the file alone."""
    monkeypatch.setenv("FAKE_PROCESS", "server")
    monkeypatch.setattr(service, "_START_SECONDS", LONG)
    monkeypatch.setattr(service, "_SPAWN_SECONDS", LONG)
    found = supervisor("embeddings")
    assert main(["service", "status"]) == 4
    assert "not installed" in capsys.readouterr().out
    assert main(["service", "install", *BUNDLED, "--port", str(port)]) == 0
    printed = capsys.readouterr().out
    assert f"It answers: http://127.0.0.1:{port}/readyz is ready" in printed
    assert str(found.file) in printed
    assert found.log in printed
    assert stat.S_IMODE(found.file.stat().st_mode) == 0o600
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/info") as response:
        assert json.load(response)["models"][0]["name"] == "minilm-l6-v2"
    first = fake.pid
    assert main(["service", "status"]) == 0
    printed = capsys.readouterr().out
    assert "running since 20" in printed
    assert f"process {first}" in printed
    assert f"Answer: http://127.0.0.1:{port}/readyz is ready" in printed
    # The same port is no reason not to update it.
    assert main(["service", "install", *BUNDLED, "--port", str(port), "--max-texts", "7"]) == 0
    assert "Updated and started" in capsys.readouterr().out
    assert not psutil.pid_exists(first) or psutil.Process(first).status() == psutil.STATUS_ZOMBIE
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/info") as response:
        assert json.load(response)["limits"]["max_texts"] == 7
    second = fake.pid
    assert main(["service", "uninstall"]) == 0
    assert eventually(lambda: not psutil.pid_exists(second) or psutil.Process(second).status() == "zombie")
    assert not found.file.exists()
    assert main(["service", "status"]) == 4
    assert main(["service", "uninstall"]) == 0


@pytest.mark.long
def test_the_commands_are_the_supervisors(fake: Fake, port: int) -> None:
    begin = ["service", "install", *BUNDLED, "--port", str(port)]
    assert [main(begin), main(begin), main(["service", "uninstall"])] == [0, 0, 0]
    domain = f"gui/{os.getuid()}"
    target, file = f"{domain}/org.akidb.embeddings", str(supervisor("embeddings").file)
    start, stop, after = {
        "Linux": (
            [["systemctl", "--user", "daemon-reload"], ["systemctl", "--user", "enable", "--now", UNIT]],
            [["systemctl", "--user", "disable", "--now", UNIT]],
            [["systemctl", "--user", "daemon-reload"], ["systemctl", "--user", "reset-failed", UNIT]],
        ),
        "Darwin": (
            [["launchctl", "enable", target], ["launchctl", "bootstrap", domain, file]],
            [["launchctl", "bootout", target]],
            [],
        ),
    }[fake.system]
    assert fake.calls == [*start, *stop, *start, *stop, *after]


def test_a_dry_run_prints_what_it_would_do_and_does_nothing(
    fake: Fake, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["service", "install", "--dry-run", *BUNDLED, "--port", str(port)]) == 0
    found = supervisor("embeddings")
    printed = capsys.readouterr().out
    assert str(found.file) in printed
    assert " ".join(found.start_commands[-1]) in printed
    assert not fake.calls
    assert not found.file.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--modle", "x"], "unrecognized arguments: --modle x"),
        (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
        (["--port", "-1"], "must be a port"),
        ([*BUNDLED, "--api-keys-file", "missing"], "--api-keys-file is missing, which cannot be read"),
        ([*BUNDLED, "--tls-key", "missing"], "--tls-certificate is missing"),
        ([*BUNDLED, "--tls-key", "missing", "--tls-certificate", "missing"], "cannot be used with the key"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--model", "qwen3-0.6b-4bit", "--no-download"], "is not on this machine"),
        (["--model", "./missing"], "missing"),
        ([*BUNDLED, "--name", "a b"], "letters, digits"),
    ],
)
def test_what_serve_would_refuse_is_refused_before_anything_is_written(
    fake: Fake, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["service", "install", *flags]) in (1, 2)
    assert said in capsys.readouterr().err
    assert not fake.calls
    assert not list(Path.home().rglob("*akidb*"))


def test_a_port_that_another_program_has_is_refused(fake: Fake, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", port)):
        assert main(["service", "install", *BUNDLED, "--port", str(port)]) == 1
    assert str(port) in capsys.readouterr().err
    assert not fake.calls


@pytest.mark.long
def test_the_environment_comes_along_but_no_secret_does(
    fake: Fake, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "AKIDB_SERVER_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_TOKEN": "hf_secret",
        "UNRELATED": "unrelated",
    }.items():
        monkeypatch.setenv(name, value)
    assert main(["service", "install", *BUNDLED]) == 0
    printed = capsys.readouterr().out
    definition = supervisor("embeddings").installed()
    assert definition is not None
    assert set(definition.environment) == {"AKIDB_SERVER_PORT", "HF_ENDPOINT", "HF_HUB_OFFLINE", "PYTHONPATH"}
    assert "Carried over from this environment: AKIDB_SERVER_PORT, HF_ENDPOINT, HF_HUB_OFFLINE, PYTHONPATH." in printed
    assert "HF_TOKEN stays here" in printed
    assert "hf_secret" not in printed + supervisor("embeddings").file.read_text()
    # The address is what the server was started with, not what this environment says now.
    monkeypatch.setenv("AKIDB_SERVER_PORT", "1")
    main(["service", "status"])
    assert f"none from http://127.0.0.1:{port}/readyz" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "flag"), [("AKIDB_API_KEYS", "--api-keys-file"), ("AKIDB_ADMIN_KEYS", "--admin-keys-file")]
)
def test_keys_in_the_environment_are_not_lost_in_silence(
    fake: Fake,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    flag: str,
) -> None:
    monkeypatch.setenv(variable, "a-secret")
    assert main(["service", "install", *BUNDLED, "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert flag in said
    assert "a-secret" not in said
    assert not fake.calls


@pytest.mark.long
def test_the_configuration_in_force_now_is_the_services(fake: Fake, port: int) -> None:
    Path("embedding_config.yaml").write_text(f"server: {{port: {port}, drain_seconds: 60.5}}")
    assert main(["service", "install", *BUNDLED, "--name", "second"]) == 0
    definition = supervisor("second").installed()
    assert definition is not None
    assert definition.command == (
        *(sys.executable, "-P", "-m", "akidb_embeddings", "serve"),
        *("--config", str(Path("embedding_config.yaml").absolute()), *BUNDLED),
    )
    assert definition.folder == str(Path.cwd())
    assert definition.stop_seconds == 76  # drain_seconds and 15
    assert supervisor("embeddings").installed() is None


@pytest.mark.long
def test_a_server_that_ends_at_once_is_told(
    fake: Fake, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_PROCESS", "end")
    monkeypatch.setattr(service, "_START_SECONDS", LONG)
    assert main(["service", "install", *BUNDLED, "--port", str(port)]) == 1
    assert "started and ended" in capsys.readouterr().err
    assert main(["service", "status"]) == 3
    assert "not running" in capsys.readouterr().out


def test_a_file_of_somebody_else_is_left_alone(fake: Fake, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    file = supervisor("embeddings").file
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    for arguments in (["install", *BUNDLED, "--port", str(port)], ["status"], ["uninstall"]):
        assert main(["service", *arguments]) == 1
        assert "was not written by this command" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert not fake.calls


def test_a_supervisor_that_fails_is_quoted(
    fake: Fake, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_FAILS", {"Linux": "show", "Darwin": "print"}[fake.system])
    assert main(["service", "install", *BUNDLED, "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert "Failed to connect to bus: No medium found" in said
    assert len(said.splitlines()) == 1
    assert not supervisor("embeddings").file.exists()
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["service", "status"]) == 1
    assert f"{SYSTEMS[fake.system]} is not on this machine" in capsys.readouterr().err


def test_other_systems_and_wrong_usage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    assert main(["service", "status"]) == 2
    assert "launchd" in capsys.readouterr().err
    for arguments in ([], ["start"], ["status", "--port", "1"], ["uninstall", "--dry-run"]):
        assert main(["service", *arguments]) == 2


def test_an_answer_that_needs_a_key_is_an_answer_and_not_ready_is_not_ready() -> None:
    with embedding_service() as one:
        with server_here({"m": one}, keys=ApiKeys(["a-key"]), protect_health=True) as here:
            options = SERVE.parse("serve", ["--port", here.url.rpartition(":")[2]])
            assert readiness(options, {}) == (True, f"{here.url}/readyz has status 401")
        with server_here({"m": one}) as here:
            options = SERVE.parse("serve", ["--host", "0.0.0.0", "--port", here.url.rpartition(":")[2]])
            assert readiness(options, {}) == (True, f"{here.url}/readyz is ready")
            assert here.handler is not None
            here.handler.draining = True
            assert readiness(options, {}) == (False, f"{here.url}/readyz has status 503")
    is_ready, answer = readiness(options, {})
    assert not is_ready
    assert answer.startswith(f"none from {here.url}/readyz: ")
    assert readiness(SERVE.parse("serve", ["--port", "0"]), {})[0] is False
    assert "not allowed any more" in readiness(options, {"AKIDB_SERVER_MAX_TEXTS": "0"})[1]
