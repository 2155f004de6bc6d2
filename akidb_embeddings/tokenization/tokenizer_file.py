"""The tokenizer of a folder: tokenizer.json, with what the other files say of tokens, case and truncation."""

from collections.abc import Collection, Mapping
from typing import Any

from tokenizers import AddedToken, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.normalizers import BertNormalizer, Lowercase, Normalizer, Sequence
from tokenizers.processors import TemplateProcessing

from akidb_embeddings.checkpoint.folder import ModelFolder
from akidb_embeddings.checkpoint.tokenizer_checks import load_tokenizer
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.tokenizer_classes import (
    ANY_TOKENIZER,
    GENERIC_IN_4,
    TOKENIZER_CLASSES,
    tokenizer_class_name,
)
from akidb_embeddings.tokenization.special_tokens import named_tokens, text_of, tokenizer_settings, tokens_to_add

_MISTRAL = ("mistral", "mistral3", "ministral", "ministral3", "voxtral", "pixtral")


def read_tokenizer(folder: ModelFolder) -> FastTokenizer:
    """The tokenizer, without padding, and with truncation switched off but its side set.

    Where transformers 4 and 5 read a folder differently, tokenizer.json is followed.

    Raises:
        CheckpointError: A file cannot be read, or a setting has a value of the wrong type.
    """
    tokenizer = load_tokenizer(folder.tokenizer / "tokenizer.json")
    settings = tokenizer_settings(folder)
    _refuse_other_tokenizers(folder, settings)
    name = class_name(folder, settings)
    kind = TOKENIZER_CLASSES.get(name, ANY_TOKENIZER)
    fits = type(tokenizer.model).__name__ in kind.models
    if kind.adds_bos is not None and not fits:
        raise CheckpointError(
            f"{folder.tokenizer} names the tokenizer class {name}, made for {' or '.join(kind.models)}, but "
            f"tokenizer.json is {type(tokenizer.model).__name__}. Correct tokenizer_class in tokenizer_config.json."
        )
    normalizer: Normalizer | None = tokenizer.normalizer
    if kind.bert_settings and fits and (normalizer is None or isinstance(normalizer, BertNormalizer)):
        tokenizer.normalizer = bert_normalizer(settings, kind.bert_settings, normalizer)
    if kind.prefix_space:
        space = bool(flag(settings, "add_prefix_space", False))
        tokenizer.pre_tokenizer = with_prefix_space(tokenizer.pre_tokenizer, space)
    tokenizer.encode_special_tokens = bool(flag(settings, "split_special_tokens", False))
    # After the normalizer, which applies to the tokens, too.
    tokenizer.add_tokens(tokens_to_add(tokenizer, folder, settings, kind))
    if kind.adds_bos is False and not (
        flag(settings, "add_bos_token", False) or flag(settings, "add_eos_token", False)
    ):
        tokenizer.post_processor = TemplateProcessing("$A", "$A $B", [])
    return tokenizer


def named_ids(tokenizer: FastTokenizer, folder: ModelFolder, keys: Collection[str]) -> tuple[int, ...]:
    """The ids of the special tokens that transformers knows by some ``keys`` (``cls_token``), without missing ones.

    Args:
        tokenizer: What ``read_tokenizer`` made of the folder.
        folder: The folder.
        keys: The keys.
    """
    settings = tokenizer_settings(folder)
    kind = TOKENIZER_CLASSES.get(class_name(folder, settings), ANY_TOKENIZER)
    named = named_tokens(settings, kind, tokenizer)
    ids = [tokenizer.token_to_id(text_of(named[key])) for key in keys if key in named]
    return tuple(sorted({token for token in ids if token is not None}))


