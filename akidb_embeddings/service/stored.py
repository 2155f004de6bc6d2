"""The settings that a vector store keeps beside its vectors, and that give the same vectors in other programs.

They are all that decides the vectors, and nothing of one machine, such as a cache folder or a batch size. The version
of the model is among them: another model under the same name is an error, never vectors of another space.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from akidb_embeddings.config.embedding import FIELDS, EmbeddingConfig
from akidb_embeddings.config.file import check_keys
from akidb_embeddings.config.model import ENGINE_RULES
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.registry import MODELS
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.service.shared import folder_of, model_version, shared_service

VERSION = "model_version"
"""The name of the model's version among the stored settings."""

DECIDING = tuple(name for name in FIELDS if name not in ENGINE_RULES)
"""The fields of ``EmbeddingConfig`` that are stored."""

# What may differ where documents have the same vectors: what the model's version stands for, what is for queries alone,
# and what refuses texts or lengths.
_FREE = ("model_name", "revision", "query_prompt", "query_prompt_name", "task", "truncate", "untrained_dimensions")
_AGAIN = "Vectors of both cannot be compared: embed everything again into a new store."


@dataclass(frozen=True)
class StoredModel:
    """A model and its settings, as a store keeps them. It is immutable, picklable and compared by its values.

    Attributes:
        config: The configuration.
        version: The digest of a model in a folder or in this package; the revision of one on the hub, as configured or
            as the registry has it; None for a repository of which neither is known.
    """

    config: EmbeddingConfig
    version: str | None

    @classmethod
    def of(cls, config: EmbeddingConfig) -> Self:
        """The model that a configuration stands for now. Loads no weights; a folder's files are read.

        A folder gets its absolute path, for programs that run elsewhere.

        Raises:
            CheckpointError: The folder is damaged.
        """
        if folder := folder_of(config.model_name):
            config = config.with_values(model_name=folder)
        if config.adapter and (folder := folder_of(config.adapter)):
            config = config.with_values(adapter=folder)
        return cls(config, _version(config))

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """What ``to_dict`` wrote. Settings of the machine are those of the configuration file, if there is one.

        Nothing that decides vectors is taken from a file: what is missing has its default.

        Raises:
            ConfigurationError: A key is unknown, the model's name is missing, or a value is not allowed; or the name of
                a repository is here also that of a folder.
        """
        check_keys(values, [*DECIDING, VERSION])
        if not values.get("model_name"):
            raise ConfigurationError(field="model_name", reason="is missing among the stored settings.")
        version = values.get(VERSION)
        if not isinstance(version, str | None):
            raise ConfigurationError(field=VERSION, reason=f"is {version!r}; a string or None is expected.")
        defaults = EmbeddingConfig().to_dict()
        deciding = {name: values.get(name, defaults[name]) for name in DECIDING}
        for name in ("model_name", "adapter"):
            _check_no_namesake(name, deciding[name])
        return cls(EmbeddingConfig.resolve(**deciding), version)

    def to_dict(self) -> dict[str, Any]:
        """Everything that decides the vectors, as values for JSON."""
        return {name: getattr(self.config, name) for name in DECIDING} | {VERSION: self.version}

    def arguments(self) -> dict[str, Any]:
        """The arguments that make its configuration: what differs from the defaults."""
        defaults = EmbeddingConfig().to_dict()
        return {name: value for name, value in self.config.to_dict().items() if value != defaults[name]}

    def service(self) -> EmbeddingService:
        """This process's service for it, loaded by the first call. Do not close it.

        Raises:
            ConfigurationError: The name now stands for another model than the one whose vectors are stored.
            EmbeddingError: Loading failed, as in ``EmbeddingService``.
        """
        service = shared_service(self.config)
        # Of the service that computes, since the folder may have changed after it was loaded.
        version = _version(self.config)
        if self.version is not None and version != self.version:
            raise ConfigurationError(
                field="model_name",
                reason=f"is {self.config.model_name!r}, which is another model now (version {version}) than the one "
                f"that the stored vectors are from (version {self.version}). {_AGAIN}",
            )
        return service

    def check_change(self, other: Self) -> None:
        """Check that documents would have the same vectors with other settings, whose queries may differ.

        Raises:
            ConfigurationError: Their vectors would differ; the error names the setting.
        """
        if not self._has_model_of(other):
            raise ConfigurationError(
                field="model_name",
                reason=f"is {other.config.model_name!r} (version {other.version}), and the stored vectors are from "
                f"{self.config.model_name!r} (version {self.version}). {_AGAIN}",
            )
        for name in (name for name in DECIDING if name not in _FREE):
            before, after = getattr(self.config, name), getattr(other.config, name)
            if name == "adapter" and _are_folders(before, after):
                continue  # of the same version
            if before != after:
                raise ConfigurationError(
                    field=name, reason=f"is {after!r}, and the stored vectors were made with {before!r}. {_AGAIN}"
                )

    def _has_model_of(self, other: Self) -> bool:
        names = {self.config.model_name, other.config.model_name}
        # A folder may have moved: its version says what is in it. A hub's revision says that for one repository alone.
        may_move = self.version is not None and _are_folders(*names)
        return self.version == other.version and (len(names) == 1 or may_move)


def _are_folders(*names: str | None) -> bool:
    return all(name is not None and folder_of(name) for name in names)


def _check_no_namesake(field: str, name: object) -> None:
    """Refuse a stored name, which of a folder is absolute, that stands for a folder in the working directory."""
    if isinstance(name, str) and not os.path.isabs(name) and (folder := folder_of(name)):
        raise ConfigurationError(
            field=field,
            reason=f"is {name!r} among the stored settings, a repository, and here also the folder {folder}, which may "
            "be another model. Work in another directory, or rename the folder.",
        )


def _version(config: EmbeddingConfig) -> str | None:
    spec = MODELS.get(config.model_name)
    digest, revision = model_version(config), config.revision or (spec.revision if spec else None)
    if config.adapter and digest and revision:  # the digest may be of the adapter alone
        return f"{revision}-{digest}"
    return digest or revision
