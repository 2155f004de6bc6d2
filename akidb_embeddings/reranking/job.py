"""One call's pairs to logits."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from akidb_embeddings.reranking.resources import SCORES, RerankResources
from akidb_embeddings.reranking.result import Scores
from akidb_embeddings.service.job import Job
from akidb_embeddings.tokenization.tokenizer import Tokenized


class ScoresJob(Job):
    """Pairs with one prompt, to be ``run`` once.

    Attributes:
        prompt: The text before each query, or the instruction.
        logits: float32 ``[n, labels]``; complete after ``run``.
    """

    _field = "pairs"
    _beside = "query"
    _too_long = "Shorten it, set {truncate} to 'end' or {max_over_passages} to True, or configure a higher limit."
    _pooling = SCORES

    def __init__(
        self, resources: RerankResources, queries: Sequence[str], documents: Sequence[str], prompt: str, **options: Any
    ) -> None:
        """``options`` are the keyword arguments of ``Job``."""
        super().__init__(resources.config, resources.engine, len(documents), resources.max_tokens, **options)
        self._tokenizer, self._queries, self._documents = resources.tokenizer, queries, documents
        self.prompt, self._prefix = prompt, len(prompt)
        self.logits: Scores = np.empty((len(documents), len(resources.checkpoint.labels)), dtype=np.float32)

    def settle(self) -> None:
        """Give equal pairs the logits of the first one, once all are there.

        Which row of a micro-batch a pair is in decides the last bits, and so would decide which of two equal documents
        comes first.
        """
        firsts: dict[tuple[str, str], int] = {}
        pairs = zip(self._queries, self._documents, strict=True)
        self.logits = self.logits[[firsts.setdefault(pair, index) for index, pair in enumerate(pairs)]]

    def _length(self, index: int) -> int:
        return len(self._queries[index]) + len(self._documents[index])

    def _encode(self, begin: int, end: int) -> Tokenized:
        queries, documents = self._queries[begin:end], self._documents[begin:end]
        return self._tokenizer.encode(queries, documents, self.prompt, self._first + begin)

    def _keep(self, begin: int, tokens: Tokenized, rows: Scores) -> None:
        self.logits[begin : begin + len(rows)] = rows


class PassagesJob(ScoresJob):
    """Pairs whose long documents are divided into passages, of which the best counts."""

    def _encode(self, begin: int, end: int) -> Tokenized:
        queries, documents = self._queries[begin:end], self._documents[begin:end]
        return self._tokenizer.passages(queries, documents, self.prompt, self._first + begin)

    def _keep(self, begin: int, tokens: Tokenized, rows: Scores) -> None:
        starts = _starts(tokens)
        self.logits[begin : begin + len(starts)] = np.maximum.reduceat(rows, starts)

    def _count_tokens(self, tokens: Tokenized) -> None:
        """The tokens of all passages, and whether one of them was truncated."""
        starts = _starts(tokens)
        self.token_counts += np.add.reduceat([len(ids) for ids in tokens.ids], starts).tolist()
        self.truncated += np.logical_or.reduceat(tokens.truncated, starts).tolist()


def _starts(tokens: Tokenized) -> list[int]:
    """The first passage of each document."""
    owners = tokens.owners or []
    return [at for at, owner in enumerate(owners) if at == 0 or owner != owners[at - 1]]
