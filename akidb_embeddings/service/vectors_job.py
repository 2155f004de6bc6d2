"""One call's texts to vectors."""

from typing import Any

import numpy as np

from akidb_embeddings.errors import ZeroVectorError
from akidb_embeddings.registry.outputs import DENSE
from akidb_embeddings.service.resources import Resources
from akidb_embeddings.service.result import EmbeddingResult
from akidb_embeddings.service.texts_job import TextsJob
from akidb_embeddings.tokenization.tokenizer import Tokenized
from akidb_embeddings.vectors.finish import Vectors, finish, zero_rows
from akidb_embeddings.vectors.precision import Quantized, quantize


class VectorsJob(TextsJob):
    """Texts with one prompt, to be ``run`` once.

    Attributes:
        vectors: ``[n, dimension]`` in the precision; complete after ``run``.
    """

    output = DENSE

    def __init__(
        self, resources: Resources, texts: list[str], prompt: str, *, precision: str = "float32", **options: Any
    ) -> None:
        """``options`` are the keyword arguments of ``Job``."""
        settings = resources.settings
        super().__init__(resources, texts, prompt, settings.pooling, **options)
        # Also raises at once if the precision is unknown.
        empty = quantize(np.empty((0, settings.dimensions), dtype=np.float32), precision)
        self.precision = precision
        self.vectors: Quantized = np.empty((len(texts), empty.shape[1]), dtype=empty.dtype)

    def result(self, fingerprint: str) -> EmbeddingResult:
        """See ``TextsJob``."""
        return EmbeddingResult(self.vectors, self.token_counts, self.truncated, fingerprint, self.timings)

    def _keep(self, begin: int, tokens: Tokenized, rows: Vectors) -> None:
        settings = self._resources.settings
        # A model whose vectors are integers defines its own int8.
        own_integers = settings.integers and self.precision == "int8"
        normalize = settings.normalize and not own_integers
        finished = finish(rows, settings.dimensions, normalize, settings.layer_norm)
        if zeros := zero_rows(finished):
            raise ZeroVectorError(self._first + begin + zeros[0], len(tokens.ids[zeros[0]]))
        precision = "float32" if own_integers else self.precision
        if settings.integers and precision in ("binary", "ubinary"):
            # The bits are the signs before rounding, which a zero has kept.
            finished = np.where(np.signbit(finished), np.float32(-1), np.float32(1))
        self.vectors[begin : begin + len(rows)] = quantize(finished, precision, first_index=self._first + begin)
