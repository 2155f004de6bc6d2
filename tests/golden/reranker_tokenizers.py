"""The tokenizers that came with the rerankers: those of RoBERTa, DistilBERT and, with ``yes`` and ``no``, Qwen3."""

from pathlib import Path

from encoder_tokenizers import ROBERTA_NAMES, ROBERTA_SPECIAL
from jsonfile import read_json, write_json
from qwen_recipe import BODY, INSTRUCTION, PREFIX, SUFFIX
from tiny_tokenizers import (
    VOCABULARY_SIZE,
    corpus,
    save_qwen_tokenizer,
    train_qwen_tokenizer,
    write_bert_tokenizer,
)
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

RERANKER_VOCABULARY_SIZE = VOCABULARY_SIZE + 80


def write_roberta_tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    """Byte-level BPE: ``<s> A </s>``, and a pair is ``<s> A </s></s> B </s>``."""
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - 1,
        special_tokens=ROBERTA_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"add_prefix_space": False, "errors": "replace", "trim_offsets": True, "unk_token": "<unk>"}
    ending = {"model_max_length": max_tokens, "tokenizer_class": "RobertaTokenizer"}
    write_json(folder / "tokenizer_config.json", settings | ROBERTA_NAMES | ending)
    return tokenizer


def write_distilbert_tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    """BERT's under another name, with which transformers returns no token types."""
    tokenizer = write_bert_tokenizer(folder, max_tokens, traps=False)
    settings = read_json(folder / "tokenizer_config.json")
    write_json(folder / "tokenizer_config.json", settings | {"tokenizer_class": "DistilBertTokenizer"})
    return tokenizer


def write_qwen_reranker_tokenizer(folder: Path) -> Tokenizer:
    """Qwen's, which appends nothing and puts nothing between two texts.

    ``yes`` and ``no`` are tokens of their own; ``<think>`` and ``</think>`` are added tokens that are not special.
    """
    plain = [text.replace(mark, " ") for text in (PREFIX, SUFFIX) for mark in ("<|im_start|>", "<|im_end|>")]
    template = BODY.format(instruction=INSTRUCTION, query="", document="")
    texts = [*corpus(), *(*plain, template) * 4, *("yes", "no", '"yes" or "no"') * 20]
    tokenizer = train_qwen_tokenizer(texts, RERANKER_VOCABULARY_SIZE)
    thoughts = [AddedToken(token, normalized=False, special=False) for token in ("<think>", "</think>")]
    tokenizer.add_tokens(thoughts)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    assert all(tokenizer.encode(word).tokens == [word] for word in ("yes", "no"))
    save_qwen_tokenizer(folder, tokenizer)
    return tokenizer
