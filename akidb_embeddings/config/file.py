"""Configuration files: their locations, and their sections. Values are checked in ``embedding`` and ``server``."""

import math
import os
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from akidb_embeddings.errors import ArgumentError, ConfigurationError

_FILE_NAME = "embedding_config.yaml"
_ROOT_KEYS = ("embedding", "rerank", "server")


def check_keys(given: Mapping[Any, Any], known: Collection[str], source: str = "", function: str = "") -> None:
    """Check that all keys are known.

    Args:
        given: The mapping whose keys are checked.
        known: The allowed keys.
        source: The file or environment variables that the mapping is from; "" for arguments.
        function: What the arguments are for; "" if that is clear.

    Raises:
        ConfigurationError: A key is unknown; the message suggests the nearest known one. For arguments, it is an
            ArgumentError.
    """
    kind = "key" if source else "argument"
    of_function = f" of {function}" if function else ""
    for key, value in given.items():
        if key not in known:
            nearest = get_close_matches(str(key).lower(), known, n=1)
            suggestion = f"Did you mean {nearest[0]!r}? " if nearest else ""
            message = f"unknown {kind} {key!r}{of_function} (value {value!r}). {suggestion}Allowed: {', '.join(known)}"
            raise (ConfigurationError if source else ArgumentError)(message, field=str(key), source=source)


def find_config_file() -> Path | None:
    """Find the default file: the first that exists of those that ``EmbeddingConfig.from_yaml`` lists; None without any.

    Raises:
        ConfigurationError: The file that ``$AKIDB_CONFIG`` names does not exist.
    """
    named = os.path.expanduser(os.environ.get("AKIDB_CONFIG", ""))
    if named and not os.path.exists(named):
        raise ConfigurationError(f"the file {named!r} does not exist", source="AKIDB_CONFIG")
    if named:
        return Path(named)
    config_home = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(config_home):  # unset, empty, or relative, which the XDG specification says to ignore
        config_home = os.path.expanduser("~/.config")
    candidates = (Path(_FILE_NAME), Path(config_home, "akidb", _FILE_NAME))
    # In a folder without permission, os.path.isfile is False, and Path.is_file raises.
    return next((file.absolute() for file in candidates if os.path.isfile(file)), None)


class _Loader(yaml.SafeLoader):
    """The safe loader, except that a duplicate key is an error; the safe loader would keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def as_yaml(value: str | float | None) -> str:
    """A scalar as YAML on one line, with strings in double quotes.

    Characters beyond ASCII are escaped, since the encoding that the output will be saved in is unknown.
    """
    # JSON would escape a character beyond U+FFFF as two surrogates, which YAML reads as two characters.
    style = '"' if isinstance(value, str) else None
    text: str = yaml.safe_dump(value, default_style=style, width=math.inf)
    return text.splitlines()[0]  # after a plain scalar, PyYAML writes an end-of-document marker


def read_section(file: Path, name: str, known: Collection[str]) -> dict[str, Any]:
    """Read the section called ``name`` of a configuration file.

    Returns:
        The values by key; empty if the file does not have the section.

    Raises:
        ConfigurationError: The file is missing, unreadable or not valid YAML, or has a key that is not ``known``.
    """
    root = _as_mapping(_parse(file), _ROOT_KEYS, str(file))
    return _as_mapping(root.get(name), known, f"{file}: {name}")


def _as_mapping(value: object, known: Collection[str], source: str) -> dict[str, Any]:
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise ConfigurationError(f"{value!r} is not a mapping; allowed keys: {', '.join(known)}", source=source)
    check_keys(value, known, source)
    return value


def _parse(file: Path) -> object:
    try:
        return yaml.load(file.read_bytes().decode("utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", source=str(file)) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError("not valid UTF-8", source=f"{file}, line {line}") from error
    except RecursionError:
        reason = "nested too deeply to be read: a setting is in a section, and holds at most a list or a mapping"
        raise ConfigurationError(reason, source=str(file)) from None
    except yaml.MarkedYAMLError as error:
        line_number = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(f"not valid YAML: {error.problem}", source=f"{file}{line_number}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a scalar such as the date 2024-13-45
        raise ConfigurationError(f"not valid YAML: {error}", source=str(file)) from error
