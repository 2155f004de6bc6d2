"""Text to token ids, with the model's special tokens. A tokenizer is immutable, so any thread may use it."""

import logging
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.sparse import TokenWeights
from akidb_embeddings.checkpoint.token_vectors import Expansion
from akidb_embeddings.checkpoint.tokenizer_checks import PROBES, encode_texts, probe
from akidb_embeddings.errors import CheckpointError, ConfigurationError, InputError
from akidb_embeddings.registry.architectures import MODEL2VEC
from akidb_embeddings.tokenization.final_token import appended_post_processor, ends_texts, post_processor
from akidb_embeddings.tokenization.long_texts import LongTexts
from akidb_embeddings.tokenization.static_tokenizer import Model2VecTexts, read_static_tokenizer
from akidb_embeddings.tokenization.tokenizer_file import (
    add_markers,
    lowercase,
    named_ids,
    read_tokenizer,
    truncation_side,
)
from akidb_embeddings.tokenization.tokenizer_versions import ambiguities

_log = logging.getLogger(__name__)

# Those that BGE-M3's authors leave out.
_WEIGHTLESS = ("cls_token", "eos_token", "pad_token", "unk_token")
_LARGEST_ID = 2**31 - 1  # of int32, which the ids of texts and of sparse vectors are


@dataclass(frozen=True)
class Tokenized:
    """Tokenized texts, or pairs.

    Attributes:
        ids: The token ids of each text, int32 [L], after truncation.
        counts: The number of tokens of each text, before truncation; of a text far beyond the limit, at least so many.
        exact: Whether each text's count is exact.
        first_parts: The number of tokens of each pair's first part, whose type is 0; None without token types.
        owners: The index of the text that each entry is a passage of, in ascending order; None if each is a text.
        attended: The number of tokens of each text that others attend to, the first ones; None for all.
    """

    ids: list[NDArray[np.int32]]
    counts: list[int]
    exact: list[bool]
    first_parts: list[int] | None = None
    owners: list[int] | None = None
    attended: list[int] | None = None

    @property
    def truncated(self) -> list[bool]:
        """Whether each text was truncated."""
        return [count > len(ids) for ids, count in zip(self.ids, self.counts, strict=True)]

    def owner(self, entry: int) -> int:
        """The index of the text that an entry belongs to."""
        return entry if self.owners is None else self.owners[entry]


