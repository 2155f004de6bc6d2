"""The parts of a tokenizer that transformers 5 builds from its class, with the vocabulary of tokenizer.json alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as FastTokenizer

from akidb_embeddings.registry.tokenizer_classes import BERT_SETTINGS, TOKENIZER_CLASSES
from akidb_embeddings.tokenization.tokenizer_file import bert_normalizer, flag, normalizer_steps

_SPACE = "\u2581"
_QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Source:
    """What a tokenizer is built from.

    Attributes:
        tokenizer: tokenizer.json.
        settings: tokenizer_config.json.
        special: The special tokens by key.
    """

    tokenizer: FastTokenizer
    settings: Mapping[str, Any]
    special: Mapping[str, str]


# Part -> its value, and the keys that decide it, as the end of a sentence.
Parts = dict[str, tuple[Any, str]]


def rebuilt_parts(name: str, source: Source) -> Parts | None:
    """The parts that transformers 5 builds for a class; None if it reads tokenizer.json as it is."""
    build = _REBUILT.get(name)
    if build is None or (name == "LlamaTokenizer" and _has_bytes(source.tokenizer.pre_tokenizer)):
        return None
    return build(source)


def template(source: Source, *pieces: str | None) -> processors.TemplateProcessing | None:
    """A template of tokens and ``$A``; None if the tokenizer lacks one of them."""
    tokens = [piece for piece in pieces if piece != "$A"]
    ids = {token: source.tokenizer.token_to_id(token) for token in tokens if token is not None}
    if None in tokens or None in ids.values():
        return None
    return processors.TemplateProcessing(single=list(pieces), pair=["$A", "$B"], special_tokens=list(ids.items()))


def _with_ends(parts: Parts, source: Source, first: str, last: str) -> Parts:
    """``parts``, with a post-processor of two special tokens, if they exist."""
    ends = template(source, source.special.get(first), "$A", source.special.get(last))
    return parts if ends is None else parts | {"post_processor": (ends, f" with {first} and {last}")}


def _bert(source: Source) -> Parts:
    parts: Parts = {
        "normalizer": (bert_normalizer(source.settings, BERT_SETTINGS, None), f" with {', '.join(BERT_SETTINGS)}"),
        "pre_tokenizer": (pre_tokenizers.BertPreTokenizer(), ""),
    }
    unknown = source.special.get("unk_token")
    if unknown is not None and source.tokenizer.token_to_id(unknown) is not None:
        parts["unk_token"] = unknown, " with this one"
    return _with_ends(parts, source, "cls_token", "sep_token")


def _xlm_roberta(source: Source) -> Parts:
    scheme = "always" if flag(source.settings, "add_prefix_space", True) else "never"
    steps = normalizer_steps(source.tokenizer.normalizer)
    tables = [step for step in steps if isinstance(step, normalizers.Precompiled)]
    words = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme=scheme)]
    )
    parts: Parts = {
        "normalizer": (tables[0] if tables else None, ", of which only a table of characters is kept"),
        "pre_tokenizer": (words, " with add_prefix_space"),
    }
    return _with_ends(parts, source, "bos_token", "eos_token")


def _gpt2(source: Source) -> Parts:
    return {"normalizer": (None, ""), "pre_tokenizer": (_bytes(source), " with add_prefix_space")}


def _roberta(source: Source) -> Parts:
    return _with_ends(_gpt2(source), source, "cls_token", "sep_token")


def _gpt_neox(source: Source) -> Parts:
    return {
        "normalizer": (normalizers.NFC(), ""),
        "pre_tokenizer": (_bytes(source), " with add_prefix_space"),
        "post_processor": (None, " without any token"),
    }


def _cohere(source: Source) -> Parts:
    words = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _bytes(source)])
    return {"normalizer": (normalizers.NFC(), ""), "pre_tokenizer": (words, " with add_prefix_space")}


def _qwen2(source: Source) -> Parts:
    words = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_QWEN_PATTERN), behavior="isolated"), _bytes(source, use_regex=False)]
    )
    return {"normalizer": (normalizers.NFC(), ""), "pre_tokenizer": (words, " with add_prefix_space")}


def _gemma(source: Source) -> Parts:
    words = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    return {"normalizer": (normalizers.Replace(" ", _SPACE), ""), "pre_tokenizer": (words, "")}


def _llama(source: Source) -> Parts:
    scheme = "never"
    if flag(source.settings, "add_prefix_space", True):
        scheme = "always" if flag(source.settings, "legacy", False) else "first"
    words = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme=scheme, split=False)
    return {"normalizer": (None, ""), "pre_tokenizer": (words, " with legacy and add_prefix_space")}


def _bytes(source: Source, *, use_regex: bool = True) -> pre_tokenizers.ByteLevel:
    space = bool(flag(source.settings, "add_prefix_space", False))
    return pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=use_regex)


def _has_bytes(pre_tokenizer: Any) -> bool:
    return pre_tokenizer is not None and b'"ByteLevel"' in pre_tokenizer.__getstate__()


_REBUILT: Mapping[str, Callable[[Source], Parts]] = {
    **{name: _bert for name, kind in TOKENIZER_CLASSES.items() if kind.bert_settings},
    "XLMRobertaTokenizer": _xlm_roberta,
    "RobertaTokenizer": _roberta,
    "GPT2Tokenizer": _gpt2,
    "GPTNeoXTokenizer": _gpt_neox,
    "CohereTokenizer": _cohere,
    "Qwen2Tokenizer": _qwen2,
    "GemmaTokenizer": _gemma,
    "LlamaTokenizer": _llama,
}
