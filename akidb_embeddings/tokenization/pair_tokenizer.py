"""Pairs of query and document to token ids, as transformers' tokenizers make them. Any thread may use it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from akidb_embeddings.checkpoint.frame import framed_pair
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint
from akidb_embeddings.checkpoint.tokenizer_checks import PROBES, encode_texts
from akidb_embeddings.errors import CheckpointError, ConfigurationError, InputError
from akidb_embeddings.tokenization.long_texts import LongTexts, count
from akidb_embeddings.tokenization.pair_template import frame_template, longest_first, pair_template, token_ids
from akidb_embeddings.tokenization.tokenizer import Tokenized, check_unicode, open_tokenizer, warn_about_ambiguities
from akidb_embeddings.tokenization.tokenizer_file import has_ambiguous_token_types

Ids = NDArray[np.int32]
# The part of a passage's tokens that are also those of the one before.
_OVERLAP = 8
_TYPES_IN_4 = "tokenizer_class: transformers 4 gives the model the token types of tokenizer.json, transformers 5 none"


class _Side(NamedTuple):
    """One side of a pair: its first tokens, or last ones; how many it has, or at least has; and which."""

    ids: Ids
    total: int
    exact: bool


class _Pair(NamedTuple):
    """A pair's tokens; how many of them have type 0; how many there are before truncation; whether that is exact."""

    ids: Ids
    first: int
    total: int
    exact: bool


