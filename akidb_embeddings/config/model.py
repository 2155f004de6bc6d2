"""What the configurations of embedding models and of rerankers share: sources, copies, and rules of common fields."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

from akidb_embeddings.config.file import check_keys, find_config_file, read_section
from akidb_embeddings.config.rules import BOOLEAN, COUNT, Rule, choice
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.registry import SPECS


class _AsConfigured:
    def __repr__(self) -> str:
        return "AS_CONFIGURED"


AS_CONFIGURED: Any = _AsConfigured()
"""The value of an argument that is not given: for many fields, None is a value of its own."""

DEFAULT = "default"
CONSTRUCTOR = "constructor"
"""The entries of ``ModelConfig.sources`` for values that are not from a file."""


def _is_folder_name(path: str | Path) -> bool:
    # A remaining "~" names a user without a home; taken literally, it would create a folder called "~user".
    return bool(str(path).strip()) and not os.path.expanduser(path).startswith("~")


def _is_same(name: object, other: object) -> bool:
    """Whether two names are one model's: equal, spellings of one folder, or a short name and its repository."""
    if isinstance(name, str) and isinstance(other, str):
        return _identity(name) == _identity(other)
    return name == other


def _identity(name: str) -> str:
    """The same for all spellings of a model's name: the repository, or the folder with links resolved."""
    name = name.strip()
    if (spec := SPECS.get(name)) is not None:  # whatever folders there are
        return name if spec.bundled else spec.repo
    folder = os.path.expanduser(name)
    return os.path.realpath(folder) if os.path.isdir(folder) else name


PROMPT_NAME = Rule(str, "the name of one of the model's prompts", str.strip, optional=True)
REVISION = Rule(str, "a branch, tag or commit as a string (in YAML, quote digits)", str.strip, optional=True)
MODEL_RULES: Mapping[str, Rule] = {
    "model_name": Rule(str, "a registry name, a Hugging Face repository or a local folder", str.strip),
    "revision": REVISION,
}
"""The rules of the fields that name a model."""

LIMIT_RULES: Mapping[str, Rule] = {
    "max_tokens": COUNT._replace(optional=True),
    "truncate": choice("end", "error"),
}
"""The rules of the fields for long texts."""

ENGINE_RULES: Mapping[str, Rule] = {
    "batch_size": Rule(int, "an integer from 1 to 128", range(1, 129).__contains__),
    "memory": choice("fast", "compact"),
    "compute": choice("fast", "strict"),
    "warm_up": BOOLEAN,
    "keep_warm": Rule((int, float), "a number of seconds from 0 to 86400", lambda value: 0 <= value <= 86_400),
    "max_queued_tokens": COUNT,
    "auto_download": BOOLEAN,
    "cache_dir": Rule((str, Path), "the path of a folder", _is_folder_name, optional=True),
}
"""The rules of the fields that say how a model is found and computed."""


