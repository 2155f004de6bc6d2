"""Text to token ids, with the model's special tokens. A tokenizer is immutable, so any thread may use it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.normalizers import BertNormalizer, Lowercase, Sequence
from tokenizers.processors import PostProcessor, TemplateProcessing
from tokenizers.processors import Sequence as PostProcessors

from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.errors import CheckpointError, ConfigurationError, InputError

_BERT_TOKENIZERS = ("BertTokenizer", "MPNetTokenizer")


@dataclass(frozen=True)
class Tokenized:
    """Tokenized texts.

    Attributes:
        ids: The token ids of each text, int32 [L], after truncation.
        counts: The number of tokens of each text, before truncation.
    """

    ids: list[NDArray[np.int32]]
    counts: list[int]

    @property
    def truncated(self) -> list[bool]:
        """Whether each text was truncated."""
        return [count > len(ids) for ids, count in zip(self.ids, self.counts, strict=True)]


class Tokenizer:
    """A checkpoint's tokenizer.

    Args:
        checkpoint: The checkpoint.
        max_tokens: The length to which texts are truncated, in tokens, special tokens included.

    Raises:
        CheckpointError: tokenizer.json cannot be read, or lacks special tokens.
        ConfigurationError: ``max_tokens`` leaves no room besides the special tokens.
    """

    def __init__(self, checkpoint: Checkpoint, max_tokens: int) -> None:
        file = checkpoint.path / "tokenizer.json"
        try:
            tokenizer = FastTokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"{file} cannot be read: {error}. Download or copy the model again.") from error
        direction = _truncation_side(tokenizer, checkpoint.folder.tokenizer_config)
        tokenizer.no_padding()  # not needed here, and it would change the encodings below
        tokenizer.no_truncation()
        _apply_bert_settings(tokenizer, checkpoint.folder.tokenizer_config)
        if checkpoint.lowercase:
            _lowercase(tokenizer)
        architecture = checkpoint.architecture
        if architecture.final_token is not None and checkpoint.pooling == "last":
            _append_token(tokenizer, architecture.final_token, file)
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
        tokenizer.enable_truncation(max_tokens, direction=direction)
        self._tokenizer = tokenizer

    def encode(self, texts: list[str], prompt: str = "", first_index: int = 0) -> Tokenized:
        """Tokenize texts.

        Args:
            texts: The texts.
            prompt: The prompt before each text.
            first_index: The index of the first text in error messages.

        Raises:
            InputError: A text cannot be tokenized.
        """
        try:
            encodings = self._tokenizer.encode_batch_fast([prompt + text for text in texts] if prompt else texts)
        except (TypeError, UnicodeEncodeError):
            raise _unicode_error(texts, prompt, first_index) from None
        ids = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
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
        return Tokenized(ids, [self._count(encoding) for encoding in encodings])

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The start and end of each token in ``text``, without prompt, special tokens and truncation.

        Returns:
            Sorted offsets in characters. They may skip white space. Tokens that share a character all include it.

        Raises:
            InputError: The text is not valid Unicode.
        """
        try:
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):
            raise _unicode_error([text], "", 0) from None
        return sorted(offset for part in (encoding, *encoding.overflowing) for offset in part.offsets)

    def _count(self, encoding: Encoding) -> int:
        return len(encoding.ids) + sum(len(rest.ids) - self._special_tokens for rest in encoding.overflowing)


def _truncation_side(tokenizer: FastTokenizer, settings: Mapping[str, Any]) -> str:
    """The side from which texts are truncated, from tokenizer_config.json, else tokenizer.json, else "right"."""
    own = (tokenizer.truncation or {}).get("direction", "right")
    return str(settings.get("truncation_side") or own).lower()


def _apply_bert_settings(tokenizer: FastTokenizer, settings: Mapping[str, Any]) -> None:
    """Apply tokenizer_config.json's settings of case, accents and Chinese to BERT's tokenizers, as transformers does.

    Missing settings get transformers' defaults, even if tokenizer.json differs.
    """
    if str(settings.get("tokenizer_class")).removesuffix("Fast") in _BERT_TOKENIZERS:
        tokenizer.normalizer = BertNormalizer(
            clean_text=True,
            handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
            strip_accents=settings.get("strip_accents"),
            lowercase=settings.get("do_lower_case", True),
        )


def _lowercase(tokenizer: FastTokenizer) -> None:
    normalizer = tokenizer.normalizer
    tokenizer.normalizer = Lowercase() if normalizer is None else Sequence([Lowercase(), normalizer])


def _append_token(tokenizer: FastTokenizer, token: str, file: Path) -> None:
    """Append ``token`` to every text, unless the tokenizer appends a token.

    Older conversions lack the post-processor for the final token, which last-token pooling needs. Appended by a
    post-processor, it is also counted in truncation.
    """
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    if tokenizer.encode("a").ids[-1:] != plain[-1:]:
        return
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise CheckpointError(f"{file} lacks the token {token!r}, which must end this model's texts.")
    ending = TemplateProcessing(single=f"$A {token}", special_tokens=[(token, token_id)])
    existing: PostProcessor | None = tokenizer.post_processor
    tokenizer.post_processor = ending if existing is None else PostProcessors([existing, ending])


def _unicode_error(texts: list[str], prompt: str, first_index: int) -> InputError:
    """The error for the first text that is not valid Unicode."""
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        return InputError(field="prompt", reason=f"is {prompt!r}, with a lone surrogate, which is not valid Unicode.")
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return InputError(
                field="texts",
                index=first_index + index,
                reason=f"has a lone surrogate at character {error.start}, which is not valid Unicode; repair it with "
                "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace').",
            )
    return InputError("A text could not be tokenized.")