class PairTokenizer:
    """A reranker's tokenizer.

    Args:
        checkpoint: The checkpoint.
        max_tokens: The length to which pairs are truncated, in tokens, special tokens included.

    Raises:
        CheckpointError: tokenizer.json cannot be read, or lacks special tokens.
        ConfigurationError: ``max_tokens`` leaves no room for the pair.
    """

    def __init__(self, checkpoint: RerankerCheckpoint, max_tokens: int) -> None:
        self._tokenizer, direction, self.ambiguities = open_tokenizer(checkpoint)
        self._from_left = direction == "left"
        self._framed = checkpoint.framed
        self._vocab_size = int(checkpoint.config["vocab_size"])
        self._path = checkpoint.path
        if self._has_doubtful_types(checkpoint):
            self.ambiguities.append(_TYPES_IN_4)
        self._template = (
            frame_template(self._encode) if self._framed else pair_template(checkpoint, self._tokenizer, self._encode)
        )
        if max_tokens <= self._template.size:
            raise ConfigurationError(
                field="max_tokens",
                reason=f"is {max_tokens}; the tokens around each pair alone take {self._template.size}.",
            )
        self._room = max_tokens - self._template.size
        self._tokenizer.enable_truncation(self._room, direction=direction)
        self._long_texts = LongTexts(self._tokenizer, 0)
        try:
            self.encode(list(PROBES), list(PROBES), checkpoint.default_prompt)
        except InputError as error:
            raise CheckpointError(f"{checkpoint.path / 'tokenizer.json'} is not this model's: {error}") from error

    @staticmethod
    def _has_doubtful_types(checkpoint: RerankerCheckpoint) -> bool:
        return checkpoint.architecture.has_token_types and has_ambiguous_token_types(checkpoint.folder)

    def log(self) -> None:
        """Warn where transformers 4 and 5 read the folder differently."""
        warn_about_ambiguities(self._path, self.ambiguities)

    @property
    def max_tokens(self) -> int:
        """The length to which pairs are truncated."""
        return self._room + self._template.size

    @property
    def truncation_side(self) -> str:
        """The side from which texts are truncated: "right" or "left"."""
        return "left" if self._from_left else "right"

    def encode(
        self, queries: Sequence[str], documents: Sequence[str], prompt: str = "", first_index: int = 0
    ) -> Tokenized:
        """Tokenize pairs.

        Args:
            queries: The queries, as many as documents.
            documents: The documents.
            prompt: The text before each query; in a frame, the instruction.
            first_index: The index of the first pair in error messages.

        Raises:
            InputError: A pair cannot be tokenized.
        """
        check_unicode(queries, prompt, first_index, "queries")
        check_unicode(documents, "", first_index, "documents")
        if self._framed:
            bodies = [framed_pair(prompt, query, text) for query, text in zip(queries, documents, strict=True)]
            pairs = [self._join([side]) for side in self._sides(bodies, first_index)]
        else:
            whole = [prompt + query for query in queries]
            firsts, seconds = (self._sides(texts, first_index) for texts in (whole, documents))
            pairs = [
                self._join(self._fit(first, second, query, document))
                for first, second, query, document in zip(firsts, seconds, whole, documents, strict=True)
            ]
        self._check(pairs, range(first_index, first_index + len(pairs)))
        return self._tokenized(pairs)

    def passages(
        self, queries: Sequence[str], documents: Sequence[str], prompt: str = "", first_index: int = 0
    ) -> Tokenized:
        """Tokenize pairs, and divide documents that do not fit into passages of tokens, each a pair with the query.

        A passage shares an eighth of its tokens with the one before, as with ``stride`` in transformers. A query is cut
        where it would take more than half of the room.

        Args:
            queries: The queries, as many as documents.
            documents: The documents.
            prompt: See ``encode``.
            first_index: The index of the first pair in error messages.

        Returns:
            The passages' tokens; ``owners`` counts pairs from 0.

        Raises:
            InputError: A pair cannot be tokenized.
        """
        check_unicode(queries, prompt, first_index, "queries")
        check_unicode(documents, "", first_index, "documents")
        pairs: list[_Pair] = []
        owners: list[int] = []
        heads: dict[str, Ids] = {}  # without a frame, the tokens of each query
        for index, (query, document) in enumerate(zip(queries, documents, strict=True)):
            place = first_index + index
            if self._framed:
                first, second = self._framed_sides(query, document, prompt, place)
            else:
                if query not in heads:
                    heads[query], _ = self._all_tokens(prompt + query, place)
                first, (second, _) = heads[query], self._all_tokens(document, place)
            found = list(self._passages(first, second))
            self._check(found, [place] * len(found))
            pairs += found
            owners += [index] * len(found)
        return replace(self._tokenized(pairs), owners=owners)

    def _framed_sides(self, query: str, document: str, prompt: str, index: int) -> tuple[Ids, Ids]:
        head = framed_pair(prompt, query, "")
        ids, starts = self._all_tokens(head + document, index)
        in_head = sum(start < len(head) for start in starts)
        return ids[:in_head], ids[in_head:]

    def _passages(self, first: Ids, second: Ids) -> Iterator[_Pair]:
        kept = self._cut(first, max(self._room // 2, self._room - second.size))
        room = self._room - kept.size
        step = max(1, room - room // _OVERLAP)
        for begin in range(0, max(1, second.size - (room - step)), step):
            part = second[begin : begin + room]
            # The query's missing tokens count, so that the pair is flagged.
            yield self._join([_Side(kept, first.size, exact=True), _Side(part, part.size, exact=True)])

    def _all_tokens(self, text: str, index: int) -> tuple[Ids, list[int]]:
        """All tokens of a text, and the character at which each begins."""
        try:
            [encoding] = encode_texts(self._tokenizer, [text], index, special_tokens=False, offsets=True)
        except InputError as error:
            raise error.changed(field="pairs") from None
        parts = [encoding, *encoding.overflowing]
        if self._from_left:  # then they are in reverse order
            parts.reverse()
        ids = [token for part in parts for token in part.ids]
        return token_ids(ids), [begin for part in parts for begin, _ in part.offsets]

    def _check(self, pairs: Sequence[_Pair], indices: Iterable[int]) -> None:
        for index, pair in zip(indices, pairs, strict=True):
            if not pair.ids.size:
                raise InputError(field="pairs", index=index, reason="has two empty texts, which give no tokens.")
            largest = int(pair.ids.view(np.uint32).max())
            if largest >= self._vocab_size:  # MLX would read beyond the embedding table without an error
                raise InputError(
                    field="pairs",
                    index=index,
                    reason=f"has token {largest}; this model has embeddings for {self._vocab_size}.",
                )

    def _tokenized(self, pairs: Sequence[_Pair]) -> Tokenized:
        firsts = None if self._template.first is None else [pair.first for pair in pairs]
        return Tokenized(
            [pair.ids for pair in pairs], [pair.total for pair in pairs], [pair.exact for pair in pairs], firsts
        )

    def _fit(self, first: _Side, second: _Side, query: str, document: str) -> list[_Side]:
        """Both sides, cut as ``longest_first`` does."""
        is_known = (first.exact and second.exact) or self._room % 2 == 0
        if not is_known and min(first.ids.size, second.ids.size) >= self._room:
            # Both are cut, and the longer one keeps one token more.
            first, second = self._whole(query), self._whole(document)
        kept = longest_first(first.total, second.total, self._room)
        return [side._replace(ids=self._cut(side.ids, size)) for side, size in zip((first, second), kept, strict=True)]

    def _join(self, sides: list[_Side]) -> _Pair:
        """One side in the frame, or two in the template."""
        before, between, after, of_first = self._template
        parts = [before, sides[0].ids, between, *(side.ids for side in sides[1:]), after]
        total = self._template.size + sum(side.total for side in sides)
        first = sides[0].ids.size + (of_first or 0)
        return _Pair(np.concatenate(parts), first, total, all(side.exact for side in sides))

    def _cut(self, ids: Ids, size: int) -> Ids:
        if ids.size <= size:
            return ids
        return ids[ids.size - size :] if self._from_left else ids[:size]

    def _sides(self, texts: Sequence[str], first_index: int) -> list[_Side]:
        """Each text's tokens, without special ones and at most as many as there is room for."""
        unique = list(dict.fromkeys(texts))
        try:
            found = self._long_texts.encode(unique, self._encode, 0)
        except InputError as error:
            place = None if error.index is None else first_index + texts.index(unique[error.index])
            raise error.changed(field="pairs", index=place) from None
        sides = {
            text: _Side(token_ids(encoding.ids), count(encoding, 0), exact)
            for text, (encoding, exact) in zip(unique, found, strict=True)
        }
        return [sides[text] for text in texts]

    def _whole(self, text: str) -> _Side:
        [encoding] = self._encode([text], 0)
        return _Side(token_ids(encoding.ids), count(encoding, 0), exact=True)

    def _encode(self, texts: list[str], first_index: int) -> list[Encoding]:
        return encode_texts(self._tokenizer, texts, first_index, special_tokens=False)
