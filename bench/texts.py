"""What is embedded: Python's own language reference, or a file's texts; and texts of an exact number of tokens."""

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.tokenization.tokenizer import Tokenized, Tokenizer

BUILT_IN = "Python's language reference (pydoc_data)"

_SEED = 7
# One token in every vocabulary, also after others.
_FILLER = "a"


class Counter(Protocol):
    """What says how many tokens texts have: a tokenizer."""

    def encode(self, texts: list[str]) -> Tokenized:
        """The texts' tokens, and their numbers."""


class Texts:
    """Passages of mixed lengths: the corpus's, or cut from the language reference as many as are asked for."""

    def __init__(self, corpus: Path | None = None) -> None:
        """Read ``corpus``: JSON lines with "text", or plain lines; None for what comes with Python."""
        self._corpus = None if corpus is None else read_corpus(corpus)
        self._words = reference_words() if self._corpus is None else " ".join(self._corpus).split()

    def passages(self, count: int) -> list[str]:
        """``count`` different texts; fewer where the corpus has no more."""
        if self._corpus is not None:
            return self._corpus[:count]
        generator = random.Random(_SEED)
        return [self._cut(generator, 5 + int(generator.lognormvariate(4.3, 0.9))) for _ in range(count)]

    def _cut(self, generator: random.Random, words: int) -> str:
        begin = generator.randrange(len(self._words))
        return " ".join(itertools.islice(itertools.cycle(self._words), begin, begin + words))

    def exact(self, tokenizer: Counter, tokens: int, count: int, seed: int = _SEED) -> list[str]:
        """``count`` different texts of exactly ``tokens`` tokens, special tokens included."""
        generator = random.Random(seed + tokens)
        return list(itertools.islice(self._exact(tokenizer, tokens, generator), count))

    def _exact(self, tokenizer: Counter, tokens: int, generator: random.Random) -> Iterator[str]:
        for _ in itertools.repeat(None, 1_000_000):
            text = _fit(tokenizer, self._cut(generator, tokens).split(), tokens)
            if text is not None:
                yield text
        raise ValueError(f"no text of {tokens} tokens can be made of this corpus")

    def queries(self, tokenizer: Tokenizer, count: int, shortest: int = 8, longest: int = 32) -> list[str]:
        """``count`` texts of ``shortest`` to ``longest`` tokens, every length as often, in random order."""
        lengths = range(shortest, longest + 1)
        share = -(-count // len(lengths))
        made = [text for length in lengths for text in self.exact(tokenizer, length, share)]
        random.Random(_SEED).shuffle(made)
        return made[:count]


def exact_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """A tokenizer that counts as the service does, up to the model's own limit."""
    return Tokenizer(checkpoint, checkpoint.max_tokens)


def _fit(tokenizer: Counter, words: Sequence[str], tokens: int) -> str | None:
    """As many of the words as fit, filled up with a word of one token; None where that word turns out to be more."""

    def count(text: str) -> int:
        return tokenizer.encode([text or _FILLER]).counts[0]

    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(" ".join(words[:middle])) <= tokens else (low, middle - 1)
    lacking = tokens - count(" ".join(words[:low])) if low else tokens - count(_FILLER) + 1
    text = " ".join([*words[:low], *[_FILLER] * lacking])
    return text if count(text) == tokens else None


def reference_words() -> list[str]:
    """The words of Python's language reference, without the lines and boxes that documentation is drawn with."""
    from pydoc_data.topics import topics

    words = (word for name in sorted(topics) for word in topics[name].split())
    return [word for word in words if any(letter.isalnum() for letter in word)]


def read_corpus(path: Path) -> list[str]:
    """The texts of a file: those under "text" in JSON lines, else its lines. UsageError where there are none."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        texts = [str(json.loads(line)["text"]) for line in lines] if path.suffix in (".jsonl", ".json") else lines
    except (OSError, ValueError) as error:
        raise pytest.UsageError(f"--corpus {path} cannot be read: {error}") from error
    except (KeyError, TypeError):
        raise pytest.UsageError(f'--corpus {path}: every line must be an object with "text"') from None
    if not texts:
        raise pytest.UsageError(f"--corpus {path} has no texts")
    return texts


def spread_evenly(texts: Sequence[str]) -> list[str]:
    """The texts in an order in which any stretch has short and long ones in the same mix.

    Sorted by length and dealt by bit-reversed index: batches of any size then do the same work for a text.
    """
    bits = max(1, (len(texts) - 1).bit_length())
    order = (int(f"{index:0{bits}b}"[::-1], 2) for index in range(1 << bits))
    ordered = sorted(texts, key=len)
    return [ordered[index] for index in order if index < len(ordered)]
