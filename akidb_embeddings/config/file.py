"""Configuration files: where they are, and what their sections hold. What a key may hold is others' to say."""

import math
import os
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from akidb_embeddings.errors import ConfigurationError

_FILE_NAME = "embedding_config.yaml"
_ROOT_KEYS = ("embedding", "server")


def check_keys(given: Mapping[Any, Any], known: Collection[str], where: str = "") -> None:
    """Raise ConfigurationError for a key that is not ``known``; it names the key that may have been meant."""
    for key, value in given.items():
        if key not in known:
            nearest = get_close_matches(str(key).lower(), known, n=1)
            hint = f"Did you mean {nearest[0]!r}? " if nearest else ""
            raise ConfigurationError(f"{where}unknown key {key!r} (value {value!r}). {hint}Allowed: {', '.join(known)}")


def find_config_file() -> Path | None:
    """The file that is read where none is named: the first there is; see ``EmbeddingConfig.from_yaml``."""
    named = os.path.expanduser(os.environ.get("AKIDB_CONFIG", ""))
    if named and not os.path.exists(named):
        raise ConfigurationError(f"AKIDB_CONFIG names {named!r}, and there is no such file")
    if named:
        return Path(named)
    config_home = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(config_home):  # unset, empty, or relative, which the XDG specification says to ignore
        config_home = os.path.expanduser("~/.config")
    candidates = (Path(_FILE_NAME), Path(config_home, "akidb", _FILE_NAME))
    # Inside a folder we may not enter, os.path.isfile is False and Path.is_file raises.
    return next((file.absolute() for file in candidates if os.path.isfile(file)), None)


class _Loader(yaml.SafeLoader):
    """The safe loader, except that a key written twice is an error instead of a victory for the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def as_yaml(value: str | float | None) -> str:
    """A plain value as it stands in a configuration file: on one line, strings in double quotes.

    It is ASCII, since nobody knows in which encoding it will be saved: other characters are escaped.
    """
    # JSON is almost YAML, but writes a character beyond U+FFFF as two escapes, which YAML reads as two characters.
    style = '"' if isinstance(value, str) else None
    text: str = yaml.safe_dump(value, default_style=style, width=math.inf)
    return text.splitlines()[0]  # a bare null or number is followed by the mark of the document's end


def read_section(file: Path, name: str, known: Collection[str]) -> dict[str, Any]:
    """The values below the key ``name`` of a configuration file; none where it is not there.

    ConfigurationError: the file is missing, unreadable or not valid YAML, or has a key that is not ``known``.
    """
    root = _as_mapping(_parse(file), _ROOT_KEYS, f"{file}: ")
    return _as_mapping(root.get(name), known, f"{file}: {name}: ")


def _as_mapping(value: object, known: Collection[str], where: str) -> dict[str, Any]:
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}{value!r} is not a mapping; allowed keys: {', '.join(known)}")
    check_keys(value, known, where)
    return value


def _parse(file: Path) -> object:
    try:
        return yaml.load(file.read_bytes().decode("utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{file}, line {line}: not valid UTF-8") from error
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(f"{file}{where}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a scalar such as the date 2024-13-45
        raise ConfigurationError(f"{file}: not valid YAML: {error}") from error