def add_markers(tokenizer: FastTokenizer, markers: Collection[str]) -> None:
    """Have markers that are tokens stay whole, as where authors insert them as ids.

    A marker that is no token stays text. One may be a token with its white space (``[Q] ``) or without.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    for marker in markers:
        for token in (marker, marker.split(None, 1)[0]):
            if token in vocabulary:
                if tokenizer.encode(token, add_special_tokens=False).tokens != [token]:
                    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
                break


def _refuse_other_tokenizers(folder: ModelFolder, settings: Mapping[str, Any]) -> None:
    """Refuse what makes transformers use something else than tokenizer.json."""
    files = folder.tokenizer / "tokenizer_config.json", folder.path / "config.json"
    for file, given in zip(files, (settings, folder.config), strict=True):
        code = given.get("auto_map")
        if isinstance(code, list) or (isinstance(code, Mapping) and "AutoTokenizer" in code):
            raise CheckpointError(
                f"{file} names remote code for the tokenizer (auto_map: {code}), which is not executed."
            )
    names = settings.get("fast_tokenizer_files") or ()
    if any(name != "tokenizer.json" for name in names):
        raise CheckpointError(
            f"{folder.tokenizer} has tokenizers for several versions of transformers (fast_tokenizer_files: {names}). "
            "Keep the right one as tokenizer.json, and remove the key from tokenizer_config.json."
        )
    if settings.get("fix_mistral_regex") and folder.config.get("model_type") in _MISTRAL:
        raise CheckpointError(
            f"{folder.tokenizer} asks for another pre-tokenizer than tokenizer.json's (fix_mistral_regex), which is "
            "not supported. Save the tokenizer with it: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
        )


def truncation_side(tokenizer: FastTokenizer, settings: Mapping[str, Any]) -> str:
    """The side from which texts are truncated, from tokenizer_config.json, else tokenizer.json, else "right"."""
    own = (tokenizer.truncation or {}).get("direction", "right")
    return str(settings.get("truncation_side") or own).lower()


def has_token_types(folder: ModelFolder) -> bool:
    """Whether a model gets the token types that tokenizer.json makes: as its files say, else its tokenizer's class.

    Those of a class that only transformers 4 writes are followed (see ``has_ambiguous_token_types``).
    """
    names = folder.tokenizer_config.get("model_input_names")
    if isinstance(names, list):
        return "token_type_ids" in names
    name = class_name(folder, folder.tokenizer_config)
    return TOKENIZER_CLASSES.get(name, ANY_TOKENIZER).token_types or has_ambiguous_token_types(folder)


def has_ambiguous_token_types(folder: ModelFolder) -> bool:
    """Whether a folder has a class of transformers 4 whose token types transformers 5 does not give to the model."""
    named = "model_input_names" in folder.tokenizer_config
    return not named and class_name(folder, folder.tokenizer_config) == GENERIC_IN_4


def class_name(folder: ModelFolder, settings: Mapping[str, Any]) -> str:
    """The name of the tokenizer's class, without ``Fast``: tokenizer_config.json's, config.json's, the architecture's.

    Raises:
        CheckpointError: The name is not text.
    """
    given = settings.get("tokenizer_class") or folder.config.get("tokenizer_class")
    if given is not None and not isinstance(given, str):
        raise CheckpointError(f"{folder.tokenizer} gives tokenizer_class as {given!r}; it must be a name.")
    return tokenizer_class_name(str(folder.config.get("model_type")), given)


def bert_normalizer(settings: Mapping[str, Any], keys: Collection[str], own: BertNormalizer | None) -> BertNormalizer:
    """BERT's normalizer with the settings of case, accents and Chinese. Missing ones get transformers' defaults.

    Args:
        settings: tokenizer_config.json.
        keys: The keys that take precedence over ``own``.
        own: tokenizer.json's normalizer.
    """
    chinese = flag(settings, "tokenize_chinese_chars", True)
    if own is not None and "tokenize_chinese_chars" not in keys:
        chinese = own.handle_chinese_chars
    return BertNormalizer(
        clean_text=own is None or own.clean_text,
        handle_chinese_chars=bool(chinese),
        strip_accents=flag(settings, "strip_accents", None),
        lowercase=bool(flag(settings, "do_lower_case", True)),
    )


def with_prefix_space(pre_tokenizer: Any, space: bool) -> Any:
    """The pre-tokenizer, if it is for bytes with its own ``add_prefix_space`` replaced."""
    if not isinstance(pre_tokenizer, pre_tokenizers.ByteLevel):
        return pre_tokenizer
    return pre_tokenizers.ByteLevel(
        add_prefix_space=space, use_regex=pre_tokenizer.use_regex, trim_offsets=pre_tokenizer.trim_offsets
    )


def lowercase(tokenizer: FastTokenizer) -> None:
    """Lowercase texts first, unless the normalizer does, as sentence-transformers does for ``do_lower_case``."""
    steps = normalizer_steps(tokenizer.normalizer)
    if not any(isinstance(step, Lowercase) for step in steps):
        tokenizer.normalizer = Sequence([Lowercase(), *steps])


def normalizer_steps(normalizer: Any) -> list[Any]:
    """The normalizers of a sequence, the one alone, or none."""
    if isinstance(normalizer, Sequence):
        steps: Any = normalizer  # the type stubs do not know that it is iterable
        return list(steps)
    return [] if normalizer is None else [normalizer]


def flag(settings: Mapping[str, Any], key: str, default: bool | None) -> bool | None:
    """A setting that is true, false or null, which is like a missing one.

    Raises:
        CheckpointError: It is something else.
    """
    value = settings.get(key)
    if value is not None and not isinstance(value, bool):
        raise CheckpointError(f"tokenizer_config.json gives {key} as {value!r}; it must be true or false.")
    return default if value is None else value
