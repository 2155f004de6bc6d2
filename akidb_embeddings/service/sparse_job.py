"""One call's texts to sparse vectors."""

from typing import Any

import numpy as np

from akidb_embeddings.registry.outputs import SPARSE
from akidb_embeddings.service.resources import Resources
from akidb_embeddings.service.result import SparseResult
from akidb_embeddings.service.texts_job import TextsJob
from akidb_embeddings.tokenization.tokenizer import Tokenized
from akidb_embeddings.vectors.ragged import Rows
from akidb_embeddings.vectors.sparse import SparseVector


class SparseJob(TextsJob):
    """Texts with one prompt, to be ``run`` once.

    Attributes:
        vectors: One per text; complete after ``run``.
    """

    output = SPARSE

    def __init__(self, resources: Resources, texts: list[str], prompt: str, **options: Any) -> None:
        """``options`` are the keyword arguments of ``Job``."""
        super().__init__(resources, texts, prompt, **options)
        self._ignored = np.array(resources.tokenizer.weightless, dtype=np.int32)
        self.vectors: list[SparseVector] = []

    def result(self, fingerprint: str) -> SparseResult:
        """See ``TextsJob``."""
        return SparseResult(self.vectors, self.token_counts, self.truncated, fingerprint, self.timings)

    def _keep(self, begin: int, tokens: Tokenized, rows: Rows) -> None:
        for row in rows:
            indices, values = row["index"], row["value"]
            kept = ~np.isin(indices, self._ignored)
            self.vectors.append(SparseVector(indices[kept], values[kept]))
