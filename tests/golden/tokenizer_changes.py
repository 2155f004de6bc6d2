"""Changes of a model folder that may decide its token ids: each key and file that transformers' loading code reads."""

import json
from collections.abc import Iterator
from typing import Any

from tests.golden.tokenizer_folders import (
    CONFIG,
    FAMILIES,
    MODELS,
    NEXT_ID,
    SETTINGS,
    TOKENIZER,
    WORDPIECE,
    Change,
    both,
    settings,
)

_CASED = {
    "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
    "lowercase": False,
}  # fmt: skip
NO_CLASS = settings(tokenizer_class=None)
NO_SETTINGS: Change = {SETTINGS: None}
_CLASSES = (
    "BertTokenizer", "BertTokenizerFast", "DistilBertTokenizerFast", "ElectraTokenizer", "MPNetTokenizer",
    "PreTrainedTokenizerFast", "TokenizersBackend", "XLMRobertaTokenizer", "XLMRobertaTokenizerFast", "Qwen2Tokenizer",
    "GemmaTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", "RobertaTokenizer", "GPT2Tokenizer",
    "LayoutLMTokenizer", "MobileBertTokenizer", "ConvBertTokenizer", "LxmertTokenizer", "FunnelTokenizer",
    "SqueezeBertTokenizer", "RetriBertTokenizer", "RoFormerTokenizer", "DPRQuestionEncoderTokenizer",
    "CamembertTokenizer", "T5Tokenizer", "CohereTokenizer", "GPTNeoXTokenizer", "NoSuchTokenizer",
)  # fmt: skip
_BERT_CLASSES = ("DistilBertTokenizer", "ElectraTokenizer", "MPNetTokenizer", "BertTokenizerFast")


def changes(family: str) -> Iterator[tuple[str, Change]]:
    """Every change of a family, by name."""
    yield "none", {}
    yield from _class_changes()
    yield from _setting_changes()
    yield from _special_token_changes(family)
    yield from _added_token_changes(family)
    yield from _tokenizer_changes(family)
    if family in WORDPIECE:
        yield from _bert_changes(NEXT_ID[family])


def _class_changes() -> Iterator[tuple[str, Change]]:
    yield "no tokenizer_config.json", NO_SETTINGS
    yield "no class", NO_CLASS
    for name in _CLASSES:
        yield f"class {name}", settings(tokenizer_class=name)
    for name in ("BertTokenizer", "MPNetTokenizer", "XLMRobertaTokenizer", "PreTrainedTokenizerFast", "LlamaTokenizer"):
        yield f"config.json's class {name}", both(NO_CLASS, {CONFIG: {"tokenizer_class": name}})
    yield "another class in config.json", {CONFIG: {"tokenizer_class": "XLMRobertaTokenizer"}}


def _setting_changes() -> Iterator[tuple[str, Change]]:
    for key in ("add_bos_token", "add_eos_token", "add_prefix_space", "split_special_tokens", "legacy", "from_slow"):
        yield f"{key} null", settings(**{key: "null"})
        yield f"no {key}", settings(**{key: None})
        for value in (True, False):
            yield f"{key} {value}", settings(**{key: value})
            yield (
                f"{key} {value}, PreTrainedTokenizerFast",
                settings(**{key: value}, tokenizer_class="PreTrainedTokenizerFast"),
            )
    yield "add_bos_token and add_eos_token", settings(add_bos_token=True, add_eos_token=True)
    yield "neither bos nor eos", settings(add_bos_token=False, add_eos_token=False)
    ignored: dict[str, Any] = {
        "clean_up_tokenization_spaces": True, "spaces_between_special_tokens": True, "model_max_length": 8,
        "max_len": 8, "padding_side": "left", "truncation_side": "left", "model_input_names": ["input_ids"],
        "do_basic_tokenize": False, "never_split": ["the"], "wordpieces_prefix": "@@", "max_length": 5, "stride": 2,
        "truncation_strategy": "only_first", "pad_to_multiple_of": 8, "errors": "ignore", "trim_offsets": False,
        "sp_model_kwargs": {"enable_sampling": True}, "chat_template": "{{ messages }}", "name_or_path": "other",
        "use_fast": False, "fix_mistral_regex": True, "use_default_system_prompt": True, "backend": "tokenizers",
        "is_local": False, "tokenizer_file": "other.json", "vocab_file": "other.txt", "processor_class": "Any",
        "clean_text": False, "unk_id": 0, "max_input_chars_per_word": 3, "continuing_subword_prefix": "@@",
        "pad_token_type_id": 1, "special_tokens_map_file": "other.json", "token_type_ids_pattern": "all-zeros",
        "lowercase": True, "normalizer": "NFC", "basic_tokenizer": {}, "keep_accents": True, "remove_space": True,
    }  # fmt: skip
    for key, value in ignored.items():
        yield f"ignored: {key}", settings(**{key: value})


