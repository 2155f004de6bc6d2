"""Optional dependencies: an extra's packages are known, and an error says how to install missing ones."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from akidb_embeddings import ConfigurationError, extras
from tests.conftest import REPOSITORY


def test_what_is_installed_is_enough() -> None:
    extras.require("bulk", "Parquet")
    assert extras.is_installed("orjson")
    assert not extras.is_installed("no_such_module")
    assert not extras.is_installed("no_such_package.module")


@pytest.mark.parametrize(
    ("source", "target"), [("", "'akidb-embeddings[bulk]'"), ("/a checkout", "-e '/a checkout[bulk]'")]
)
def test_what_is_missing_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, source: str, target: str
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError) as error:
        extras.require("bulk", "Parquet", source=source)
    assert str(error.value) == f"Parquet needs pyarrow: {sys.executable} -m pip install {target}"


def test_every_package_of_an_extra_is_in_its_list() -> None:
    project = tomllib.loads(Path(REPOSITORY, "pyproject.toml").read_text(encoding="utf-8"))
    lists = project["project"]["optional-dependencies"]
    for extra, modules in extras._MODULES.items():
        listed = {re.split(r"[\[<>=;~ ]", line, maxsplit=1)[0] for line in lists[extra]}
        assert set(modules.values()) <= listed, extra
