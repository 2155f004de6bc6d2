"""Tokenizers for the random models: byte-level BPE of the real layout, learned on the spot from the built-in texts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from bench.texts import reference_words

# Some 1.5 tokens a word on other English texts, as the real ones have with vocabularies learned from the whole web.
_LEARNED = 12_000


@dataclass(frozen=True)
class _Family:
    """The special tokens of a model family, and how a text is framed with them."""

    special: tuple[str, ...]
    frame: str


_FAMILIES: Mapping[str, _Family] = {  # by model_type
    "qwen3": _Family(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "$A <|endoftext|>"),
    "gemma3_text": _Family(("<pad>", "<eos>", "<bos>", "<unk>"), "<bos> $A <eos>"),
}


def write_tokenizer(folder: Path, model_type: str, most: int = _LEARNED) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` with at most ``most`` tokens."""
    family = _FAMILIES[model_type]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=most,
        special_tokens=list(family.special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = reference_words()
    tokenizer.train_from_iterator((" ".join(words[i : i + 1000]) for i in range(0, len(words), 1000)), trainer)
    framing = [(token, tokenizer.token_to_id(token)) for token in family.special if token in family.frame]
    tokenizer.post_processor = processors.TemplateProcessing(single=family.frame, special_tokens=framing)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": family.special[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
