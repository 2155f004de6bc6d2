"""What a folder says of token vectors, in the layouts of sentence-transformers' ``MultiVectorEncoder`` and of PyLate.

Queries and documents differ: in their prompts, which begin with a marker such as ``[Q] ``, in their limits, in that
short queries are expanded by mask tokens, and in that some tokens of documents, such as punctuation, have no vector.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.fields import FLAG, TEXT, Kind, check_fields, list_of, one_of, whole_from
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE, ModelFolder
from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.checkpoint.modules import (
    LATE,
    MULTI_VECTOR,
    MULTI_VECTOR_MASK,
    TOKEN_EMBEDDINGS,
    normalized,
)
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Architecture, Config

QUERY, DOCUMENT = "query", "document"
_MOST_WORDS = 10_000
_LONGEST_EXPANSION = 1 << 15
_WORDS = list_of(TEXT, _MOST_WORDS)
_LENGTHS: Mapping[str, Kind] = dict.fromkeys(("query_length", "document_length"), whole_from(1))
_DESCRIPTION: Mapping[str, Kind] = {
    **_LENGTHS,
    **dict.fromkeys(("query_prefix", "document_prefix"), TEXT),
    **dict.fromkeys(("do_query_expansion", "attend_to_expansion_tokens", "attend_to_mask_tokens"), FLAG),
    "skiplist_words": _WORDS,
}
_MASK: Mapping[str, Kind] = {"skiplist_words": _WORDS, "skiplist_tasks": list_of(one_of(QUERY, DOCUMENT), 2)}
_EXPANSION: Mapping[str, Kind] = {
    "strategy": one_of("fixed", "min"),
    "attend": FLAG,
    "length": whole_from(1, _LONGEST_EXPANSION),
    "token": TEXT,
}
_EXPANDED_LENGTH = 32  # of ColBERT's queries, where PyLate's files do not say
# How many special tokens a query has at least: a text of nothing else has them, too.
_SPECIAL_TOKENS = 2


@dataclass(frozen=True)
class Expansion:
    """The tokens after a short query, which have vectors like those of its words.

    Attributes:
        length: The length to which queries are expanded, in tokens.
        fixed: Whether longer queries are truncated to it.
        attend: Whether other tokens attend to them.
        token: The token; None for the tokenizer's mask token, or else the one that ends texts.
    """

    length: int
    fixed: bool
    attend: bool
    token: str | None


@dataclass(frozen=True)
class TokenVectors:
    """A vector of each token. It is a model's only output.

    Attributes:
        normalize: Whether the vectors have length 1.
        query_length: The largest number of tokens of a query; None for the encoder's limit.
        document_length: That of a document.
        expansion: How queries are expanded; None for not at all.
        skipped: Tokens that have no vector.
        skipped_in: Where they have none: in queries, in documents.
        markers: Prompts, or beginnings of prompts, that are tokens of their own.
    """

    normalize: bool
    query_length: int | None
    document_length: int | None
    expansion: Expansion | None
    skipped: tuple[str, ...]
    skipped_in: tuple[str, ...]
    markers: tuple[str, ...]


def read_token_vectors(folder: ModelFolder, config: Config, architecture: Architecture) -> TokenVectors | None:
    """What the folder says of token vectors; None if it makes others.

    Raises:
        CheckpointError: A setting is not supported.
    """
    if folder.layout is not LATE:
        return None
    description = folder.description
    check_fields(folder.path / PROMPTS_FILE, description, _DESCRIPTION)
    own = folder.transformer.settings
    check_fields(folder.path / folder.transformer.file, own, _LENGTHS)
    # Its first releases wrote no type.
    has_mask = any(step.kind == MULTI_VECTOR_MASK for step in folder.steps)
    is_pylate = description.get("model_type") != MULTI_VECTOR and not has_mask
    if is_pylate and not description:
        raise CheckpointError(
            f"{folder.path} makes token vectors, and lacks {PROMPTS_FILE}, which gives the markers of queries and "
            "documents: PyLate and sentence-transformers would make different vectors of it."
        )
    if others := [one for one in normalized(folder.steps) if one != TOKEN_EMBEDDINGS]:
        raise CheckpointError(f"{folder.path} normalizes {others[0]!r}, but makes token vectors.")
    skipped, skipped_in = _skipped(folder, is_pylate)
    settings = {**_pylate_settings(description), **own}
    expansion = _expansion(folder, settings.get("query_expansion"), config, architecture)
    prefixes = [description.get(f"{role}_prefix") or "" for role in (QUERY, DOCUMENT)]
    return TokenVectors(
        normalize=is_pylate or any(step.kind == "Normalize" for step in folder.steps),
        query_length=settings.get("query_length"),
        document_length=settings.get("document_length"),
        expansion=expansion,
        skipped=skipped,
        skipped_in=skipped_in,
        markers=tuple(prefix for prefix in prefixes if prefix.strip()),
    )


def with_markers(description: Mapping[str, Any]) -> dict[str, Any]:
    """The description with PyLate's markers, if it has them, before its prompts."""
    prompts = {name: text for name, text in (description.get("prompts") or {}).items() if text is not None}
    for role in (QUERY, DOCUMENT):
        if f"{role}_prefix" in description:
            prefix = description[f"{role}_prefix"] or ""
            prompts[role] = prefix + prompts.get(role, "").removeprefix(prefix)
    return {**description, "prompts": prompts}


