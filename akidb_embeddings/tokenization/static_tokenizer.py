"""The tokenizer of a static model: tokenizer.json alone, without special tokens; and what model2vec does with texts."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.processors import TemplateProcessing

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.tokenizer_checks import load_tokenizer, probe
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import MODEL2VEC
from akidb_embeddings.tokenization.long_texts import Encode


def read_static_tokenizer(checkpoint: BaseCheckpoint) -> tuple[FastTokenizer, str]:
    """The tokenizer, without padding and truncation, and the side that it truncates.

    Raises:
        CheckpointError: tokenizer.json cannot be read, or has another number of tokens than a model2vec model's table.
    """
    file = checkpoint.folder.encoder / "tokenizer.json"
    tokenizer = load_tokenizer(file)
    config = checkpoint.config
    is_model2vec = config["model_type"] == MODEL2VEC
    # model2vec sets the truncation itself, and so its side.
    side = "right" if is_model2vec or tokenizer.truncation is None else str(tokenizer.truncation["direction"])
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.post_processor = TemplateProcessing("$A", "$A $B", [])
    probe(tokenizer, file)
    tokens, rows = tokenizer.get_vocab_size(), config["vocab_size"]
    if is_model2vec and tokens != rows:
        raise CheckpointError(
            f"{file} has {tokens} tokens, and the model has vectors for {rows}: the two belong to different models."
        )
    return tokenizer, side


class Model2VecTexts:
    """Tokenizes texts as model2vec does.

    It cuts a text in characters before it counts tokens, as many as the limit has tokens of the median length. Unknown
    tokens count for the limit, and are dropped afterwards.

    Args:
        tokenizer: The tokenizer, with truncation.
    """

    def __init__(self, tokenizer: FastTokenizer) -> None:
        truncation = tokenizer.truncation
        assert truncation is not None
        median = int(np.median([len(token) for token in tokenizer.get_vocab()]))
        self._characters = int(truncation["max_length"]) * median
        self._unknown = _unknown_token(tokenizer)

    def encode(self, texts: Sequence[str], encode: Encode, index: int) -> list[tuple[Encoding, bool]]:
        """The encoding of each text, and whether it is that of the whole text, not of a part.

        Args:
            texts: The texts.
            encode: Encodes parts.
            index: The index of the first text in errors.
        """
        encodings = encode([text[: self._characters] for text in texts], index)
        return [(one, len(text) <= self._characters) for text, one in zip(texts, encodings, strict=True)]

    def kept(self, encoding: Encoding) -> list[int]:
        """The token ids of a text."""
        return [token for token in encoding.ids if token != self._unknown]

    def count(self, encoding: Encoding, is_whole: bool) -> int:
        """The number of known tokens of a text before truncation; of a part, at least one more than are kept."""
        kept = len(self.kept(encoding))
        counted = kept + sum(len(self.kept(rest)) for rest in encoding.overflowing)
        return counted if is_whole else max(counted, kept + 1)


def _unknown_token(tokenizer: FastTokenizer) -> int | None:
    """The id of the unknown token; None if there is none."""
    model: Any = tokenizer.model
    if hasattr(model, "unk_token"):
        return None if model.unk_token is None else tokenizer.token_to_id(model.unk_token)
    unknown: int | None = json.loads(tokenizer.to_str())["model"].get("unk_id")
    return unknown