class ModelConfig:
    """The base class of ``EmbeddingConfig`` and ``RerankConfig``, which are frozen dataclasses and have the fields."""

    _section: ClassVar[str]
    _rules: ClassVar[Mapping[str, Rule]]
    # In each group, at most one may be set: they set the same thing in different ways.
    _exclusive: ClassVar[tuple[tuple[str, ...], ...]] = ()
    # What belongs to the model or adapter that a field names, and does not outlast it.
    _belonging: ClassVar[Mapping[str, tuple[str, ...]]] = {"model_name": ("revision",)}
    # Not a field, since fields are compared and shown.
    _sources: Mapping[str, str]

    model_name: str
    revision: str | None
    cache_dir: str | Path | None

    def __new__(cls, **given: Any) -> Self:
        """Reject unknown keywords; the TypeError of ``__init__`` would not list the allowed ones."""
        check_keys(given, cls._rules)
        return super().__new__(cls)

    @classmethod
    def _check(cls, values: Mapping[str, Any], source: str = "") -> None:
        """Raise ConfigurationError for a value that is not allowed, and for fields that exclude each other."""
        for name, value in values.items():
            cls._rules[name].check(name, value, source)
        for names in cls._exclusive:
            chosen = [f"{name} ({values[name]!r})" for name in names if values.get(name) is not None]
            if len(chosen) > 1:
                raise ConfigurationError(
                    f"{' and '.join(chosen)} exclude each other; keep one, and set the others to None.", source=source
                )

    def __post_init__(self) -> None:
        self._check(vars(self))
        if self.cache_dir is not None:
            object.__setattr__(self, "cache_dir", os.path.expanduser(self.cache_dir))
        changed = {name for name in self._rules if getattr(self, name) != getattr(type(self), name)}
        self._set_sources({name: CONSTRUCTOR if name in changed else DEFAULT for name in self._rules})

    def _set_sources(self, sources: Mapping[str, str]) -> None:
        # Called only for a new object: afterwards it is immutable.
        object.__setattr__(self, "_sources", sources)

    @property
    def sources(self) -> Mapping[str, str]:
        """Where each field's value came from: "default", "constructor", or the path of a YAML file.

        For display only: sources are not compared. A value passed to the constructor that equals the default is
        "default". ``with_values`` keeps sources; ``dataclasses.replace`` does not.
        """
        return MappingProxyType(self._sources)

    def source_of(self, name: str) -> str:
        """The file that the field ``name`` was set in, for error messages; "" if it was not set in a file."""
        source = self._sources[name]
        return "" if source in (DEFAULT, CONSTRUCTOR) else source

    def was_given(self, name: str) -> bool:
        """Whether the field ``name`` was set, in a file or to a value other than its default. For messages only.

        Raises:
            KeyError: The field does not exist.
        """
        return self._sources[name] != DEFAULT

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values: the class called with them is an equal configuration."""
        return {name: getattr(self, name) for name in self._rules}

    def with_values(self, **changes: Any) -> Self:
        """Return a copy with ``changes`` made; the other fields keep their values and their ``sources``.

        Of fields that exclude each other, the changed one replaces the others.

        Raises:
            ConfigurationError: A field is unknown, or a value is not allowed.
        """
        for names in self._exclusive:
            if any(changes.get(name) is not None for name in names):  # it replaces what was set before
                changes |= {name: None for name in names if name not in changes and getattr(self, name) is not None}
        changed = type(self)(**{**self.to_dict(), **changes})
        changed._set_sources({**self._sources, **dict.fromkeys(changes, CONSTRUCTOR)})
        return changed

    @classmethod
    def from_yaml(cls, path: str | Path | None = None) -> Self:
        """Read the class's section of a YAML file: ``embedding:`` or ``rerank:``.

        Args:
            path: The file. None for the first that exists of ``$AKIDB_CONFIG``, ``./embedding_config.yaml`` and
                ``akidb/embedding_config.yaml`` in ``$XDG_CONFIG_HOME``, or ``~/.config`` if that is not set.

        Returns:
            The configuration. Keys that are missing, and all keys without any file, have their defaults.

        Raises:
            ConfigurationError: The file is missing, unreadable or not valid YAML, or a key or value is not allowed.
        """
        file = find_config_file() if path is None else Path(os.path.expanduser(path))
        values = {} if file is None else read_section(file, cls._section, cls._rules)
        cls._check(values, str(file))
        config = cls(**values)
        config._set_sources({**config._sources, **dict.fromkeys(values, str(file))})
        return config

    @classmethod
    def resolve(cls, config: Self | None = None, config_path: str | Path | None = None, **overrides: Any) -> Self:
        """Combine the sources of settings. From highest to lowest priority:

        1. ``overrides``, key by key: every value that is passed counts, including ``False``, ``0`` and ``None``;
        2. ``config``; 3. the file ``config_path``; 4. the file that ``from_yaml`` finds; 5. the defaults.

        Only the first of 2 to 5 that is present is used, as a whole: a file in the working directory must not change
        parts of a configuration that was passed in code.

        Args:
            config: A whole configuration.
            config_path: A YAML file with one.
            **overrides: Fields of the class. ``model_name`` and ``adapter`` may also be paths. A model other than the
                base's, however it is spelled, resets ``revision`` and ``adapter``, which belong to the base's model.

        Raises:
            ConfigurationError: ``config`` is of another class, or a file, key or value is not allowed.
        """
        if config is not None and not isinstance(config, cls):
            name = cls.__name__
            raise ConfigurationError(
                field="config", reason=f"is {config!r}, which is not of the class {name}; use {name}(**values)."
            )
        base = cls.from_yaml(config_path) if config is None else config
        for name, belonging in cls._belonging.items():
            if isinstance(overrides.get(name), os.PathLike):
                overrides[name] = os.fspath(overrides[name])
            if not _is_same(overrides.get(name, getattr(base, name)), getattr(base, name)):
                for field in belonging:
                    if getattr(base, field) is not None:
                        overrides.setdefault(field, None)
        return base.with_values(**overrides)
