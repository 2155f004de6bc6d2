"""One call's texts to a vector of each token."""

from typing import Any

import numpy as np

from akidb_embeddings.checkpoint.token_vectors import QUERY
from akidb_embeddings.errors import ZeroVectorError
from akidb_embeddings.registry.outputs import TOKENS
from akidb_embeddings.service.resources import Resources
from akidb_embeddings.service.result import TokensResult
from akidb_embeddings.service.texts_job import TextsJob
from akidb_embeddings.tokenization.tokenizer import Tokenized
from akidb_embeddings.vectors.finish import Vectors, finish, zero_rows
from akidb_embeddings.vectors.ragged import Rows


class TokensJob(TextsJob):
    """Queries or documents with one prompt, to be ``run`` once.

    Attributes:
        vectors: float32 ``[tokens, dimension]`` of each text; complete after ``run``.
    """

    output = TOKENS

    def __init__(self, resources: Resources, texts: list[str], prompt: str, *, role: str, **options: Any) -> None:
        """``role`` is "query" or "document"; ``options`` are the keyword arguments of ``Job``."""
        late = resources.checkpoint.late
        assert late is not None  # the output has been checked
        super().__init__(resources, texts, prompt, limit=resources.settings.token_limit(role), **options)
        self.role = role
        self._tokenizer, self._expansion = resources.tokenizer, None
        if role == QUERY and resources.query_tokenizer is not None:
            self._tokenizer, self._expansion = resources.query_tokenizer, late.expansion
        self._skipped = np.array(self._tokenizer.skipped if role in late.skipped_in else (), dtype=np.int32)
        self._normalize = late.normalize
        self.vectors: list[Vectors] = []

    def result(self, fingerprint: str) -> TokensResult:
        """See ``TextsJob``."""
        return TokensResult(self.vectors, self.token_counts, self.truncated, fingerprint, self.timings)

    def _encode(self, begin: int, end: int) -> Tokenized:
        tokens = self._tokenizer.encode(self._texts[begin:end], self.prompt, self._first + begin)
        return tokens if self._expansion is None else self._tokenizer.expanded(tokens, self._expansion)

    def _keep(self, begin: int, tokens: Tokenized, rows: Rows) -> None:
        for index, (row, ids) in enumerate(zip(rows, tokens.ids, strict=True)):
            kept = finish(row[~np.isin(ids, self._skipped)], None, self._normalize)
            if zero_rows(kept):
                raise ZeroVectorError(self._first + begin + index, len(ids))
            self.vectors.append(kept)