def _special_token_changes(family: str) -> Iterator[tuple[str, Change]]:
    word = {"bert-unigram": "\u2581the", "xlm-roberta": "\u2581the"}.get(family, "the")
    for key in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        name = f"{key}_token"
        yield f"{name} null", settings(**{name: "null"})
        yield f"no {name}", settings(**{name: None})
        for label, value in (("new", "<ent>"), ("a word", word)):
            yield f"{name} {label}", settings(**{name: value})
            yield (
                f"{name} {label}, in a map",
                both(settings(added_tokens_decoder=None), {"special_tokens_map.json": {name: value}}),
            )
            yield f"{name} {label}, in a map that does not count", {"special_tokens_map.json": {name: value}}
        yield f"{name} as an object", settings(**{name: {"__type": "AddedToken", **added("<ent>", lstrip=True)}})
    yield "image_token", settings(image_token="<ent>")
    yield (
        "a map of one object",
        both(
            settings(added_tokens_decoder=None),
            {"special_tokens_map.json": {"mask_token": added("NewToken", lstrip=True, rstrip=True)}},
        ),
    )


def _added_token_changes(family: str) -> Iterator[tuple[str, Change]]:
    tokenizer = json.loads((MODELS / FAMILIES[family][1] / TOKENIZER).read_text(encoding="utf-8"))
    decoder = {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in tokenizer["added_tokens"]}
    free = NEXT_ID[family]
    no_decoder = settings(added_tokens_decoder=None)
    tokens: dict[str, dict[str, Any]] = {
        "special": {str(free): added("<ent>", special=True)},
        "plain": {str(free): added("<ent>")},
        "normalized": {str(free): added("NewToken", normalized=True)},
        "single word, not normalized": {str(free): added("NewToken", single_word=True)},
        "stripping": {str(free): added("<ent>", lstrip=True, rstrip=True, special=True)},
        "a gap": {str(free + 7): added("<ent>", special=True)},
        "two, out of order": {
            str(free + 1): added("<ent>", special=True), str(free): added("NewToken", special=True)
        },
        "a word": {"350": added("the", normalized=True)},
        "a word, special": {"350": added("keeper", special=True)},
    }  # fmt: skip
    for name, new in tokens.items():
        yield f"decoder: {name}", settings(added_tokens_decoder=decoder | new)
        yield f"decoder of new ones alone: {name}", settings(added_tokens_decoder=new)
    first = next(iter(decoder))
    changed = decoder | {first: decoder[first] | {"lstrip": True, "rstrip": True}}
    yield "decoder: another flag", settings(added_tokens_decoder=changed)
    yield "no decoder", no_decoder
    lists: dict[str, Any] = {
        "strings": ["<ent>", "NewToken"],
        "objects": [{"__type": "AddedToken", **added("<ent>", special=True)}],
        "a known one": [decoder[first]["content"]],
        "a word": ["the"],
        "none": [],
    }
    for key in ("additional_special_tokens", "extra_special_tokens"):
        for name, value in lists.items():
            yield f"{key}: {name}", settings(**{key: value})
            yield f"{key}: {name}, without decoder", both(settings(**{key: value}), no_decoder)
            yield f"{key}: {name}, in a map", both(no_decoder, {"special_tokens_map.json": {key: value}})
        yield f"{key}: an object", settings(**{key: {"image_token": "<ent>"}})
        yield (
            f"{key}: in both",
            both(no_decoder, settings(**{key: ["<ent>"]}), {"special_tokens_map.json": {key: ["NewToken"]}}),
        )
        yield (
            f"{key}: after the decoder",
            settings(**{key: ["NewToken"]}, added_tokens_decoder=decoder | tokens["special"]),
        )
    yield "both lists", settings(additional_special_tokens=["<ent>"], extra_special_tokens=["NewToken"])
    for name, content in {
        "one": {"<ent>": free}, "a gap": {"<ent>": free + 7}, "a word": {"the": 350}, "mixed case": {"NewToken": free},
        "two, out of order": {"<ent>": free + 1, "NewToken": free},
        "a known one": {decoder[first]["content"]: int(first)},
    }.items():  # fmt: skip
        yield f"added_tokens.json: {name}", both(no_decoder, {"added_tokens.json": content})
        yield (
            f"added_tokens.json: {name}, special",
            both(no_decoder, {"added_tokens.json": content}, settings(additional_special_tokens=list(content))),
        )
        yield f"added_tokens.json: {name}, beside a decoder", {
            SETTINGS: {"added_tokens_decoder": decoder}, "added_tokens.json": content
        }  # fmt: skip
        yield f"added_tokens.json: {name}, no tokenizer_config.json", both(NO_SETTINGS, {"added_tokens.json": content})
    known = tokenizer["added_tokens"] + [{"id": free, **added("<ent>", special=True)}]
    yield "tokenizer.json's own new token", {TOKENIZER: {"added_tokens": known}}


