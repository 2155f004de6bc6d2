"""The tokens that a folder's files add to tokenizer.json, as transformers collects them.

``tokenizer_config.json`` has ``added_tokens_decoder``, the special tokens by key, ``additional_special_tokens`` and
``extra_special_tokens``. Without ``added_tokens_decoder``, ``special_tokens_map.json`` and ``added_tokens.json`` count
too, as in folders of earlier releases.
"""

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from akidb_embeddings.checkpoint.folder import ModelFolder
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.tokenizer_classes import SPECIAL_TOKENS, TokenizerClass

Token = str | AddedToken
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_LISTS = ("extra_special_tokens", "additional_special_tokens")


def tokenizer_settings(folder: ModelFolder) -> dict[str, Any]:
    """tokenizer_config.json, with special_tokens_map.json where transformers reads it too.

    Raises:
        CheckpointError: A token is neither text nor an object with ``content``.
    """
    settings = {key: _token_value(key, value) for key, value in folder.tokenizer_config.items()}
    if "added_tokens_decoder" in settings:
        return settings
    for key, value in folder.special_tokens_map.items():
        if key in _LISTS and isinstance(value, list):
            given = settings.get(key) or []
            known = {text_of(token) for token in given}
            found = [_token(key, token, special=True) for token in value]
            settings[key] = [*given, *(token for token in found if text_of(token) not in known)]
        else:
            settings[key] = _token(key, value, special=True) if isinstance(value, Mapping) else value
    return settings


def tokens_to_add(
    tokenizer: FastTokenizer, folder: ModelFolder, settings: Mapping[str, Any], kind: TokenizerClass
) -> list[AddedToken]:
    """The tokens that ``tokenizer`` lacks or has with other flags, in the order in which they get their ids.

    Args:
        tokenizer: tokenizer.json.
        folder: The folder.
        settings: The result of ``tokenizer_settings``.
        kind: The folder's tokenizer class.

    Raises:
        CheckpointError: A token is neither text nor an object with ``content``.
    """
    own = tokenizer.get_added_tokens_decoder()
    decoder = _decoder(folder, settings, own)
    known = {token.content: token for token in decoder.values()}
    special = [
        *named_tokens({**settings, **_known(settings, known)}, kind, tokenizer).values(),
        *extra_tokens(settings),
    ]
    same = {repr(token) for token in own.values()}
    added: list[Token] = [token for _, token in sorted(decoder.items()) if repr(token) not in same]
    present = {token.content for token in own.values()} | {text_of(token) for token in added}
    names = {text_of(token) for token in special}
    for token in special:
        # A token with flags of its own replaces the same one of tokenizer.json, one without leaves it.
        if (isinstance(token, AddedToken) and repr(token) not in same) or text_of(token) not in present:
            added.append(token)
            present.add(text_of(token))
    return [_with_special(token, names) for token in added]


def named_tokens(settings: Mapping[str, Any], kind: TokenizerClass, tokenizer: FastTokenizer) -> dict[str, Token]:
    """The special tokens by key: from the settings, else those of the class. A null leaves a key out."""
    padding = {"pad_token": tokenizer.padding["pad_token"]} if tokenizer.padding else {}
    tokens: dict[str, Token] = {}
    for key in SPECIAL_TOKENS:
        token = settings.get(key, {**padding, **kind.special_tokens}.get(key))
        if isinstance(token, str):
            flags = kind.flags.get(key, kind.flags.get("", {}))
            tokens[key] = AddedToken(token, **flags) if flags else token
        elif token is not None:
            tokens[key] = _token(key, token)
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens")
    if isinstance(extra, Mapping):
        tokens |= {str(key): _token(str(key), token) for key, token in extra.items()}
    return tokens


def extra_tokens(settings: Mapping[str, Any]) -> list[Token]:
    """``extra_special_tokens``, or ``additional_special_tokens``, its name before transformers 5."""
    for key in _LISTS:
        tokens = settings.get(key)
        if isinstance(tokens, list) and tokens:
            return [_token(key, token) for token in tokens]
    return []


def _decoder(folder: ModelFolder, settings: Mapping[str, Any], own: Mapping[int, AddedToken]) -> dict[int, AddedToken]:
    """Added tokens by id. The ids give only the order: an added token gets the next free id."""
    given = settings.get("added_tokens_decoder")
    if given is None and "added_tokens_decoder" not in settings:
        special = {text_of(settings[key]) for key in SPECIAL_TOKENS if settings.get(key)}
        special |= {text_of(token) for token in extra_tokens(settings)}
        added = {
            _id(index): AddedToken(token, normalized=token not in special, special=token in special)
            for token, index in folder.added_tokens.items()
        }
        return added | dict(own)
    if not isinstance(given, Mapping):
        raise CheckpointError(f"tokenizer_config.json gives added_tokens_decoder as {given!r}; it must be an object.")
    return {_id(index): _added_token("added_tokens_decoder", token) for index, token in given.items()}


def _known(settings: Mapping[str, Any], known: Mapping[str, AddedToken]) -> dict[str, Token]:
    """The special tokens of the settings that are known with their flags."""
    given = {key: settings[key] for key in SPECIAL_TOKENS if settings.get(key) is not None}
    return {key: known[text_of(token)] for key, token in given.items() if text_of(token) in known}


def _id(index: Any) -> int:
    try:
        return int(index)
    except (TypeError, ValueError):
        raise CheckpointError(f"An added token has the id {index!r}; it must be an integer.") from None


def _with_special(token: Token, names: set[str]) -> AddedToken:
    if isinstance(token, str):
        return AddedToken(token, special=token in names)
    flags = {flag: getattr(token, flag) for flag in _FLAGS}
    return AddedToken(token.content, **flags | {"special": token.special or token.content in names})


def text_of(token: Any) -> str:
    """A token's text, whether it has flags or not."""
    return token.content if isinstance(token, AddedToken) else str(token)


def _token_value(key: str, value: Any) -> Any:
    """A value of tokenizer_config.json, with objects of type ``AddedToken`` read."""
    return _token(key, value) if isinstance(value, Mapping) and value.get("__type") == "AddedToken" else value


def _token(key: str, token: Any, *, special: bool = False) -> Token:
    if isinstance(token, str | AddedToken):
        return token
    if special or (isinstance(token, Mapping) and token.get("__type") == "AddedToken"):
        return _added_token(key, token, **({"special": True} if special else {}))
    raise CheckpointError(f"The tokenizer's {key} is {token!r}; it must be text or an AddedToken.")


def _added_token(key: str, token: Any, **flags: bool) -> AddedToken:
    content = token.get("content") if isinstance(token, Mapping) else None
    given = {flag: token[flag] for flag in _FLAGS if flag in token} if isinstance(content, str) else {}
    if not isinstance(content, str) or not all(isinstance(value, bool) for value in given.values()):
        raise CheckpointError(f"The tokenizer's {key} has {token!r}; a token has content and flags that are booleans.")
    return AddedToken(content, **given | flags)
