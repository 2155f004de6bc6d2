"""Checks of tokenizer.json, so that the tokenizers library neither ends the process nor runs for hours.

It trusts its file. A wrong size aborts, since Rust cannot recover from memory that it does not get. Other damage
panics, which Python sees as an exception outside ``Exception``. A step that multiplies its input is run on every text.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer

from akidb_embeddings.errors import CheckpointError, InputError

PROBES = ("a", "A sentence with words, numbers (12.5) and an end.")
_REMEDY = "Download or copy the model again."
_LARGEST_FILE = 64 * 2**20  # twice the largest that is known: Gemma 3's, with 262,144 tokens
_LARGEST_PART = 2**20  # bytes of a normalizer or post-processor as JSON; a character map has 400,000
_LONGEST_TEXT = 256  # characters that a step puts before each text
_LARGEST_GROWTH = 64  # characters that the steps of a normalizer make of one; Unicode's own decompositions: 18
MOST_SPECIAL_TOKENS = 64
"""Of a text or pair."""
_LONGEST_WORD = 10_000  # characters; BERT's limit is 100, and the time grows with its square
_LONGEST_AFFIX = 64
_ESCAPED_LETTER = re.compile(rb"\\u00[2-7]")  # in ASCII, which nobody escapes but to hide a name


def load_tokenizer(file: Path) -> FastTokenizer:
    """Read a tokenizer.json.

    Raises:
        CheckpointError: It cannot be read, or has a part that would make any text grow without bounds.
    """
    try:
        size = file.stat().st_size
        content = file.read_bytes() if size <= _LARGEST_FILE else b""
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}. {_REMEDY}") from error
    if size > _LARGEST_FILE:
        raise CheckpointError(f"{file} has {size} bytes; the largest known tokenizer has half of {_LARGEST_FILE}.")
    for charsmap in _charsmaps(file, content):
        _check_charsmap(file, charsmap)
    try:
        tokenizer = FastTokenizer.from_buffer(content)
        _check_parts(file, tokenizer)
    except CheckpointError:
        raise
    except BaseException as error:
        if not is_fault(error):
            raise
        raise CheckpointError(f"{file} cannot be read: {error}. {_REMEDY}") from error
    return tokenizer


def probe(tokenizer: FastTokenizer, file: Path) -> None:
    """Try a tokenizer, before anything else uses it.

    Raises:
        CheckpointError: It fails at a text that every model knows.
    """
    try:
        encode_texts(tokenizer, PROBES)
    except InputError as error:
        raise CheckpointError(f"{file} cannot be used: {error} {_REMEDY}") from error


def is_fault(error: BaseException) -> bool:
    """Whether it is the tokenizers library's: any exception, or a panic, which is no ``Exception``."""
    is_panic = type(error).__name__ == "PanicException"
    return is_panic or (isinstance(error, Exception) and not isinstance(error, MemoryError))


def encode_texts(
    tokenizer: FastTokenizer,
    texts: Sequence[str],
    first_index: int = 0,
    *,
    special_tokens: bool = True,
    offsets: bool = False,
) -> list[Encoding]:
    """Tokenize texts.

    Args:
        tokenizer: The tokenizer.
        texts: The texts, with their prompt.
        first_index: The index of the first text in error messages.
        special_tokens: Whether special tokens are added.
        offsets: Whether the tokens' offsets are needed.

    Raises:
        TypeError, UnicodeEncodeError: A text is not valid Unicode.
        InputError: The tokenizer fails at a text.
    """
    try:
        if offsets:
            return [tokenizer.encode(text, add_special_tokens=special_tokens) for text in texts]
        return tokenizer.encode_batch_fast(texts, add_special_tokens=special_tokens)
    except (TypeError, UnicodeEncodeError):
        raise
    except BaseException as error:
        if not is_fault(error):
            raise
        raise _input_error(tokenizer, texts, first_index, error) from error


