"""The settings of an embedding service: defaults, allowed values, and the priority of their sources."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from akidb_embeddings.config.file import check_keys, find_config_file, read_section
from akidb_embeddings.config.rules import BOOLEAN, COUNT, Rule, choice
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.registry.poolings import POOLINGS

DEFAULT_MAX_TOKENS = 512
"""The limit in tokens while ``max_tokens`` is None, unless the model's own limit is smaller."""


class _AsConfigured:
    def __repr__(self) -> str:
        return "AS_CONFIGURED"


AS_CONFIGURED: Any = _AsConfigured()
"""The value of an argument that is not given: for many fields, None is a value of its own."""

DEFAULT = "default"
CONSTRUCTOR = "constructor"
"""The entries of ``EmbeddingConfig.sources`` for values that are not from a file."""


def _is_folder_name(path: str | Path) -> bool:
    # A remaining "~" names a user without a home; taken literally, it would create a folder called "~user".
    return bool(str(path).strip()) and not os.path.expanduser(path).startswith("~")


_PROMPT = Rule(str, "a string (empty for no prompt)", optional=True)
_PROMPT_NAME = Rule(str, "the name of one of the model's prompts", str.strip, optional=True)
_TASK = Rule(str, "an instruction in words, such as 'Retrieve duplicates of the question'", str.strip, optional=True)
# In each group, at most one may be set: they set the same prompt in different ways.
_EXCLUSIVE = (("query_prompt", "query_prompt_name", "task"), ("document_prompt", "document_prompt_name"))

_RULES: Mapping[str, Rule] = {
    "model_name": Rule(str, "a registry name, a Hugging Face repository or a local folder", str.strip),
    "revision": Rule(str, "a branch, tag or commit as a string (in YAML, quote digits)", str.strip, optional=True),
    "pooling": choice("auto", *POOLINGS),
    "normalize": BOOLEAN._replace(optional=True),
    "dimensions": COUNT._replace(optional=True),
    "untrained_dimensions": BOOLEAN,
    "max_tokens": COUNT._replace(optional=True),
    "truncate": choice("end", "error"),
    "query_prompt": _PROMPT,
    "document_prompt": _PROMPT,
    "query_prompt_name": _PROMPT_NAME,
    "document_prompt_name": _PROMPT_NAME,
    "task": _TASK,
    "batch_size": Rule(int, "an integer from 1 to 128", range(1, 129).__contains__),
    "memory": choice("fast", "compact"),
    "compute": choice("fast", "strict"),
    "warm_up": BOOLEAN,
    "keep_warm": Rule((int, float), "a number of seconds from 0 to 86400", lambda value: 0 <= value <= 86_400),
    "max_queued_tokens": COUNT,
    "auto_download": BOOLEAN,
    "cache_dir": Rule((str, Path), "the path of a folder", _is_folder_name, optional=True),
}


FIELDS = tuple(_RULES)
"""The names of ``EmbeddingConfig``'s fields."""


def _check(values: Mapping[str, Any], source: str = "") -> None:
    """Raise ConfigurationError for a value that is not allowed, and for fields that exclude each other."""
    for name, value in values.items():
        _RULES[name].check(name, value, source)
    for names in _EXCLUSIVE:
        chosen = [f"{name} ({values[name]!r})" for name in names if values.get(name) is not None]
        if len(chosen) > 1:
            raise ConfigurationError(
                f"{' and '.join(chosen)} exclude each other; keep one, and set the others to None.", source=source
            )


