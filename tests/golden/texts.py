"""The texts the golden vectors are made of: computed, never read from a file, the same on every machine.

Imports nothing but the standard library, so the tests take their texts from here.
"""

from collections.abc import Iterator

# Every word of this list is one token, with a space before it, for each tokenizer of the tiny models (``make.py``
# checks it). Hence ``counted_text(n)`` has exactly n tokens everywhere, special tokens not counted.
WORDS = (
    *("the", "of", "and", "to", "in", "is", "it", "was", "for", "on", "are", "as", "with"),
    *("he", "they", "at", "be", "this", "from", "or", "by", "one", "not", "but", "all", "we"),
)


def _sampled_words(seed: int) -> Iterator[str]:
    """Endless words in an order fixed by ``seed`` (a linear congruential generator, high bits only).

    Each seed draws from 8 neighbours among the words, so that the means of two long texts are not the same.
    """
    state = seed
    while True:
        state = (state * 1103515245 + 12345) % 2**31
        yield WORDS[(7 * seed + (state >> 16) % 8) % len(WORDS)]


def counted_text(tokens: int, seed: int = 0) -> str:
    """A text of exactly ``tokens`` tokens under each tiny tokenizer, special tokens not counted.

    It starts with a letter, because a first word has no space before it and so is another token.
    """
    words = _sampled_words(seed=tokens + 1000 * seed)
    return " ".join(["a", *(next(words) for _ in range(tokens - 1))])


SHORT_TEXTS = [
    "",
    " ",
    "\n\t",
    "a",
    "cat",
    "The same text stands here twice.",
    "The same text stands here twice.",
    "MIXED Case, with Punctuation!?",
    "mixed case, with punctuation!?",
    " \n leading and trailing whitespace\t ",
    "leading and trailing whitespace",
    "two\nlines\r\nand\ttabs  and   spaces\n\n\nand a gap",
    "今天天气很好，我们去公园散步吧。",  # noqa: RUF001
    "الطقسُ جميلٌ اليومَ",
    "abc \u202bשלום עולם\u202c 123",  # noqa: RUF001
    "a family \U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466, a thumb \U0001f44d\U0001f3fd",
    "Cafe\u0301 nai\u0308ve A\u030angstro\u0308m",  # decomposed …
    "Caf\u00e9 na\u00efve \u00c5ngstr\u00f6m",  # … and composed: the same text after NFC
    "control \x00 and zero\u200bwidth \ufeff characters",
    "def add(a: int, b: int) -> int:\n    return a + b  # 3 + 4 == 7\n",
    "3.14159 1,000,000 -42 1e-9 2024-02-29 0x1F",
    "abcdefghij" * 13,  # longer than the longest word that WordPiece looks at: one unknown token
    " ".join(["again"] * 300),
]

# What a user writes must not be mistaken for what the tokenizer appends: masks come from lengths, never from ids.
SPECIAL_TOKEN_TEXTS = [
    "[CLS] [SEP] [PAD]",
    "there is <|endoftext|> in the middle",
    "there is one at the end<|endoftext|>",
    "<bos><eos><pad>",
]

# For XLM-RoBERTa and MPNet, whose positions count the tokens that are not padding, also those that somebody wrote.
PADDING_TEXTS = [
    "<pad>",
    "<pad><pad> first the padding and then a text",
    "a text with <pad> in the middle, and another <pad> after it, and words at the end",
]

# With the two special tokens of BERT and Gemma each is 2 longer, with the one of Qwen 1 longer: so the totals stand
# just below, at and above the windows (33), the limits (256, 512, 2048, 4096) and common block sizes.
COUNTED_LENGTHS = (
    *(8, 28, 30, 31, 32, 62, 63, 64, 98, 125, 126, 127, 248, 254, 255, 258),
    *(509, 510, 511, 598, 998, 1898, 2046, 2047, 3000, 4200),
)

TEXTS: list[str] = SHORT_TEXTS + SPECIAL_TOKEN_TEXTS + [counted_text(tokens) for tokens in COUNTED_LENGTHS]

# Many characters for each token: model2vec cuts long texts in characters before it counts tokens.
STATIC_TEXTS: list[str] = [*TEXTS, "        ".join(counted_text(700).split())]

QUERIES: list[str] = [
    "What is the capital of China?",
    "how do plants make sugar",
    "Who wrote the first computer program?",
    "why is the sky blue in the day and red in the evening",
    counted_text(40, seed=1),
]

DOCUMENTS: list[str] = [
    "The capital of China is Beijing.",
    "Plants make sugar from light, water and air; the green in their leaves catches the light.",
    "Ada Lovelace wrote, in 1843, what is often called the first computer program.",
    "Air scatters blue light more than red light, and in the evening the light goes a longer way through the air.",
    counted_text(300, seed=2),
]

CARD_SENTENCES: list[str] = [
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
]
"""The three sentences of the all-MiniLM-L6-v2 model card, whose similarities are published."""
