"""A loaded model as sentence-transformers describes it: its prompts, limit, lengths, similarity and device."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from akidb_embeddings.checkpoint.prompts import find_prompt, passage_prompt, with_query_and_document
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import ConfigurationError, InputError
from akidb_embeddings.registry.outputs import DENSE
from akidb_embeddings.sentence_transformers.arguments import check_constructor
from akidb_embeddings.sentence_transformers.scores import ALL_PAIRS, BY_ROWS, compare
from akidb_embeddings.service.inputs import check_text
from akidb_embeddings.service.reading import read_configured
from akidb_embeddings.service.service import EmbeddingService

_DEVICES = {"cpu": "cpu", "cuda": "cuda", "metal": "mps"}  # PyTorch's names


class LoadedTransformer:
    """A loaded model with the properties of a ``SentenceTransformer``.

    Attributes:
        prompts: Prompts by name, the model's own and those given; it may be changed.
        default_prompt_name: The prompt of ``encode``; None for none.
    """

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str],
        *,
        device: object = None,
        prompts: Mapping[str, str | None] | None = None,
        default_prompt_name: str | None = None,
        cache_folder: str | os.PathLike[str] | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        backend: str = "torch",
        similarity_fn_name: Any = None,
        truncate_dim: int | None = None,
        **settings: Any,
    ) -> None:
        """Find the model, download it if necessary and allowed, and load it. No configuration file is read.

        Raises:
            ArgumentError: An argument is unknown, or can do nothing here.
            ConfigurationError: A value is not allowed, or the model cannot do it.
            ModelNotFoundError, DownloadError, CheckpointError, WorkerError: See ``akidb_embeddings.errors``.
        """
        settings = check_constructor(settings, backend)
        folder = None if cache_folder is None else os.fspath(cache_folder)
        named: dict[str, Any] = {"model_name": os.fspath(model_name_or_path), "revision": revision, "cache_dir": folder}
        config = EmbeddingConfig(**named, **settings, auto_download=not local_files_only)
        self._service = EmbeddingService(config=_as_trained(config))
        described = self._service.checkpoint.folder.description
        given = {name: check_text(text) for name, text in (prompts or {}).items() if text is not None}
        trained = {**self._service.checkpoint.prompts, **given}
        self.prompts: dict[str, str] = with_query_and_document(trained)
        # A prompt that documents may be meant to have, of a model without one of that name, or with an empty one.
        self._doubtful = None if "document" in given else passage_prompt(trained)
        own_default = described.get("default_prompt_name")
        self.default_prompt_name: str | None = own_default if default_prompt_name is None else default_prompt_name
        if self.default_prompt_name is not None:
            find_prompt(self.prompts, self.default_prompt_name, "default_prompt_name")
        self.similarity_fn_name = _similarity_of(described) if similarity_fn_name is None else similarity_fn_name
        self.truncate_dim = self._service.checkpoint.truncate_dim if truncate_dim is None else truncate_dim

    @property
    def service(self) -> EmbeddingService:
        """The service that computes the vectors, before they are cut."""
        return self._service

    @property
    def device(self) -> str:
        """What computes, by PyTorch's names: "cpu", "cuda" or "mps"."""
        return _DEVICES[self._service.backend]

    @property
    def max_seq_length(self) -> int:
        """The largest number of tokens of a text; longer ones are cut. It may be set, up to the model's own limit.

        Raises:
            ConfigurationError: It is set to more than that.
            InputError: It is set to None.
        """
        return self._service.settings.max_tokens

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        if value is None:
            raise InputError(field="max_seq_length", reason="is None; a number of tokens is expected.")
        try:
            self._service = EmbeddingService(config=self._service.config.with_values(max_tokens=value))
        except ConfigurationError as error:
            raise error.changed(field="max_seq_length") from None

    def get_max_seq_length(self) -> int:
        """``max_seq_length``."""
        return self.max_seq_length

    @property
    def truncate_dim(self) -> int | None:
        """The length to which vectors are cut; None if they are not. It may be set.

        Raises:
            ConfigurationError: It is set to a length that the model was not trained for.
        """
        return self._truncate_dim

    @truncate_dim.setter
    def truncate_dim(self, value: int | None) -> None:
        self._truncate_dim = self._checked_length(value)

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """In this context, vectors are cut to another length; None: they are not."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self._truncate_dim = before

    def get_embedding_dimension(self) -> int:
        """The length of vectors."""
        return self.truncate_dim or self._service.dimension

    def get_sentence_embedding_dimension(self) -> int:
        """``get_embedding_dimension``, by its name before sentence-transformers 6."""
        return self.get_embedding_dimension()

    @property
    def similarity_fn_name(self) -> str:
        """ "cosine", "dot", "euclidean" or "manhattan": what ``similarity`` computes. It may be set.

        Raises:
            ConfigurationError: It is set to another.
        """
        return self._similarity_fn_name

    @similarity_fn_name.setter
    def similarity_fn_name(self, value: Any) -> None:
        name = "cosine" if value is None else getattr(value, "value", value)
        if name not in ALL_PAIRS:
            raise ConfigurationError(
                field="similarity_fn_name", reason=f"is {name!r}; it must be one of {', '.join(ALL_PAIRS)}."
            )
        self._similarity_fn_name: str = name

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Similarities of all pairs of vectors, by ``similarity_fn_name``.

        Args:
            embeddings1: ``[n, d]`` or ``[d]``: an array, a tensor on the CPU, or a list of them.
            embeddings2: As ``embeddings1``, ``[m, d]`` or ``[d]``.

        Returns:
            float32 ``[n, m]``: an array, or a tensor if tensors were given.
        """
        return compare(ALL_PAIRS, self._similarity_fn_name, embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Similarities of vectors with their partners, float32 ``[n]``; of two single vectors, a number."""
        return compare(BY_ROWS, self._similarity_fn_name, embeddings1, embeddings2)

    def to(self, device: object) -> Self:
        """This object: the device is that of the process.

        Raises:
            InputError: It is no device, but a dtype, say.
        """
        if not (isinstance(device, str | int) or type(device).__name__ == "device"):
            raise InputError(field="device", reason=f"is {device!r}; only a device is accepted, and has no effect.")
        return self

    def eval(self) -> Self:
        """This object: nothing is trained here."""
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._service.config.model_name!r}, {self.get_embedding_dimension()})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_service": self._service.config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _service=EmbeddingService(config=state["_service"]))

    def _checked_length(self, value: int | None) -> int | None:
        """The length, if the model was trained for it; None stays None."""
        if value is not None:
            try:
                self._service.with_options(dimensions=value).close()
            except ConfigurationError as error:
                raise error.changed(field="truncate_dim") from None
        return value


def _as_trained(config: EmbeddingConfig) -> EmbeddingConfig:
    """The configuration with what the model's modules do: whole vectors, normalized or not, and the model's limit."""
    checkpoint = read_configured(config)
    if DENSE not in checkpoint.outputs:
        made = checkpoint.outputs[0]
        raise ConfigurationError(
            field="model_name",
            reason=f"is {config.model_name!r}, which makes no dense vectors but {made!r}: sentence-transformers has "
            f"another class for it. Use EmbeddingService(...).encode(texts, output={made!r}).",
        )
    limit = checkpoint.max_tokens if config.max_tokens is None else config.max_tokens
    return config.with_values(normalize=checkpoint.normalize, dimensions=checkpoint.dimension, max_tokens=limit)


def _similarity_of(described: Mapping[str, Any]) -> str | None:
    """The model's own similarity; None if it is of several vectors per text, or is not said."""
    name = described.get("similarity_fn_name")
    return name if isinstance(name, str) and name in ALL_PAIRS else None