class Tokenizer:
    """A checkpoint's tokenizer.

    Args:
        checkpoint: The checkpoint.
        max_tokens: The length to which texts are truncated, in tokens, special tokens included.

    Attributes:
        truncation_side: The side from which texts are truncated: "right" or "left".
        appended: The token that ends every text although the folder's tokenizer appends none; None for none.
        weightless: The special tokens that have no weight where each token of a text has one.
        skipped: The tokens without a vector where each token of a text has one.

    Raises:
        CheckpointError: tokenizer.json cannot be read, or lacks special tokens.
        ConfigurationError: ``max_tokens`` leaves no room besides the special tokens.
    """

    def __init__(self, checkpoint: Checkpoint, max_tokens: int) -> None:
        folder = checkpoint.folder
        file = (folder.encoder if checkpoint.architecture.is_static else folder.tokenizer) / "tokenizer.json"
        tokenizer, direction, self.ambiguities = open_tokenizer(checkpoint)
        if checkpoint.late is not None:
            add_markers(tokenizer, checkpoint.late.markers)
        self._ends_texts = ends_texts(tokenizer)
        self.appended = None if self._ends_texts else checkpoint.final_token
        if self.appended is not None:
            tokenizer.post_processor = post_processor(appended_post_processor(tokenizer, self.appended))
        architecture = checkpoint.architecture
        self._special_tokens = tokenizer.num_special_tokens_to_add(is_pair=False)
        if self._special_tokens < architecture.special_tokens:
            raise CheckpointError(
                f"{file} adds {self._special_tokens} special tokens (post_processor); "
                f"{checkpoint.config['model_type']} requires {architecture.special_tokens}."
            )
        if max_tokens <= self._special_tokens:
            raise ConfigurationError(
                field="max_tokens", reason=f"is {max_tokens}; special tokens alone take {self._special_tokens}."
            )
        self._vocab_size = int(checkpoint.config["vocab_size"])
        unknown = [token for token in tokenizer.encode("").ids if token >= self._vocab_size]
        if unknown:
            name = tokenizer.id_to_token(unknown[0])
            named = f" ({name!r})" if name else ""
            raise CheckpointError(
                f"The tokenizer of {checkpoint.path} adds the token {unknown[0]}{named} to every text; the model has "
                f"embeddings for {self._vocab_size}."
            )
        tokenizer.enable_truncation(max_tokens, direction=direction)
        self._tokenizer = tokenizer
        self.truncation_side = direction
        is_model2vec = checkpoint.config["model_type"] == MODEL2VEC
        self._long_texts: LongTexts | Model2VecTexts = (
            Model2VecTexts(tokenizer) if is_model2vec else LongTexts(tokenizer, self._special_tokens)
        )
        self._checkpoint = checkpoint
        weighs = isinstance(checkpoint.sparse, TokenWeights)
        self.weightless = named_ids(tokenizer, checkpoint.folder, _WEIGHTLESS) if weighs else ()
        skipped = () if checkpoint.late is None else checkpoint.late.skipped
        self.skipped = tuple(token for token in map(tokenizer.token_to_id, skipped) if token is not None)
        if not architecture.is_static:  # which may know no word of the probes
            self._probe(file)

    def log(self) -> None:
        """Warn where transformers 4 and 5 read the folder differently, and say what is known of its final token."""
        path, token = self._checkpoint.path, self._checkpoint.architecture.final_token
        warn_about_ambiguities(path, self.ambiguities)
        if token is None or self._checkpoint.pooling != "last" or self._ends_texts:
            return
        if self._checkpoint.final_token is None:
            _log.warning(
                "The tokenizer of %s ends no text with a token, unlike those of other models for last-token pooling "
                "(%s). Its sentence-transformers files are complete, so vectors are computed as they say.",
                *(path, token),
            )
        else:
            _log.info("The tokenizer of %s ends no text with a token; %s is appended.", path, token)

    def encode(
        self, texts: list[str], prompt: str = "", first_index: int = 0, *, exact_counts: bool = False
    ) -> Tokenized:
        """Tokenize texts.

        Args:
            texts: The texts.
            prompt: The prompt before each text.
            first_index: The index of the first text in error messages.
            exact_counts: Whether texts far beyond the limit are tokenized whole, to count their tokens.

        Raises:
            InputError: A text cannot be tokenized.
        """
        check_unicode(texts, prompt, first_index)
        whole = [prompt + text for text in texts] if prompt else texts
        if exact_counts:
            results = [(encoding, True) for encoding in self._encode(whole, first_index)]
        else:
            results = self._long_texts.encode(whole, self._encode, first_index)
        ids = [np.array(self._long_texts.kept(encoding), dtype=np.uint32) for encoding, _ in results]
        for index, row in enumerate(ids):
            if not row.size:
                raise InputError(
                    field="texts", index=first_index + index, reason=f"is {texts[index]!r}, which gives no tokens."
                )
            if row.max() >= self._vocab_size:  # MLX would read beyond the embedding table without an error
                raise InputError(
                    field="texts",
                    index=first_index + index,
                    reason=f"has token {row.max()}; this model has embeddings for {self._vocab_size}.",
                )
        counts = [self._long_texts.count(encoding, exact) for encoding, exact in results]
        return Tokenized([row.astype(np.int32) for row in ids], counts, [exact for _, exact in results])

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The start and end of each token in ``text``, without prompt, special tokens and truncation.

        Returns:
            Sorted offsets in characters. They may skip white space. Tokens that share a character all include it.

        Raises:
            InputError: The text is not valid Unicode.
        """
        check_unicode([text], "", 0)
        [encoding] = encode_texts(self._tokenizer, [text], special_tokens=False, offsets=True)
        return sorted(offset for part in (encoding, *encoding.overflowing) for offset in part.offsets)

    def expanded(self, tokens: Tokenized, expansion: Expansion) -> Tokenized:
        """Queries with the tokens that short ones get after their own.

        Raises:
            CheckpointError: The tokenizer has no such token.
        """
        fill = self._expansion_token(expansion)
        rows = []
        for row in tokens.ids:
            missing = max(0, expansion.length - row.size)
            rows.append(np.concatenate((row, np.full(missing, fill, dtype=np.int32))))
        attended = None if expansion.attend else [row.size for row in tokens.ids]
        return replace(tokens, ids=rows, attended=attended)

    def _expansion_token(self, expansion: Expansion) -> int:
        if expansion.token is not None:
            found = [self._tokenizer.token_to_id(expansion.token)]
        else:
            folder = self._checkpoint.folder
            found = [one for key in ("mask_token", "eos_token") for one in named_ids(self._tokenizer, folder, [key])]
        if not found or found[0] is None or found[0] >= self._vocab_size:
            raise CheckpointError(f"The tokenizer of {self._checkpoint.path} lacks the token by which queries grow.")
        return found[0]

    def strings(self, ids: Iterable[int]) -> list[str]:
        """The tokens with these ids, as the vocabulary has them; "" for an id that it lacks.

        Raises:
            InputError: An item can be no id: it is no integer, is negative, or is beyond int32. ``index`` says which.
        """
        return [self._tokenizer.id_to_token(self._id(token, index)) or "" for index, token in enumerate(ids)]

    def _id(self, token: int, index: int) -> int:
        try:
            number = operator.index(token)
        except TypeError:
            reason = f"is of type {type(token).__name__}; an id is an integer."
            raise InputError(field="indices", index=index, reason=reason) from None
        if 0 <= number <= _LARGEST_ID:
            return number
        reason = f"is {number}; ids are 0 to {_LARGEST_ID}, of which the vocabulary has {self._vocab_size}."
        raise InputError(field="indices", index=index, reason=reason)

    def _encode(self, texts: list[str], first_index: int) -> list[Encoding]:
        return encode_texts(self._tokenizer, texts, first_index)

    def _probe(self, file: Path) -> None:
        """Tokenize some texts as those of a caller."""
        try:
            self.encode(list(PROBES))
        except InputError as error:
            raise CheckpointError(f"{file} is not this model's: {error}") from error


def open_tokenizer(checkpoint: BaseCheckpoint) -> tuple[FastTokenizer, str, list[str]]:
    """A checkpoint's tokenizer without padding and truncation, the side that it truncates, and its ambiguities.

    Raises:
        CheckpointError: tokenizer.json cannot be read or used.
    """
    if checkpoint.architecture.is_static:
        return (*read_static_tokenizer(checkpoint), [])
    tokenizer = read_tokenizer(checkpoint.folder)
    direction = truncation_side(tokenizer, checkpoint.folder.tokenizer_config)
    tokenizer.no_padding()  # not needed here, and it would change the encodings below
    tokenizer.no_truncation()
    probe(tokenizer, checkpoint.folder.tokenizer / "tokenizer.json")
    found = ambiguities(tokenizer, checkpoint.folder)
    if checkpoint.folder.transformer.do_lower_case:
        lowercase(tokenizer)
    return tokenizer, direction, found


def warn_about_ambiguities(path: Path, found: Iterable[str]) -> None:
    """Warn where transformers 4 and 5 read the folder differently."""
    for ambiguity in found:
        _log.warning("The tokenizer of %s is ambiguous. %s. See docs/models.md.", path, ambiguity)


def check_unicode(texts: Sequence[str], prompt: str, first_index: int, field: str = "texts") -> None:
    """Raise InputError for the first text that is not valid Unicode."""
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise InputError(field="prompt", reason=f"is {prompt!r}, with a lone surrogate, which is not valid Unicode.")
    for index, text in enumerate(texts):
        if text.isascii():
            continue
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                field=field,
                index=first_index + index,
                reason=f"has a lone surrogate at character {error.start}, which is not valid Unicode; repair it with "
                "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace').",
            ) from None