def _pylate_settings(description: Mapping[str, Any]) -> dict[str, Any]:
    """PyLate's settings as sentence-transformers writes them; {} without any."""
    given = {name: description[name] for name in _LENGTHS if description.get(name) is not None}
    if "query_expansion" in description:
        return {**given, "query_expansion": description["query_expansion"]}
    if not description.keys() & _DESCRIPTION.keys():
        return given
    if description.get("do_query_expansion") is False:
        return {**given, "query_expansion": None}
    attend = description.get("attend_to_expansion_tokens", description.get("attend_to_mask_tokens"))
    length = given.pop("query_length", _EXPANDED_LENGTH)
    return {**given, "query_expansion": {"strategy": "fixed", "attend": bool(attend), "length": length}}


def _expansion(folder: ModelFolder, given: Any, config: Config, architecture: Architecture) -> Expansion | None:
    if given is None:
        return None
    file = folder.path / folder.transformer.file
    if not isinstance(given, Mapping) or given.keys() - _EXPANSION.keys() or not {"strategy", "length"} <= given.keys():
        raise CheckpointError(f"{file} gives query_expansion as {given!r:.200}, which is not supported.")
    check_fields(file, given, _EXPANSION)
    made = Expansion(given["length"], given["strategy"] == "fixed", bool(given.get("attend")), given.get("token"))
    if folder.tokenizer_config.get("padding_side") == "left":
        raise CheckpointError(f"{folder.path} expands queries, but pads on the left, which is not supported.")
    if not made.attend:
        _check_unattended(folder.path, made.length, config, architecture)
    return made


def _check_unattended(path: Path, length: int, config: Config, architecture: Architecture) -> None:
    """Refuse tokens that no other attends to where masks do not say so: masks of encoders are by lengths alone."""
    if not architecture.unattended(config):
        raise CheckpointError(
            f"{path} expands queries by tokens that no other attends to, which is not implemented for "
            f"{architecture.described(config)}."
        )
    name = "local_attention" if config.get("local_attention") is not None else "sliding_window"
    reach = config.get(name)
    if isinstance(reach, int) and length > reach // 2 + _SPECIAL_TOKENS:
        raise CheckpointError(
            f"{path} expands queries to {length} tokens; one that is attended to by none may be {reach // 2} tokens "
            f"from the others at most ({name})."
        )


def _skipped(folder: ModelFolder, is_pylate: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tokens without a vector, and where they have none."""
    if is_pylate:
        words = folder.description.get("skiplist_words")
        return tuple(string.punctuation if words is None else words), (DOCUMENT,)
    files = [step.folder / "config.json" for step in folder.steps if step.kind == MULTI_VECTOR_MASK]
    if not files:
        return (), ()
    settings = read_json(files[0])
    check_fields(files[0], settings, _MASK)
    if settings.get("keep_only_token_ids"):
        raise CheckpointError(f"{files[0]} keeps the vectors of some tokens alone (keep_only_token_ids), of images.")
    tasks = settings.get("skiplist_tasks")
    return tuple(settings.get("skiplist_words") or ()), tuple([DOCUMENT] if tasks is None else tasks)
