"""Property lists: what launchd reads is what was meant."""

import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from akidb_embeddings.supervision.definition import Definition
from akidb_embeddings.supervision.launchd import Launchd

DEFINITION = Definition(
    command=("/a b/python", "-P", "-m", "akidb_embeddings", "serve", "--model", '<&> "ü" $HOME %h ~', ""),
    environment={"AKIDB_CACHE_DIR": "/Users/me/a & b"},
    folder="/Users/me/<here>",
    stop_seconds=45,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_every_value_arrives_as_it_was_given(tmp_path: Path) -> None:
    agent = Launchd("x")
    content = agent.written(DEFINITION)
    entries = plistlib.loads(content)
    assert tuple(entries["ProgramArguments"]) == DEFINITION.command
    assert entries["EnvironmentVariables"] == DEFINITION.environment
    assert (entries["Label"], entries["ExitTimeOut"]) == ("org.akidb.x", 45)
    assert (entries["RunAtLoad"], entries["KeepAlive"]) == (True, {"SuccessfulExit": False})
    # launchd expands no ~.
    paths = [entries["StandardOutPath"], entries["StandardErrorPath"], entries["WorkingDirectory"]]
    assert all(Path(path).is_absolute() for path in paths)
    assert Path(paths[0]).is_relative_to(tmp_path)
    assert agent.parsed(content) == DEFINITION
    if plutil := shutil.which("plutil"):  # a part of macOS
        file = tmp_path / "x.plist"
        file.write_bytes(content)
        subprocess.run([plutil, "-lint", file], check=True)


def test_an_agent_of_somebody_else_is_not_taken_for_ours() -> None:
    other = plistlib.dumps({"Label": "org.akidb.x", "ProgramArguments": ["/usr/local/akidb/bin/akidb-embed", "serve"]})
    for content in (
        other,
        b"",
        b"<plist/>",
        plistlib.dumps([1]),
        plistlib.dumps({}),
        b"bplist00\x00",
        b'<?xml version="1.0"?><plist><dict>',
    ):
        assert Launchd("x").parsed(content) is None
