"""Text to token ids, with the model's own special tokens. Any thread; settings are made once and never changed."""

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
    """Token ids of texts. ``counts[i]`` is the whole text's tokens, of which ``ids[i]`` keeps at most the limit."""

    ids: list[NDArray[np.int32]]
    counts: list[int]

    @property
    def truncated(self) -> list[bool]:
        """Which texts lost tokens."""
        return [count > len(ids) for ids, count in zip(self.ids, self.counts, strict=True)]


class Tokenizer:
    """A checkpoint's tokenizer, keeping ``max_tokens`` of each text, special tokens included."""

    def __init__(self, checkpoint: Checkpoint, max_tokens: int) -> None:
        file = checkpoint.path / "tokenizer.json"
        try:
            tokenizer = FastTokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"{file} cannot be read: {error}. Download or copy the model again.") from error
        direction = _truncation_side(tokenizer, checkpoint.folder.tokenizer_config)
        tokenizer.no_padding()  # what the file sets is for others; it would also disturb the looks taken below
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
                f"{checkpoint.config['model_type']} needs {architecture.special_tokens}."
            )
        if max_tokens <= self._special_tokens:
            raise ConfigurationError(
                field="max_tokens", reason=f"is {max_tokens}; special tokens alone take {self._special_tokens}."
            )
        self._vocab_size = int(checkpoint.config["vocab_size"])
        tokenizer.enable_truncation(max_tokens, direction=direction)
        self._tokenizer = tokenizer

    def encode(self, texts: list[str], prompt: str = "", first_index: int = 0) -> Tokenized:
        """Token ids of ``texts``, each after ``prompt``. InputError names a text that cannot be tokenized, counting
        from ``begin``."""
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
            if row.max() >= self._vocab_size:  # MLX would read past the embedding table without a word
                raise InputError(
                    field="texts",
                    index=first_index + index,
                    reason=f"has token {row.max()}; this model has embeddings for {self._vocab_size}.",
                )
        return Tokenized(ids, [self._count(encoding) for encoding in encodings])

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Begin and end of each token of ``text``, in characters of it, without prompt, special tokens and limit.

        They are sorted, and may leave out white space; tokens that share a character all have the whole of it.
        InputError: the text is no valid Unicode.
        """
        try:
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):
            raise _unicode_error([text], "", 0) from None
        return sorted(offset for part in (encoding, *encoding.overflowing) for offset in part.offsets)

    def _count(self, encoding: Encoding) -> int:
        return len(encoding.ids) + sum(len(rest.ids) - self._special_tokens for rest in encoding.overflowing)


def _truncation_side(tokenizer: FastTokenizer, settings: Mapping[str, Any]) -> str:
    """The side that long texts lose: tokenizer_config.json's word, else tokenizer.json's, else the right."""
    own = (tokenizer.truncation or {}).get("direction", "right")
    return str(settings.get("truncation_side") or own).lower()


def _apply_bert_settings(tokenizer: FastTokenizer, settings: Mapping[str, Any]) -> None:
    """Let tokenizer_config.json decide how BERT's tokenizer treats case, accents and Chinese, as transformers does.

    Where it is silent, transformers' defaults count, whatever tokenizer.json says.
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
    """Append ``token`` to every text where the tokenizer ends texts with nothing of its own.

    Older conversions lack the post-processor that does it, and the last token is the one that is pooled. Appended
    here, it is also counted in truncation.
    """
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    if tokenizer.encode("a").ids[-1:] != plain[-1:]:
        return
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise CheckpointError(f"{file} lacks the token {token!r} that this model's texts must end with.")
    ending = TemplateProcessing(single=f"$A {token}", special_tokens=[(token, token_id)])
    existing: PostProcessor | None = tokenizer.post_processor
    tokenizer.post_processor = ending if existing is None else PostProcessors([existing, ending])


def _unicode_error(texts: list[str], prompt: str, first_index: int) -> InputError:
    """Which text is not valid Unicode, and where."""
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
