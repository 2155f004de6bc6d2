"""The settings of an embedding service: defaults, YAML files, their priority, and what each key may hold."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import InitVar, asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import yaml

from akidb_embeddings.errors import ConfigurationError

_FILE_NAME = "embedding_config.yaml"
_ROOT_KEYS = ("embedding",)
_DEFAULT = "default"
_CONSTRUCTOR = "constructor"


class _Rule(NamedTuple):
    """What one field may hold, and the words that say so in an error."""

    types: type | tuple[type, ...]
    allowed: str
    accepts: Callable[[Any], object] = lambda _: True
    optional: bool = False

    def check(self, name: str, value: object, where: str = "") -> None:
        if value is None and self.optional:
            return
        is_stray_bool = isinstance(value, bool) and self.types is not bool  # Python counts True as the integer 1
        if is_stray_bool or not isinstance(value, self.types) or not self.accepts(value):
            allowed = f"{self.allowed}, or None" if self.optional else self.allowed
            raise ConfigurationError(f"{where}{name}: {value!r} is not allowed; it must be {allowed}")


def _choice(*names: str) -> _Rule:
    return _Rule(str, "one of " + ", ".join(map(repr, names)), names.__contains__)


def _is_folder_name(path: str | Path) -> bool:
    # A "~" that is left over names a user without a home; taken literally it would make a folder called "~user".
    return bool(str(path).strip()) and not os.path.expanduser(path).startswith("~")


_BOOLEAN = _Rule(bool, "True or False")
_COUNT = _Rule(int, "an integer of at least 1", lambda value: value >= 1)
_PROMPT = _Rule(str, "a string (empty for no prompt)", optional=True)

_RULES: Mapping[str, _Rule] = {
    "model_name": _Rule(str, "a registry name, a Hugging Face repository or a local folder", str.strip),
    "revision": _Rule(str, "a branch, tag or commit as a string (in YAML, quote digits)", str.strip, optional=True),
    "pooling": _choice("auto", "mean", "cls", "last"),
    "normalize": _BOOLEAN,
    "dimensions": _COUNT._replace(optional=True),
    "max_tokens": _COUNT,
    "truncate": _choice("end", "error"),
    "query_prompt": _PROMPT,
    "document_prompt": _PROMPT,
    "batch_size": _Rule(int, "an integer from 1 to 128", range(1, 129).__contains__),
    "memory": _choice("fast", "compact"),
    "max_queued_tokens": _COUNT,
    "auto_download": _BOOLEAN,
    "cache_dir": _Rule((str, Path), "the path of a folder", _is_folder_name, optional=True),
}


FIELDS = tuple(_RULES)
"""The names of ``EmbeddingConfig``'s fields."""


def check_keys(given: Mapping[Any, Any], known: Collection[str], where: str = "") -> None:
    """Raise ConfigurationError for a key that is not ``known``; it names the key that may have been meant."""
    for key, value in given.items():
        if key not in known:
            nearest = get_close_matches(str(key).lower(), known, n=1)
            hint = f"Did you mean {nearest[0]!r}? " if nearest else ""
            raise ConfigurationError(f"{where}unknown key {key!r} (value {value!r}). {hint}Allowed: {', '.join(known)}")


class _Origin(NamedTuple):
    value: object
    source: str


