"""Where transformers 4 and 5 read a folder's tokenizer files differently, because these contradict each other.

transformers 5 builds most tokenizers anew from their class, with only the vocabulary of tokenizer.json; transformers 4
reads tokenizer.json, and changes single parts. Where the two give different tokens, tokenizer.json is followed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer as FastTokenizer
from tokenizers import normalizers

from akidb_embeddings.checkpoint.folder import ModelFolder
from akidb_embeddings.checkpoint.tokenizer_checks import encode_texts
from akidb_embeddings.errors import InputError
from akidb_embeddings.registry.tokenizer_classes import (
    ANY_TOKENIZER,
    BERT_SETTINGS,
    READS_TOKENIZER_JSON,
    SPECIAL_TOKENS,
    TOKENIZER_CLASSES,
    TokenizerClass,
    class_in_transformers_4,
)
from akidb_embeddings.tokenization.rebuilt_tokenizer import Parts, Source, rebuilt_parts, template
from akidb_embeddings.tokenization.special_tokens import extra_tokens, named_tokens, tokenizer_settings
from akidb_embeddings.tokenization.tokenizer_file import bert_normalizer, class_name, flag, with_prefix_space

# Texts in which a difference of any part shows: spaces, case, accents, scripts, digits, punctuation, control
# characters, unknown ones. Special tokens are added to them.
_PROBES = (
    "",
    " ",
    "The  CAT isn't\n\there... <<a_b|>> ",
    "Caf\u00e9 CR\u00c8ME \ufb01ne \u00bd \uff21\uff22",
    "\u6f22\u5b57kanji \u30cf\u30ed\u30fc 12345",
    "a\u0000b\u200bc",
)


@dataclass(frozen=True)
class _Alternative:
    """Another value of one part of a tokenizer.

    Attributes:
        part: The attribute of the tokenizer, or of its model.
        value: Its value.
        meaning: The setting that decides it, and who reads it so.
    """

    part: str
    value: Any
    meaning: str


@dataclass(frozen=True)
class _Files:
    """A tokenizer, and what its folder says of it to transformers 5, and to transformers 4."""

    source: Source
    folder: ModelFolder
    name: str
    name_in_4: str

    @property
    def kind(self) -> TokenizerClass:
        return TOKENIZER_CLASSES.get(self.name, ANY_TOKENIZER)

    @property
    def kind_in_4(self) -> TokenizerClass:
        return TOKENIZER_CLASSES.get(self.name_in_4, ANY_TOKENIZER)


def ambiguities(tokenizer: FastTokenizer, folder: ModelFolder) -> list[str]:
    """The settings of a folder that transformers 4 and 5 read differently, each with both meanings.

    Args:
        tokenizer: The folder's tokenizer as this library reads it, without padding and truncation. Its parts are
            exchanged for a moment, so no other thread may use it.
        folder: The folder.
    """
    settings = tokenizer_settings(folder)
    name = class_name(folder, settings)
    kind = TOKENIZER_CLASSES.get(name, ANY_TOKENIZER)
    special = {key: str(token) for key, token in named_tokens(settings, kind, tokenizer).items()}
    given = settings.get("tokenizer_class") or folder.config.get("tokenizer_class")
    name_in_4 = class_in_transformers_4(str(folder.config.get("model_type")), given) or name
    files = _Files(Source(tokenizer, settings, special), folder, name, name_in_4)
    return [*_class_ambiguities(files), *_part_ambiguities(files), *_token_ambiguities(files)]


def _class_ambiguities(files: _Files) -> Iterator[str]:
    model = type(files.source.tokenizer.model).__name__
    if not {files.name, files.name_in_4} <= {*TOKENIZER_CLASSES, *READS_TOKENIZER_JSON}:
        yield f"tokenizer_class: {files.name_in_4} is not known here, and tokenizer.json is read as it is"
    elif model not in files.kind.models:
        yield (
            f"tokenizer_class: {files.name} is made for {' or '.join(files.kind.models)}, but tokenizer.json is "
            f"{model}; transformers 5 builds another tokenizer, transformers 4 reads tokenizer.json"
        )
    elif files.name != files.name_in_4:
        lacking = [
            token
            for token in files.kind_in_4.special_tokens.values()
            if files.source.tokenizer.token_to_id(token) is None
        ]
        if lacking:
            yield (
                f"tokenizer_class: transformers 4 takes {files.name_in_4} and adds its tokens ({', '.join(lacking)}), "
                "transformers 5 does not"
            )


def _part_ambiguities(files: _Files) -> list[str]:
    """The parts with which a probe has other tokens."""
    tokenizer = files.source.tokenizer
    if type(tokenizer.model).__name__ not in files.kind.models:
        return []
    tokens = sorted(set(files.source.special.values()))
    probes = [*_PROBES, " ".join(f"x{token}y {token}" for token in tokens)]
    expected = _ids(tokenizer, probes)
    found = []
    for other in _alternatives(files):
        pairs = zip(_other_ids(tokenizer, other, probes), expected, strict=True)
        if any(None not in (ids, own) and ids != own for ids, own in pairs):
            found.append(other.meaning)
    return list(dict.fromkeys(found))


def _other_ids(tokenizer: FastTokenizer, other: _Alternative, probes: list[str]) -> list[list[int] | None]:
    target: Any = tokenizer.model if other.part == "unk_token" else tokenizer
    own = getattr(target, other.part)
    try:
        setattr(target, other.part, other.value)
        return _ids(tokenizer, probes)
    finally:
        setattr(target, other.part, own)


def _ids(tokenizer: FastTokenizer, texts: list[str]) -> list[list[int] | None]:
    """The ids of each text; None where a part fails, which is no other meaning."""
    return [_text_ids(tokenizer, text) for text in texts]


def _text_ids(tokenizer: FastTokenizer, text: str) -> list[int] | None:
    try:
        [encoding] = encode_texts(tokenizer, [text])
    except InputError:
        return None
    return list(encoding.ids)


def _alternatives(files: _Files) -> Iterator[_Alternative]:
    yield from _in_transformers_4(files)
    parts: Parts = rebuilt_parts(files.name, files.source) or {}
    for part, (value, keys) in parts.items():
        meaning = f"{part}: transformers 5 builds that of {files.name}{keys}, transformers 4 reads tokenizer.json"
        yield _Alternative(part, value, meaning)


def _in_transformers_4(files: _Files) -> Iterator[_Alternative]:
    """The parts that transformers 4 takes from tokenizer_config.json, and transformers 5 from tokenizer.json."""
    tokenizer, settings = files.source.tokenizer, files.source.settings
    if files.kind_in_4.adds_bos is not None:
        ends = _template_of_keys(files, files.kind_in_4)
        if ends is not None:
            meaning = (
                "add_bos_token, add_eos_token: transformers 4 adds the tokens that they name, transformers 5 those of "
                "tokenizer.json"
            )
            yield _Alternative("post_processor", ends, meaning)
    if not files.kind.prefix_space:
        space = bool(flag(settings, "add_prefix_space", False))
        meaning = f"add_prefix_space: transformers 4 takes {space}, transformers 5 tokenizer.json's pre_tokenizer"
        yield _Alternative("pre_tokenizer", with_prefix_space(tokenizer.pre_tokenizer, space), meaning)
    if files.kind.bert_in_4 and isinstance(tokenizer.normalizer, normalizers.BertNormalizer):
        meaning = (
            f"{', '.join(BERT_SETTINGS)}: transformers 4 applies them to {files.name}, transformers 5 reads "
            "tokenizer.json"
        )
        yield _Alternative("normalizer", bert_normalizer(settings, BERT_SETTINGS, tokenizer.normalizer), meaning)


def _template_of_keys(files: _Files, kind: TokenizerClass) -> Any:
    """The post-processor of ``add_bos_token`` and ``add_eos_token``; None if a token is missing: then 4 fails."""
    settings, special = files.source.settings, {**kind.special_tokens, **files.source.special}
    first = [special.get("bos_token")] if settings.get("add_bos_token", kind.adds_bos) else []
    last = [special.get("eos_token")] if settings.get("add_eos_token", False) else []
    return template(files.source, *first, "$A", *last)


def _token_ambiguities(files: _Files) -> Iterator[str]:
    """Tokens that only one version adds, or adds with other flags or ids."""
    tokenizer, config = files.source.tokenizer, files.folder.tokenizer_config
    own = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    for key, value in config.items():
        if key.endswith("_token") and key not in SPECIAL_TOKENS and isinstance(value, str) and value not in own:
            yield f"{key}: transformers 5 adds {value!r} to the tokens, transformers 4 does not"
    extra = set(map(str, extra_tokens(config)))
    merged = set(map(str, extra_tokens(files.source.settings)))
    if extra and merged != extra:
        yield ("additional_special_tokens: transformers 5 ignores special_tokens_map.json's, transformers 4 adds both")
    special = extra | merged | set(files.source.special.values())
    if files.name == "Qwen2Tokenizer" and any(
        own[token].lstrip or own[token].rstrip or own[token].single_word for token in special & own.keys()
    ):
        yield (
            "special tokens: transformers 5 ignores their flags (lstrip, rstrip, single_word), transformers 4 does not"
        )
    decoder = config.get("added_tokens_decoder")
    if isinstance(decoder, Mapping) and rebuilt_parts(files.name, files.source) is not None:
        order = [decoder[index]["content"] for index in sorted(decoder, key=int)]
        yield from _decoder_ambiguities(tokenizer, own, order, special)


def _decoder_ambiguities(
    tokenizer: FastTokenizer, own: Mapping[str, Any], order: list[str], special: set[str]
) -> Iterator[str]:
    """Tokens of tokenizer.json that ``added_tokens_decoder`` lacks, and those that get other ids without the others."""
    lacking = sorted(own.keys() - set(order) - special)
    if lacking:
        yield (
            f"added_tokens_decoder: it lacks {', '.join(map(repr, lacking))} of tokenizer.json; transformers 5 splits "
            "them, transformers 4 does not"
        )
    free, ids = tokenizer.get_vocab_size(with_added_tokens=False), {}
    for token in order:
        known = tokenizer.model.token_to_id(token)
        ids[token] = free if known is None else known
        free += known is None
    if any(tokenizer.token_to_id(token) != token_id for token, token_id in ids.items()):
        yield (
            "added_tokens_decoder: transformers 5 numbers its tokens from the end of the vocabulary, transformers 4 "
            "keeps the ids of tokenizer.json"
        )
