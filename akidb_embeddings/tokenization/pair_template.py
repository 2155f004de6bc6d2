"""The special tokens around a pair, and how much of a pair is kept: what tokenizers do with two texts at once."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer

from akidb_embeddings.checkpoint.frame import FRAME
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint
from akidb_embeddings.checkpoint.tokenizer_checks import MOST_SPECIAL_TOKENS, PROBES
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.tokenization.tokenizer_file import has_token_types

Encode = Callable[[list[str], int], list[Encoding]]
"""``encode(texts, index)``: encodings without special tokens."""


class PairTemplate(NamedTuple):
    """The tokens before, between and after the two sides of a pair.

    Attributes:
        before: Those before the first side.
        between: Those between the sides.
        after: Those after the second side.
        first: How many of these have type 0, as all tokens of the first side have; None if all tokens have type 0.
    """

    before: NDArray[np.int32]
    between: NDArray[np.int32]
    after: NDArray[np.int32]
    first: int | None

    @property
    def size(self) -> int:
        """How many they are."""
        return self.before.size + self.between.size + self.after.size


def frame_template(encode: Encode) -> PairTemplate:
    """The tokens of a language model's frame. The pair within is one text."""
    before, after = (encoding.ids for encoding in encode([FRAME.before, FRAME.after], 0))
    return _template(before, [], after, None)


def pair_template(checkpoint: RerankerCheckpoint, tokenizer: FastTokenizer, encode: Encode) -> PairTemplate:
    """The special tokens that the tokenizer's post-processor puts around a pair.

    Raises:
        CheckpointError: It does not put fixed tokens before, between and after the two texts.
    """
    file, least = checkpoint.path / "tokenizer.json", checkpoint.architecture.special_tokens
    special = tokenizer.num_special_tokens_to_add(is_pair=True)
    if not least <= special <= MOST_SPECIAL_TOKENS:
        raise CheckpointError(
            f"{file} adds {special} special tokens to each pair (post_processor); "
            f"{checkpoint.config['model_type']} requires {least} or more, and {MOST_SPECIAL_TOKENS} are allowed."
        )
    has_types = checkpoint.architecture.has_token_types and has_token_types(checkpoint.folder)
    found = set()
    for texts in (PROBES, PROBES[::-1]):
        first, second = (encoding.ids for encoding in encode(list(texts), 0))
        pair = tokenizer.encode(*texts)
        types = pair.type_ids if has_types else [0] * len(pair.ids)
        found.add(_around(pair.ids, types, first, second))
    around = found.pop()
    if found or around is None:
        raise CheckpointError(
            f"{file} has a post_processor that does not put fixed tokens before, between and after the texts of a "
            "pair, in this order. Scores of this tokenizer would differ from the authors'."
        )
    return _template(*around)


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each side of a pair are kept, as the tokenizers library's ``longest_first`` decides.

    Args:
        first: The tokens of the first side.
        second: The tokens of the second side.
        room: How many may be kept.
    """
    if first + second <= room:
        return first, second
    shorter = min(first, second)
    shorter = min(shorter, room // 2)
    longer = room - shorter
    return (longer, shorter) if first > second else (shorter, longer)


_Around = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int | None]


def token_ids(ids: Sequence[int]) -> NDArray[np.int32]:
    """Token ids for MLX, int32 [L]. Those beyond 31 bits become negative; ``PairTokenizer`` refuses them."""
    return np.array(ids, dtype=np.uint32).view(np.int32)


def _template(before: Sequence[int], between: Sequence[int], after: Sequence[int], first: int | None) -> PairTemplate:
    return PairTemplate(token_ids(before), token_ids(between), token_ids(after), first)


def _around(ids: list[int], types: list[int], first: list[int], second: list[int]) -> _Around | None:
    """The tokens around two texts, and how many of them have type 0; None if the texts are not in this order."""
    special = len(ids) - len(first) - len(second)
    for before in range(special + 1):
        for between in range(special - before + 1):
            begin, end = before + len(first), before + len(first) + between
            if ids[before:begin] == first and ids[end : end + len(second)] == second:
                zeros = types.count(0)
                if types != [0] * zeros + [1] * (len(types) - zeros):
                    return None
                of_first = None if zeros == len(types) else zeros - len(first)
                if of_first is not None and not before <= of_first <= before + between:
                    return None
                return tuple(ids[:before]), tuple(ids[begin:end]), tuple(ids[end + len(second) :]), of_first
    return None
