"""One call's texts to vectors."""

from typing import Any

import numpy as np

from akidb_embeddings.checkpoint.tokenizer import Tokenized
from akidb_embeddings.errors import ZeroVectorError
from akidb_embeddings.service.job import Job
from akidb_embeddings.service.resources import Resources
from akidb_embeddings.vectors.finish import Vectors, finish, zero_rows
from akidb_embeddings.vectors.precision import Quantized, quantize


class VectorsJob(Job):
    """Texts with one prompt, to be ``run`` once.

    Attributes:
        prompt: The prompt before each text.
        precision: The precision of the vectors.
        vectors: ``[n, dimension]`` in that precision; complete after ``run``.
    """

    def __init__(
        self, resources: Resources, texts: list[str], prompt: str, *, precision: str = "float32", **options: Any
    ) -> None:
        """``options`` are the keyword arguments of ``Job``."""
        settings = resources.settings
        super().__init__(resources.config, resources.engine, len(texts), settings.max_tokens, **options)
        self._resources, self._texts, self._pooling = resources, texts, settings.pooling
        self.prompt, self._prefix = prompt, len(prompt)
        # Also raises at once if the precision is unknown.
        empty = quantize(np.empty((0, settings.dimensions), dtype=np.float32), precision)
        self.precision = precision
        self.vectors: Quantized = np.empty((len(texts), empty.shape[1]), dtype=empty.dtype)

    def _length(self, index: int) -> int:
        return len(self._texts[index])

    def _encode(self, begin: int, end: int) -> Tokenized:
        return self._resources.tokenizer.encode(self._texts[begin:end], self.prompt, self._first + begin)

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
