"""Optional dependencies: an extra's packages are known, and an error says how to install missing ones."""

import importlib.metadata
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings import ConfigurationError, extras
from tests.conftest import REPOSITORY


def test_what_is_installed_is_enough() -> None:
    extras.require("bulk", "Parquet")
    assert extras.is_installed("orjson")
    assert not extras.is_installed("no_such_module")
    assert not extras.is_installed("no_such_package.module")


def test_what_is_missing_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError) as error:
        extras.require("bulk", "Parquet")
    assert str(error.value) == f"Parquet needs pyarrow: {extras.install_command('bulk')}"


def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: dict[str, Any] | None) -> None:
    """Let the package be installed in a folder that is no checkout, from where ``direct_url.json`` says."""

    real = importlib.metadata.distribution("akidb-embeddings")

    class Distribution:
        requires = real.requires

        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return None if origin is None else json.dumps(origin)

    monkeypatch.setattr(extras, "_ROOT", tmp_path / "site-packages")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())


def test_in_a_checkout_the_extra_is_installed_from_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert extras.pip_command("x") == f"{shlex.quote(sys.executable)} -m pip install x"
    begin = extras.pip_command()
    assert shlex.split(extras.install_command("bulk")) == [*shlex.split(begin), "-e", f"{REPOSITORY}[bulk]"]
    checkout = tmp_path / "a check out"
    checkout.mkdir()
    (checkout / "pyproject.toml").write_text('[project]\nname = "akidb-embeddings"\n', encoding="utf-8")
    monkeypatch.setattr(extras, "_ROOT", checkout)
    assert extras.install_command("mlx-lm") == f"{begin} -e '{checkout}[mlx-lm]'"
    (checkout / "pyproject.toml").write_text('[project]\nname = "other"\n', encoding="utf-8")
    monkeypatch.setattr(importlib.metadata, "distribution", no_distribution)
    assert str(checkout) not in extras.install_command("mlx-lm")


def no_distribution(name: str) -> Any:
    raise importlib.metadata.PackageNotFoundError(name)


@pytest.mark.parametrize("editable", [True, False])
def test_installed_from_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, editable: bool) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    installed(monkeypatch, tmp_path, {"url": folder.as_uri(), "dir_info": {"editable": editable}})
    option = "-e " if editable else ""
    assert extras.install_command("bulk") == f"{extras.pip_command()} {option}'{folder}[bulk]'"


def test_installed_from_a_file_or_an_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "akidb_embeddings-0.5.0-py3-none-any.whl"
    wheel.touch()
    for url in (wheel.as_uri(), "https://example.org/akidb_embeddings-0.5.0-py3-none-any.whl"):
        installed(monkeypatch, tmp_path, {"url": url, "archive_info": {}})
        assert extras.install_command("ray") == f"{extras.pip_command()} 'akidb-embeddings[ray] @ {url}'"
    commit = "0123456789abcdef0123456789abcdef01234567"
    url = "https://example.org/akidb-embeddings.git"
    installed(monkeypatch, tmp_path, {"url": url, "vcs_info": {"vcs": "git", "commit_id": commit}})
    assert extras.install_command("ray").endswith(f" 'akidb-embeddings[ray] @ git+{url}@{commit}'")


@pytest.mark.parametrize("origin", [None, {"url": "file:///no/such/akidb.whl"}, {"url": "file:///no/such"}], ids=str)
def test_where_the_origin_is_gone_or_unknown_the_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: dict[str, Any] | None
) -> None:
    """The package's own name would be looked up in an index, which need not have it."""
    installed(monkeypatch, tmp_path, origin)
    command = extras.install_command("bulk")
    assert re.fullmatch(r".* install 'orjson>=[\d.]+' 'pyarrow>=[\d.]+'", command)
    if sys.platform == "linux":
        assert "'mlx[cpu]" in extras.install_command("cpu")
    assert "tokenizers" in extras.install_command()
    assert "pyarrow" not in extras.install_command()


@pytest.mark.parametrize(
    ("uv", "begin"), [("/usr/bin/uv", "uv pip install --python {}"), (None, "pip --python {} install")]
)
def test_an_environment_without_pip_is_installed_into_from_outside(
    monkeypatch: pytest.MonkeyPatch, uv: str | None, begin: str
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setattr("shutil.which", lambda name: uv)
    assert extras.install_command("bulk").startswith(begin.format(shlex.quote(sys.executable)))


def test_no_text_of_the_package_gives_a_command_of_its_own() -> None:
    """The package need not be in an index, and an environment need not have pip."""
    package = Path(extras.__file__).parent
    texts = {file: file.read_text(encoding="utf-8") for file in package.rglob("*.py") if file.name != "extras.py"}
    assert not [file.name for file, text in texts.items() if "pip install" in text]


def test_every_package_of_an_extra_is_in_its_list() -> None:
    project = tomllib.loads(Path(REPOSITORY, "pyproject.toml").read_text(encoding="utf-8"))
    lists = project["project"]["optional-dependencies"]
    for extra, modules in extras._MODULES.items():
        listed = {re.split(r"[\[<>=;~ ]", line, maxsplit=1)[0] for line in lists[extra]}
        assert set(modules.values()) <= listed, extra
        assert listed - set(modules.values()) <= {"mlx"}, extra  # which every installation has


@pytest.mark.parametrize(
    "project", sorted((REPOSITORY / "integrations").glob("*/pyproject.toml")), ids=lambda path: path.parent.name
)
def test_every_distribution_carries_the_licence(project: Path) -> None:
    described = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    assert described["license-files"] == ["LICENSE"]
    assert (project.parent / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