class _NotesKeywords:
    # A base class, because type checkers and ``help`` then read the signature of the ``__init__`` nearer to them.
    def __new__(cls, *, _origins: object = None, **given: Any) -> Self:
        """Refuse unknown keywords by name, and note the given ones: ``__init__`` cannot tell them from defaults."""
        check_keys(given, _RULES)
        config = super().__new__(cls)
        if given:  # copy and pickle come by here without any, and never reach ``__post_init__``
            vars(config)["_given"] = frozenset(given)
        return config


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig(_NotesKeywords):
    """A complete, valid set of settings: immutable, hashable, picklable, compared by its values.

    Every way of construction raises ``ConfigurationError`` for an unknown key, a wrong type or a value out of range.

    Attributes:
        model_name: Short name in the registry, Hugging Face repository id, or local folder.
        revision: Branch, tag or commit of the repository; None for the registry's, else the main branch.
        pooling: "auto" (as the model was trained), "mean", "cls" or "last".
        normalize: Whether vectors are scaled to length 1.
        dimensions: Length vectors are cut to, for models trained for it (Matryoshka); None for the full length.
        max_tokens: Longest text in tokens, special tokens and prompt included; at most the model's own limit.
        truncate: For longer texts, "end" cuts and flags them, "error" refuses them.
        query_prompt: Text put before every query; None for the model's own, "" for none.
        document_prompt: Text put before every document; None for the model's own, "" for none.
        batch_size: Most texts in one micro-batch, 1 to 128.
        memory: "fast", or "compact" for a smaller footprint at some cost in speed.
        max_queued_tokens: Tokens that may wait in the engine before new requests are refused.
        auto_download: Whether a model that is not on this machine may be downloaded.
        cache_dir: Folder for downloads, kept as a string with "~" expanded; None for the default cache.
    """

    model_name: str = "qwen3-0.6b-4bit"
    revision: str | None = None
    pooling: str = "auto"
    normalize: bool = True
    dimensions: int | None = None
    max_tokens: int = 512
    truncate: str = "end"
    query_prompt: str | None = None
    document_prompt: str | None = None
    batch_size: int = 32
    memory: str = "fast"
    max_queued_tokens: int = 4_000_000
    auto_download: bool = True
    cache_dir: str | Path | None = None
    # Not a field, so it is neither compared nor printed; dataclasses.replace passes it on to the copy all the same.
    _origins: InitVar[Mapping[str, _Origin] | None] = None

    def __post_init__(self, _origins: Mapping[str, _Origin] | None) -> None:
        given = vars(self).pop("_given", frozenset())
        sources = {name: self._source(name, _origins or {}) if name in given else _DEFAULT for name in _RULES}
        for name, source in sources.items():
            where = "" if source in (_DEFAULT, _CONSTRUCTOR) else f"{source}: "
            _RULES[name].check(name, getattr(self, name), where)
        if self.cache_dir is not None:
            object.__setattr__(self, "cache_dir", os.path.expanduser(self.cache_dir))
        vars(self)["_origins"] = {name: _Origin(getattr(self, name), source) for name, source in sources.items()}

    def _source(self, name: str, origins: Mapping[str, _Origin]) -> str:
        # dataclasses.replace gives every field, changed or not: an unchanged value keeps its earlier source.
        earlier = origins.get(name, _Origin(None, _CONSTRUCTOR))
        return earlier.source if earlier.value == getattr(self, name) else _CONSTRUCTOR

    @property
    def sources(self) -> Mapping[str, str]:
        """Where each field's value came from: "default", "constructor", or the path of a YAML file."""
        return MappingProxyType({name: origin.source for name, origin in vars(self)["_origins"].items()})

    def was_given(self, name: str) -> bool:
        """Whether someone set the field ``name``, even to its default value. KeyError if there is no such field."""
        return self.sources[name] != _DEFAULT

    def to_dict(self) -> dict[str, Any]:
        """Every field as a plain value: ``EmbeddingConfig(**values)`` is an equal config, with all of them given."""
        return asdict(self)

    def with_values(self, **changes: Any) -> Self:
        """Return a copy with ``changes`` made; the other fields keep their values and their ``sources``."""
        kept = {name: origin for name, origin in vars(self)["_origins"].items() if name not in changes}
        return replace(self, **changes, _origins=kept)

    @classmethod
    def from_yaml(cls, path: str | Path | None = None) -> Self:
        """Read the mapping ``embedding:`` of a YAML file; keys it leaves out keep their defaults.

        Without ``path``, it is the first there is of ``$AKIDB_CONFIG``, ``./embedding_config.yaml`` and, below
        ``$XDG_CONFIG_HOME`` or else ``~/.config``, ``akidb/embedding_config.yaml``; without any, all is default.

        Raises:
            ConfigurationError: The file is missing, unreadable or not valid YAML, or a key or value is not allowed.
        """
        file = cls._find_config_file() if path is None else Path(os.path.expanduser(path))
        values = {} if file is None else _read_section(file)
        return cls(**values, _origins={name: _Origin(value, str(file)) for name, value in values.items()})

    @classmethod
    def resolve(cls, config: Self | None = None, config_path: str | Path | None = None, **overrides: Any) -> Self:
        """Settle on one configuration. From highest to lowest priority:

        1. ``overrides``, key by key: whatever is passed counts, also ``False``, ``0`` and ``None``;
        2. ``config``; 3. the file ``config_path``; 4. the file ``from_yaml`` finds by itself; 5. the defaults.

        The first of 2 to 5 is the base as a whole, and the ones below it are not read: a file that happens to lie
        in the working directory must not change half of a configuration that was passed in code. A ``revision`` stays
        with the model it was set for: another ``model_name`` among the overrides resets it. That may also be a path.

        Raises:
            ConfigurationError: ``config`` is not an ``EmbeddingConfig``, or a file, key or value is not allowed.
        """
        if config is not None and not isinstance(config, EmbeddingConfig):
            raise ConfigurationError(f"config: {config!r} is not an EmbeddingConfig; use EmbeddingConfig(**values)")
        base = cls.from_yaml(config_path) if config is None else config
        if isinstance(overrides.get("model_name"), os.PathLike):
            overrides["model_name"] = os.fspath(overrides["model_name"])
        if overrides.get("model_name", base.model_name) != base.model_name and base.revision is not None:
            overrides.setdefault("revision", None)
        return base.with_values(**overrides)

    @staticmethod
    def _find_config_file() -> Path | None:
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


def _read_section(file: Path) -> dict[str, Any]:
    root = _as_mapping(_parse(file), _ROOT_KEYS, f"{file}: ")
    return _as_mapping(root.get("embedding"), _RULES, f"{file}: embedding: ")


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
