"""The tokenizers of the tiny models: the layouts of the real ones, with vocabularies of a few hundred tokens."""

import json
import string
from collections import Counter
from pathlib import Path
from typing import Any

from jsonfile import write_json
from texts import COUNTED_LENGTHS, DOCUMENTS, QUERIES, WORDS, counted_text
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

VOCABULARY_SIZE = 400

# Qwen's own pattern: digits one by one, letters with the character before them, spaces with what follows.
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA3_SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|mask|>")

STORY = """\
A small library keeps its books in order, and the keeper knows where every one of them stands.
When a reader asks for something new, she looks for the words that mean the same, not the same words.
Long shelves need short names; short names need good memory; good memory needs a little help.
In winter the windows stay closed, the lamps burn early, and the numbers are copied by hand again.
Nobody remembers who counted first, but the result was right: one thousand and twenty-four pages.
def return import class self: these too are words, if only for machines that read instead of people.
Weather, music, medicine, football, history, cooking, travel, planets, rivers, money, law and trade.
"""


def corpus() -> list[str]:
    """What the vocabularies are learned from: ASCII only, so that other scripts meet unknown tokens and raw bytes."""
    letters = " ".join(string.ascii_letters + string.digits + string.punctuation)
    return [
        *(counted_text(tokens, seed=3) for tokens in COUNTED_LENGTHS),
        *(letters, " ".join(WORDS)) * 20,
        *(STORY.splitlines() + QUERIES[:4] + DOCUMENTS[:4]) * 3,
    ]


def special_tokens_map(tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """``added_tokens_decoder`` of a ``tokenizer_config.json``."""
    flags = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    added = sorted(tokenizer.get_added_tokens_decoder().items())
    return {str(index): {flag: getattr(token, flag) for flag in flags} for index, token in added}


def wordpiece_vocabulary(tokenizer: Tokenizer, special: list[str]) -> dict[str, int]:
    """Special tokens, every character at the start of a word and inside it, then the commonest words and pieces.

    Counted here, because what ``WordPieceTrainer`` learns from so small a corpus differs from run to run.
    """
    words: Counter[str] = Counter()
    for text in corpus():
        normal = tokenizer.normalizer.normalize_str(text)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    pieces: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(1, len(word) - 1):
            pieces.update(dict.fromkeys({word[start : start + 2], word[start : start + 3]}, count))
    characters = sorted(set("".join(words)))
    common = by_frequency({word: count for word, count in words.items() if len(word) > 1})
    tokens = [*special, *characters, *(f"##{character}" for character in characters), *common[:170]]
    tokens += [f"##{piece}" for piece in by_frequency(pieces)]
    return {token: index for index, token in enumerate(tokens[:VOCABULARY_SIZE])}


def by_frequency(counts: dict[str, int]) -> list[str]:
    return sorted(counts, key=lambda text: (-counts[text], text))


def write_bert_tokenizer(folder: Path, max_tokens: int, *, traps: bool) -> Tokenizer:
    """Lowercasing WordPiece, as in MiniLM and BGE.

    ``traps`` writes the truncation to 128 and the padding to exactly 128 that MiniLM's ``tokenizer.json`` carries and
    that its ``sentence_bert_config.json`` overrules.
    """
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.model = models.WordPiece(wordpiece_vocabulary(tokenizer, special), unk_token="[UNK]")
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, special.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = decoders.WordPiece()
    if traps:
        tokenizer.enable_truncation(128)
        tokenizer.enable_padding(length=128, pad_token="[PAD]")
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    names = {f"{name.strip('[]').lower()}_token": name for name in special}
    ending = {"model_max_length": max_tokens, "tokenizer_class": "BertTokenizer"}
    write_json(folder / "tokenizer_config.json", settings | names | ending)
    return tokenizer


def train_qwen_tokenizer(texts: list[str], size: int, special: tuple[str, ...] = QWEN_SPECIAL) -> Tokenizer:
    """Byte-level BPE over ``texts``, with the special tokens after the others."""
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer


def write_qwen_tokenizer(folder: Path, *, append: bool = True) -> Tokenizer:
    """Byte-level BPE whose post-processor appends ``<|endoftext|>``; the tokenizer's own eos is another token.

    ``append=False`` appends nothing, as in pplx-embed, so that an empty text has no token at all.
    """
    tokenizer = train_qwen_tokenizer(corpus(), VOCABULARY_SIZE)
    ending = processors.TemplateProcessing(
        single="$A <|endoftext|>",
        pair="$A <|endoftext|> $B:1 <|endoftext|>:1",
        special_tokens=[("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))],
    )
    byte_level = processors.ByteLevel(trim_offsets=False)
    tokenizer.post_processor = processors.Sequence([byte_level, ending]) if append else byte_level
    save_qwen_tokenizer(folder, tokenizer)
    return tokenizer


def save_qwen_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": special_tokens_map(tokenizer),
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,  # as the real file says: max_position_embeddings is what binds
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    write_json(folder / "tokenizer_config.json", config)


def write_llama3_tokenizer(folder: Path, *, ending: bool) -> Tokenizer:
    """Byte-level BPE that puts ``<|begin_of_text|>`` first and, with ``ending``, ``<|end_of_text|>`` last."""
    tokenizer = train_qwen_tokenizer(corpus(), VOCABULARY_SIZE, LLAMA3_SPECIAL)
    tokenizer.normalizer = None
    first, last = ([token, tokenizer.token_to_id(token)] for token in LLAMA3_SPECIAL[:2])
    end = f" {last[0]}" if ending else ""
    template = processors.TemplateProcessing(
        single=f"{first[0]} $A{end}",
        pair=f"{first[0]} $A{end} {first[0]}:1 $B:1{end and end + ':1'}",
        special_tokens=[tuple(first), tuple(last)] if ending else [tuple(first)],
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "added_tokens_decoder": special_tokens_map(tokenizer),
        "bos_token": first[0],
        "clean_up_tokenization_spaces": False,
        "eos_token": last[0],
        "mask_token": LLAMA3_SPECIAL[2],
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 8192,
        "pad_token": last[0],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(folder / "tokenizer_config.json", config)
    return tokenizer


def write_gemma_tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    """BPE over text whose spaces are ``▁``, with byte fallback, ``<bos>`` and ``<eos>``."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    # Learn no merge across words; the real file then splits at spaces that no longer exist, that is, not at all.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE + 100,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [(left, right) for left, right in model["merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab=model["vocab"], merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        pair="<bos> $A <eos> <bos>:1 $B:1 <eos>:1",
        special_tokens=[(token, special.index(token)) for token in ("<bos>", "<eos>")],
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "add_bos_token": True,
        "add_eos_token": True,
        "added_tokens_decoder": special_tokens_map(tokenizer),
        **{f"{name.strip('<>')}_token": name for name in special},
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_tokens,
        "padding_side": "right",
        "tokenizer_class": "GemmaTokenizer",
    }
    write_json(folder / "tokenizer_config.json", config)
    return tokenizer