def _tokenizer_changes(family: str) -> Iterator[tuple[str, Change]]:
    post = json.loads((MODELS / FAMILIES[family][1] / TOKENIZER).read_text(encoding="utf-8"))["post_processor"]
    yield "no post_processor", {TOKENIZER: {"post_processor": None}}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    yield "a post_processor that adds nothing", {TOKENIZER: {"post_processor": byte_level}}
    yield "a post_processor twice", {TOKENIZER: {"post_processor": {"type": "Sequence", "processors": [post, post]}}}
    yield "no normalizer", {TOKENIZER: {"normalizer": None}}
    yield "normalizer Lowercase", {TOKENIZER: {"normalizer": {"type": "Lowercase"}}}
    yield (
        "normalizers",
        {TOKENIZER: {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}}},
    )
    yield "pre_tokenizer Whitespace", {TOKENIZER: {"pre_tokenizer": {"type": "Whitespace"}}}
    for space in (True, False):
        bytes_ = byte_level | {"add_prefix_space": space, "use_regex": True}
        yield f"pre_tokenizer ByteLevel, add_prefix_space {space}", {TOKENIZER: {"pre_tokenizer": bytes_}}
    yield (
        "truncation",
        {TOKENIZER: {"truncation": {"direction": "Left", "max_length": 6, "strategy": "LongestFirst", "stride": 0}}},
    )
    yield "padding", {
        TOKENIZER: {
            "padding": {
                "strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                "pad_type_id": 0, "pad_token": "NewToken",
            }
        }
    }  # fmt: skip
    prepend = [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    ]
    yield (
        "normalizer of Llama 2",
        {TOKENIZER: {"normalizer": {"type": "Sequence", "normalizers": prepend}, "pre_tokenizer": None}},
    )
    yield "vocab.txt", {"vocab.txt": {"the": 0}}


def _bert_changes(free: int) -> Iterator[tuple[str, Change]]:
    contradictions: dict[str, Change] = {
        "cased, tokenizer.json lowercases": settings(do_lower_case=False),
        "lowercased, tokenizer.json is cased": both(settings(do_lower_case=True), {TOKENIZER: {"normalizer": _CASED}}),
        "no do_lower_case, tokenizer.json is cased": both(
            settings(do_lower_case=None), {TOKENIZER: {"normalizer": _CASED}}
        ),
        "strip_accents True": settings(strip_accents=True),
        "strip_accents False": settings(strip_accents=False),
        "accents kept, cased": settings(strip_accents=False, do_lower_case=False),
        "accents stripped, cased": settings(strip_accents=True, do_lower_case=False),
        "tokenize_chinese_chars False": settings(tokenize_chinese_chars=False),
        "no tokenize_chinese_chars, tokenizer.json keeps them": both(
            settings(tokenize_chinese_chars=None), {TOKENIZER: {"normalizer": _CASED | {"handle_chinese_chars": False}}}
        ),
        "clean_text False": {TOKENIZER: {"normalizer": _CASED | {"clean_text": False, "lowercase": True}}},
    }
    for name, change in contradictions.items():
        yield name, change
        yield f"{name}; no class", both(change, NO_CLASS)
        for kind in _BERT_CLASSES:
            yield f"{name}; {kind}", both(change, settings(tokenizer_class=kind))
            yield f"{name}; config.json's {kind}", both(change, NO_CLASS, {CONFIG: {"tokenizer_class": kind}})
        yield f"{name}; PreTrainedTokenizerFast", both(change, settings(tokenizer_class="PreTrainedTokenizerFast"))
    yield "no tokenizer_config.json, tokenizer.json is cased", both(NO_SETTINGS, {TOKENIZER: {"normalizer": _CASED}})
    new: Change = {"added_tokens.json": {"NewToken": free}}
    yield "cased and a new token", both(settings(do_lower_case=False), new)
    yield "lowercased, tokenizer.json is cased, and a new token", both(new, {TOKENIZER: {"normalizer": _CASED}})


def added(content: str, **flags: bool) -> dict[str, Any]:
    """An added token, as tokenizer_config.json writes it."""
    plain = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word", "special"), False)
    return {"content": content, **plain, **flags}