class _StrictKeywords:
    # A base class, so that type checkers and ``help`` still use the signature of the dataclass's ``__init__``.

    # Declared here because in the dataclass it would be a field, and fields are compared and shown.
    _sources: Mapping[str, str]

    def __new__(cls, **given: Any) -> Self:
        """Reject unknown keywords; the TypeError of ``__init__`` would not list the allowed ones."""
        check_keys(given, _RULES)
        return super().__new__(cls)


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig(_StrictKeywords):
    """A complete, valid set of settings: immutable, hashable, picklable, compared by its values.

    Only values count: equal configurations are equivalent, whatever their sources.

    Attributes:
        model_name: Short name in the registry, Hugging Face repository id, or local folder.
        revision: Branch, tag or commit of the repository; None for the registry's, else the main branch.
        pooling: "auto" (as the model was trained), "mean", "cls" or "last".
        normalize: Whether vectors are scaled to length 1. None: yes, with a warning if the model was trained without.
        dimensions: Length to which vectors are cut, for models trained for it (Matryoshka); None for the full length.
        untrained_dimensions: Whether ``dimensions`` may be a length that the model was not trained for.
        max_tokens: Longest text in tokens, special tokens and prompt included; at most the model's own limit. None for
            that limit, or 512 if that is less.
        truncate: "end" cuts and flags longer texts, "error" rejects them.
        query_prompt: Text put before every query; None for the model's own, "" for none.
        document_prompt: Text put before every document; None for the model's own, "" for none.
        query_prompt_name: Name of the model's prompt to put before every query, instead of ``query_prompt``.
        document_prompt_name: Name of the model's prompt to put before every document, instead of ``document_prompt``.
        task: Instruction for queries, instead of either, for models whose query prompt contains one.
        batch_size: Most texts in one micro-batch on a CPU, 1 to 128. GPUs need more to be busy: their micro-batches are
            limited in tokens alone, by the GPU's memory.
        memory: "fast", or "compact" for a smaller footprint at some cost in speed.
        compute: "fast", or "strict" to compute in float32 on GPUs, too, with products that are not rounded to TF32.
            CPUs always do.
        warm_up: Whether a GPU computes the shapes of queries once after the model is loaded, while no text waits.
        keep_warm: For how many seconds after a request a GPU is kept from lowering its clock, by a small forward pass
            every second.
        max_queued_tokens: Tokens that may wait in the engine's queue before new requests are rejected.
        auto_download: Whether a model that is not on this machine may be downloaded.
        cache_dir: Folder for downloads, as a string with "~" expanded; None for the default cache.

    Raises:
        ConfigurationError: A key is unknown (ArgumentError), or a value has the wrong type or is out of range.
    """

    model_name: str = "qwen3-0.6b-4bit"
    revision: str | None = None
    pooling: str = "auto"
    normalize: bool | None = None
    dimensions: int | None = None
    untrained_dimensions: bool = False
    max_tokens: int | None = None
    truncate: str = "end"
    query_prompt: str | None = None
    document_prompt: str | None = None
    query_prompt_name: str | None = None
    document_prompt_name: str | None = None
    task: str | None = None
    batch_size: int = 32
    memory: str = "fast"
    compute: str = "fast"
    warm_up: bool = True
    keep_warm: float = 0
    max_queued_tokens: int = 4_000_000
    auto_download: bool = True
    cache_dir: str | Path | None = None

    def __post_init__(self) -> None:
        _check(vars(self))
        if self.cache_dir is not None:
            object.__setattr__(self, "cache_dir", os.path.expanduser(self.cache_dir))
        changed = {name for name in _RULES if getattr(self, name) != getattr(type(self), name)}
        self._set_sources({name: CONSTRUCTOR if name in changed else DEFAULT for name in _RULES})

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
        """All fields as plain values: ``EmbeddingConfig(**values)`` is an equal configuration."""
        return asdict(self)

    def with_values(self, **changes: Any) -> Self:
        """Return a copy with ``changes`` made; the other fields keep their values and their ``sources``.

        Of fields that exclude each other, the changed one replaces the others.

        Raises:
            ConfigurationError: A field is unknown, or a value is not allowed.
        """
        for names in _EXCLUSIVE:
            if any(changes.get(name) is not None for name in names):  # it replaces what was set before
                changes |= {name: None for name in names if name not in changes and getattr(self, name) is not None}
        changed = replace(self, **changes)
        changed._set_sources({**self._sources, **dict.fromkeys(changes, CONSTRUCTOR)})
        return changed

    @classmethod
    def from_yaml(cls, path: str | Path | None = None) -> Self:
        """Read the section ``embedding:`` of a YAML file.

        Args:
            path: The file. None for the first that exists of ``$AKIDB_CONFIG``, ``./embedding_config.yaml`` and
                ``akidb/embedding_config.yaml`` in ``$XDG_CONFIG_HOME``, or ``~/.config`` if that is not set.

        Returns:
            The configuration. Keys that are missing, and all keys without any file, have their defaults.

        Raises:
            ConfigurationError: The file is missing, unreadable or not valid YAML, or a key or value is not allowed.
        """
        file = find_config_file() if path is None else Path(os.path.expanduser(path))
        values = {} if file is None else read_section(file, "embedding", _RULES)
        _check(values, str(file))
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
            **overrides: Fields of ``EmbeddingConfig``. ``model_name`` may also be a path. A model other than the base's
                resets ``revision``, which belongs to the base's model.

        Raises:
            ConfigurationError: ``config`` is not an ``EmbeddingConfig``, or a file, key or value is not allowed.
        """
        if config is not None and not isinstance(config, EmbeddingConfig):
            raise ConfigurationError(
                field="config", reason=f"is {config!r}, which is not an EmbeddingConfig; use EmbeddingConfig(**values)."
            )
        base = cls.from_yaml(config_path) if config is None else config
        if isinstance(overrides.get("model_name"), os.PathLike):
            overrides["model_name"] = os.fspath(overrides["model_name"])
        if overrides.get("model_name", base.model_name) != base.model_name and base.revision is not None:
            overrides.setdefault("revision", None)
        return base.with_values(**overrides)
