"""``Embedder`` for Ray Data's ``map_batches``."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.distributed.cluster import check_fingerprint, keep_to_assigned_cpus
from akidb_embeddings.errors import ConfigurationError, InputError
from akidb_embeddings.service.result import EmbeddingResult
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.precision import Quantized

if TYPE_CHECKING:
    import pyarrow as pa

_OTHER_COLUMNS = ("token_count", "truncated")  # that a batch gets, besides the vectors


class Embedder:
    """A callable class for ``ray.data.Dataset.map_batches``, which makes one instance in each actor.

    ::

        dataset.map_batches(
            Embedder,
            fn_constructor_kwargs={"model_name": "minilm-l6-v2", "text_column": "body", "prompt_name": "document"},
            batch_format="pyarrow", batch_size=512, num_cpus=1, compute=ray.data.ActorPoolStrategy(size=7),
        )

    Leave one CPU of the cluster free: if actors hold all CPUs, nothing can be read, and the dataset waits forever.

    A batch keeps its columns and the order of its rows, and gets three new columns: the vectors, ``token_count`` (the
    model's tokens, prompt included) and ``truncated``. With ``batch_format="pyarrow"`` the vectors are a fixed-size
    list, with ``"numpy"`` an array ``[n, dimension]``; neither is copied. Datasets keep the order of their batches only
    with ``ray.data.DataContext.get_current().execution_options.preserve_order = True``.
    """

    def __init__(
        self,
        model_name: str | None = None,
        *,
        text_column: str = "text",
        vector_column: str = "vector",
        prompt_name: str | None = None,
        prompt: str | None = None,
        task: str | None = None,
        precision: str = "float32",
        fingerprint: str | None = None,
        config: EmbeddingConfig | None = None,
        **overrides: Any,
    ) -> None:
        """Load the model.

        Args:
            model_name: As in ``EmbeddingService``; a folder must exist on every node.
            text_column: Column of the texts.
            vector_column: New column of the vectors, not one of the other two.
            prompt_name: Name of the model's prompt to put before each text; this and the next two as in ``encode``.
            prompt: A prompt of your own instead.
            task: An instruction instead.
            precision: The precision of the vectors, as in ``encode``.
            fingerprint: The expected ``EmbeddingService.fingerprint``, usually that of the index to be searched; None
                for any.
            config: A complete configuration; None for the defaults. No file is read.
            **overrides: Fields of ``EmbeddingConfig`` that override the configuration.

        Raises:
            ConfigurationError: ``vector_column`` is one of the other new columns, or this node's model has another
                fingerprint; or as in ``EmbeddingService``.
        """
        if vector_column in _OTHER_COLUMNS:
            raise ConfigurationError(
                field="vector_column",
                reason=f"is {vector_column!r}, but {' and '.join(_OTHER_COLUMNS)} are the names of other new columns; "
                "give another name.",
            )
        keep_to_assigned_cpus()
        if model_name is not None:
            overrides["model_name"] = model_name
        self._text, self._vector, self._precision = text_column, vector_column, precision
        self._service = EmbeddingService(config=EmbeddingConfig.resolve(config or EmbeddingConfig(), **overrides))
        self._prompt = self._service.resolve_prompt(prompt_name=prompt_name, prompt=prompt, task=task)
        check_fingerprint(self._service.fingerprint(self._prompt, precision=precision), fingerprint)

    def __call__(self, batch: "pa.Table | dict[str, Any]") -> "pa.Table | dict[str, Any]":
        """Embed a batch.

        Args:
            batch: A table, or arrays by column.

        Returns:
            The batch with three more columns.

        Raises:
            InputError: The column of the texts is missing, or a new column exists already; or a text is not a string,
                or is too long with ``truncate: error``. Indices count from the batch's first row.
        """
        if isinstance(batch, dict):
            result = self._encode(list(batch), lambda: np.asarray(batch[self._text]).tolist())
            return {
                **batch,
                self._vector: result.vectors,
                "token_count": np.array(result.token_counts, dtype=np.int32),
                "truncated": np.array(result.truncated, dtype=bool),
            }
        if not hasattr(batch, "column_names"):
            raise InputError(f"The batch is a {type(batch).__name__}; batch_format must be 'pyarrow' or 'numpy'.")
        result = self._encode(batch.column_names, lambda: batch.column(self._text).to_pylist())
        return _with_results(batch, self._vector, result)

    def _encode(self, columns: list[str], texts: Callable[[], list[str]]) -> EmbeddingResult:
        if self._text not in columns:
            raise InputError(
                field="text_column", reason=f"is {self._text!r}; the batch has {', '.join(map(repr, columns))}."
            )
        for name in (self._vector, *_OTHER_COLUMNS):
            if name in columns:
                raise InputError(f"The batch already has a column {name!r}; rename or drop it first.")
        return self._service.encode(texts(), prompt=self._prompt, precision=self._precision, wait=True)


def _with_results(table: "pa.Table", name: str, result: EmbeddingResult) -> "pa.Table":
    import pyarrow as pa

    table = table.append_column(name, fixed_size_lists(result.vectors))
    table = table.append_column("token_count", pa.array(result.token_counts, type=pa.int32()))
    return table.append_column("truncated", pa.array(result.truncated, type=pa.bool_()))


def fixed_size_lists(vectors: Quantized) -> "pa.FixedSizeListArray":
    """Wrap vectors ``[n, d]`` as an Arrow array of fixed-size lists, without a copy.

    Args:
        vectors: ``[n, d]``, of any precision.

    Returns:
        ``n`` lists of ``d`` values.
    """
    import pyarrow as pa

    values = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])
