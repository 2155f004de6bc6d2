"""The settings of an embedding service: defaults, their priority over each other, and what each key may hold."""

import os
from collections.abc import Mapping
from dataclasses import InitVar, asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from akidb_embeddings.config.file import check_keys, find_config_file, read_section
from akidb_embeddings.config.rules import BOOLEAN, COUNT, Rule, choice
from akidb_embeddings.errors import ConfigurationError

_DEFAULT = "default"
_CONSTRUCTOR = "constructor"


def _is_folder_name(path: str | Path) -> bool:
    # A "~" that is left over names a user without a home; taken literally it would make a folder called "~user".
    return bool(str(path).strip()) and not os.path.expanduser(path).startswith("~")


_PROMPT = Rule(str, "a string (empty for no prompt)", optional=True)
_PROMPT_NAME = Rule(str, "the name of one of the model's prompts", str.strip, optional=True)
_TASK = Rule(str, "an instruction in words, such as 'Retrieve duplicates of the question'", str.strip, optional=True)
# Each set says one thing in several ways.
_EXCLUSIVE = (("query_prompt", "query_prompt_name", "task"), ("document_prompt", "document_prompt_name"))

_RULES: Mapping[str, Rule] = {
    "model_name": Rule(str, "a registry name, a Hugging Face repository or a local folder", str.strip),
    "revision": Rule(str, "a branch, tag or commit as a string (in YAML, quote digits)", str.strip, optional=True),
    "pooling": choice("auto", "mean", "cls", "last"),
    "normalize": BOOLEAN,
    "dimensions": COUNT._replace(optional=True),
    "untrained_dimensions": BOOLEAN,
    "max_tokens": COUNT,
    "truncate": choice("end", "error"),
    "query_prompt": _PROMPT,
    "document_prompt": _PROMPT,
    "query_prompt_name": _PROMPT_NAME,
    "document_prompt_name": _PROMPT_NAME,
    "task": _TASK,
    "batch_size": Rule(int, "an integer from 1 to 128", range(1, 129).__contains__),
    "memory": choice("fast", "compact"),
    "max_queued_tokens": COUNT,
    "auto_download": BOOLEAN,
    "cache_dir": Rule((str, Path), "the path of a folder", _is_folder_name, optional=True),
}


FIELDS = tuple(_RULES)
"""The names of ``EmbeddingConfig``'s fields."""


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
        untrained_dimensions: Whether ``dimensions`` may be a length that the model was not trained for.
        max_tokens: Longest text in tokens, special tokens and prompt included; at most the model's own limit.
        truncate: For longer texts, "end" cuts and flags them, "error" refuses them.
        query_prompt: Text put before every query; None for the model's own, "" for none.
        document_prompt: Text put before every document; None for the model's own, "" for none.
        query_prompt_name: Name of the model's prompt to put before every query, instead of ``query_prompt``.
        document_prompt_name: Name of the model's prompt to put before every document, instead of ``document_prompt``.
        task: Instruction for queries, instead of either, for models whose query prompt holds one.
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
    untrained_dimensions: bool = False
    max_tokens: int = 512
    truncate: str = "end"
    query_prompt: str | None = None
    document_prompt: str | None = None
    query_prompt_name: str | None = None
    document_prompt_name: str | None = None
    task: str | None = None
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
            where = "" if source in (_DEFAULT, _CONSTRUCTOR) else source
            _RULES[name].check(name, getattr(self, name), where)
        for names in _EXCLUSIVE:
            self._check_exclusive([name for name in names if getattr(self, name) is not None], sources)
        if self.cache_dir is not None:
            object.__setattr__(self, "cache_dir", os.path.expanduser(self.cache_dir))
        vars(self)["_origins"] = {name: _Origin(getattr(self, name), source) for name, source in sources.items()}

    def _check_exclusive(self, names: list[str], sources: Mapping[str, str]) -> None:
        if len(names) > 1:
            files = dict.fromkeys(sources[name] for name in names if sources[name] not in (_DEFAULT, _CONSTRUCTOR))
            where = "".join(f"{file}: " for file in files)
            given = " and ".join(f"{name} ({getattr(self, name)!r})" for name in names)
            raise ConfigurationError(f"{where}{given} exclude each other; keep one, and set what is left to None.")

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
        """Return a copy with ``changes`` made; the other fields keep their values and their ``sources``.

        Of fields that exclude each other, one among the changes takes the others' place.
        """
        for names in _EXCLUSIVE:
            if any(changes.get(name) is not None for name in names):  # it takes the place of what was set before
                changes |= {name: None for name in names if name not in changes and getattr(self, name) is not None}
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
        file = find_config_file() if path is None else Path(os.path.expanduser(path))
        values = {} if file is None else read_section(file, "embedding", _RULES)
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