def _input_error(tokenizer: FastTokenizer, texts: Iterable[str], first_index: int, fault: BaseException) -> InputError:
    """The error for the first text at which the tokenizer fails; without one, for all of them."""
    for index, text in enumerate(texts):
        try:
            tokenizer.encode(text)
        except BaseException as error:
            if not is_fault(error):
                raise
            return InputError(
                field="texts", index=first_index + index, reason=f"cannot be tokenized by this model: {error}."
            )
    return InputError(f"The texts cannot be tokenized by this model: {fault}.", field="texts")


def _charsmaps(file: Path, content: bytes) -> list[Any]:
    """The character maps in a tokenizer.json. Most files have none, and those of 30 MB are not parsed twice."""
    if b"recompiled" not in content and not _ESCAPED_LETTER.search(content):
        return []
    found: list[Any] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        found.extend(value for key, value in pairs if key == "precompiled_charsmap")

    try:
        json.loads(content, object_pairs_hook=collect)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}. {_REMEDY}") from error
    return found


def _check_charsmap(file: Path, charsmap: object) -> None:
    """Check a map of characters: a trie's size in bytes, the trie, and the texts that it points to, in UTF-8.

    The library asks for memory for a trie of the given size before it looks for one.
    """
    try:
        content = base64.b64decode(charsmap, validate=True) if isinstance(charsmap, str) else b""
        size = int.from_bytes(content[:4], "little")
        content[4 + size :].decode()
    except ValueError:
        size, content = 1, b""
    if len(content) < 4 + size or not size or size % 4:
        raise CheckpointError(f"{file} is damaged: its precompiled_charsmap is no map of characters. {_REMEDY}")


def _check_parts(file: Path, tokenizer: FastTokenizer) -> None:
    """Check that no step makes a text grow without bounds."""
    growth, added = 1, 0
    for step in _steps(file, "normalizer", tokenizer.normalizer):
        added += len(step.get("prepend", ""))
        growth *= max(1, len(step.get("content", "")) + _matches_nothing(step.get("pattern", {})))
    if added > _LONGEST_TEXT or growth > _LARGEST_GROWTH:
        raise CheckpointError(
            f"{file} has a normalizer that adds {added} characters to a text and makes {growth} of one; at most "
            f"{_LONGEST_TEXT} and {_LARGEST_GROWTH} are allowed."
        )
    for step in _steps(file, "post_processor", tokenizer.post_processor):
        sequences = [piece["Sequence"]["id"] for piece in step.get("single", ()) if "Sequence" in piece]
        if "single" in step and sequences != ["A"]:
            raise CheckpointError(
                f"{file} has a post_processor that takes {' and '.join(sequences) or 'no text'} for a single text; it "
                "must take A once."
            )
    special_tokens = tokenizer.num_special_tokens_to_add(is_pair=False)
    if special_tokens > MOST_SPECIAL_TOKENS:
        raise CheckpointError(
            f"{file} adds {special_tokens} special tokens to each text; at most {MOST_SPECIAL_TOKENS} are allowed."
        )
    model = tokenizer.model
    affixes = [getattr(model, f"{name}", None) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix")]
    if getattr(model, "max_input_chars_per_word", 0) > _LONGEST_WORD or max(map(len, affixes)) > _LONGEST_AFFIX:
        raise CheckpointError(
            f"{file} allows words of more than {_LONGEST_WORD} characters, or parts of words with more than "
            f"{_LONGEST_AFFIX} characters before or after them."
        )


def _matches_nothing(pattern: Mapping[str, str]) -> bool:
    """Whether the pattern of a replacement may match between two characters, so that its content is inserted there."""
    if "Regex" not in pattern:
        return pattern.get("String") == ""
    try:
        return re.match(pattern["Regex"], "") is not None
    except re.error:  # Oniguruma has expressions that Python has not
        return True


def _steps(file: Path, name: str, part: Any) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer or post-processor, those in sequences too."""
    if part is None:
        return
    state = part.__getstate__()
    if len(state) > _LARGEST_PART:
        raise CheckpointError(f"{file} has a {name} of {len(state)} bytes; at most {_LARGEST_PART} are allowed.")
    waiting = [json.loads(state)]
    while waiting:
        step = waiting.pop()
        inner = step.get("normalizers") or step.get("processors")
        if isinstance(inner, list):
            waiting.extend(inner)
        else:
            yield step
