"""The tokenizers of the encoders after BERT: XLM-RoBERTa's unigrams, ModernBERT's bytes, MPNet's words."""

import math
from collections import Counter
from pathlib import Path

from jsonfile import write_json
from tiny_tokenizers import VOCABULARY_SIZE, by_frequency, corpus, special_tokens_map, wordpiece_vocabulary
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
ROBERTA_NAMES = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}


def unigram_vocabulary(tokenizer: Tokenizer) -> list[tuple[str, float]]:
    """Special tokens, then words and pieces with the logarithms of their frequencies, the last ones characters.

    Counted here for the reason that ``wordpiece_vocabulary`` gives. A word costs less than its pieces, and no two
    tokens cost the same, so that every text has one best reading.
    """
    words: Counter[str] = Counter()
    for text in corpus():
        normal = tokenizer.normalizer.normalize_str(text)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    pieces: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word) - 1):
            pieces.update(dict.fromkeys({word[start : start + 2], word[start : start + 3]}, count))
    characters = sorted(set("".join(words)))
    common = by_frequency({word: count for word, count in words.items() if len(word) > 1})[:170]
    spare = VOCABULARY_SIZE - len(ROBERTA_SPECIAL) - 1 - len(characters) - len(common)
    fragments = [piece for piece in by_frequency(pieces) if piece not in words][:spare]
    total = sum(words.values())
    scores = {word: math.log(words[word] / total) for word in common}
    scores |= {piece: -9 + 0.1 * math.log(pieces[piece] / total) for piece in fragments}
    scores |= dict.fromkeys(characters, -11.0)
    ordered = sorted(scores, key=lambda token: (-scores[token], token))
    return [
        *((token, 0.0) for token in ROBERTA_SPECIAL),
        *((token, round(scores[token] - 1e-4 * index, 6)) for index, token in enumerate(ordered)),
        ("<mask>", 0.0),
    ]


def write_xlm_roberta_tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    """Unigrams over words that begin with ``▁``. NFKC stands for the table of characters that the real file has."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.model = models.Unigram(unigram_vocabulary(tokenizer), unk_id=3, byte_fallback=False)
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in ROBERTA_SPECIAL])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    ending = {"unk_token": "<unk>", "model_max_length": max_tokens, "tokenizer_class": "PreTrainedTokenizerFast"}
    added = {"added_tokens_decoder": special_tokens_map(tokenizer)}
    write_json(folder / "tokenizer_config.json", added | ROBERTA_NAMES | ending)
    return tokenizer


def write_modernbert_tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    """Byte-level BPE between ``[CLS]`` and ``[SEP]``; runs of spaces are added tokens that are not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(special),
        special_tokens=["<|padding|>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken(" " * length, normalized=True, special=False) for length in (4, 3, 2)])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True, normalized=False, special=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "added_tokens_decoder": special_tokens_map(tokenizer),
        "clean_up_tokenization_spaces": True,
        **{f"{name.strip('[]').lower()}_token": name for name in (*special, "[MASK]")},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": max_tokens,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(folder / "tokenizer_config.json", config)
    return tokenizer


def write_mpnet_tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    """BERT's words with RoBERTa's ``<s>``, ``<pad>`` and ``</s>``; ``[UNK]`` lies among the words."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    vocabulary = wordpiece_vocabulary(tokenizer, [*ROBERTA_SPECIAL, "[PAD]", "[UNK]"])
    tokenizer.model = models.WordPiece(vocabulary | {"<mask>": len(vocabulary)}, unk_token="[UNK]")
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in ROBERTA_SPECIAL])
    tokenizer.add_special_tokens([AddedToken("[UNK]", normalized=False, special=True)])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128, pad_id=1, pad_token="<pad>")
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    ending = {"unk_token": "[UNK]", "model_max_length": max_tokens, "tokenizer_class": "MPNetTokenizer"}
    write_json(folder / "tokenizer_config.json", settings | ROBERTA_NAMES | ending)
    return tokenizer
