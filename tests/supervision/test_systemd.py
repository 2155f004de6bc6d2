"""Units: what systemd reads is what was meant, and systemd's own verifier has nothing to say."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.supervision.definition import Definition
from akidb_embeddings.supervision.systemd import Systemd

# What systemd.service(5) and systemd.syntax(7) say of a word, and the word.
WORDS = {
    "--model": "--model",
    "a b": '"a b"',
    "": '""',
    "$HOME": '"$$HOME"',
    "${HOME}": '"$${HOME}"',
    "100%": '"100%%"',
    "%h": '"%%h"',
    'say "x"': '"say \\"x\\""',
    "it's": '"it\'s"',
    "C:\\n": '"C:\\\\n"',
    ";": '";"',
    "#": '"#"',
    "ümlaut": '"ümlaut"',
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def definition(program: str = "/usr/bin/env", **values: object) -> Definition:
    settings: dict[str, Any] = {
        "command": (program, "-P", "-m", "akidb_embeddings", "serve", *WORDS),
        "environment": {"AKIDB_CACHE_DIR": '/a b/$x%h"', "AKIDB_BLAS": "mlx"},
        "folder": "/tmp",
        "stop_seconds": 45,
    }
    return Definition(**settings | values)


def verified(file: Path) -> None:
    """Have systemd check a unit, where it is installed; elsewhere, at least that each line is of a unit's syntax."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and line[0] not in "#["]
    assert all(line.partition("=")[0].isalpha() for line in lines)
    if not (program := shutil.which("systemd-analyze")):
        return
    runtime = file.parent / "run"
    runtime.mkdir()
    environment = os.environ | {"XDG_RUNTIME_DIR": str(runtime)}
    done = subprocess.run(
        [program, "--user", "verify", file], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_word_arrives_as_it_was_given() -> None:
    unit = Systemd("x")
    content = unit.written(definition())
    [line] = [line for line in content.decode().splitlines() if line.startswith("ExecStart=")]
    assert line == "ExecStart=/usr/bin/env -P -m akidb_embeddings serve " + " ".join(WORDS.values())
    assert 'Environment="AKIDB_CACHE_DIR=/a b/$x%%h\\""' in content.decode().splitlines()
    assert "Environment=AKIDB_BLAS=mlx" in content.decode().splitlines()
    assert unit.parsed(content) == definition()


@pytest.mark.parametrize("name", ["python3", "a folder/py 100% thon"])
def test_systemds_verifier_is_content(tmp_path: Path, name: str) -> None:
    program = tmp_path / name
    program.parent.mkdir(exist_ok=True)
    program.symlink_to("/bin/sh")
    unit = Systemd("x")
    file = tmp_path / unit.label
    file.write_bytes(unit.written(definition(str(program), folder=str(program.parent))))
    verified(file)


def test_what_systemd_cannot_run_is_refused() -> None:
    for program in ("/a$b/python", '/a"b/python', "/a'b/python", "/a\\b/python"):
        with pytest.raises(ConfigurationError, match="systemd cannot start"):
            Systemd("x").written(definition(program))
    for folder in ("/a\\", "/a "):
        with pytest.raises(ConfigurationError, match="its last character"):
            Systemd("x").written(definition(folder=folder))
    for text in ("a\nb", "a\x00", "\udcff", "a\tb"):
        with pytest.raises(ConfigurationError, match="characters that cannot be in"):
            definition(command=("/bin/sh", text))


def test_a_unit_of_somebody_else_is_not_taken_for_ours() -> None:
    unit = Systemd("x")
    ours = unit.written(definition()).decode()
    assert unit.parsed(ours.encode()) is not None
    for other in (
        "",
        "[Service]\nExecStart=/bin/sh\n",
        ours.replace("ExecStart=", "Exec="),
        ours.replace(" serve ", " "),
        ours[1:],
    ):
        assert unit.parsed(other.encode()) is None


def test_it_ends_and_restarts_as_the_server_needs() -> None:
    lines = Systemd("x").written(definition(stop_seconds=75)).decode().splitlines()
    assert {"Restart=on-failure", "RestartPreventExitStatus=2", "TimeoutStopSec=75", "WantedBy=default.target"} <= {
        *lines
    }


def test_a_reload_is_a_signal_that_only_a_server_with_a_file_understands() -> None:
    command = definition().command
    without = Systemd("x").written(definition(command=(*command, "--port", "0"))).decode().splitlines()
    told = Systemd("x").written(definition(command=(*command, "--config", "/a b/c.yaml")))
    assert not [line for line in without if line.startswith("ExecReload")]
    assert "ExecReload=/bin/kill -HUP $MAINPID" in told.decode().splitlines()
    parsed = Systemd("x").parsed(told)
    assert parsed is not None
    assert parsed.command[-2:] == ("--config", "/a b/c.yaml")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 64, "ü", "a.b", "a@b"])
def test_a_name_that_is_no_files_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="letters, digits"):
        Systemd(name)
