"""The token that ends every text for last-token pooling, where a conversion dropped what appends it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as FastTokenizer
from tokenizers.processors import PostProcessor, Sequence, TemplateProcessing

from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.errors import CheckpointError


def ends_texts(tokenizer: FastTokenizer) -> bool:
    """Whether the tokenizer appends a token to every text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    return tokenizer.encode("a").ids[-1:] != plain[-1:]


def appended_post_processor(tokenizer: FastTokenizer, token: str) -> dict[str, Any]:
    """tokenizer.json's ``post_processor`` with ``token`` appended.

    Raises:
        CheckpointError: The tokenizer has no such token.
    """
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise CheckpointError(f"The tokenizer lacks the token {token!r}, which must end this model's texts.")
    # Two templates in a sequence are not implemented in the tokenizers library, so an existing one is extended.
    existing: PostProcessor | None = tokenizer.post_processor
    own: dict[str, Any] = {"type": "Sequence", "processors": []}
    if existing is not None:
        own = json.loads(existing.__getstate__())
    parts: list[dict[str, Any]] = own["processors"] if own["type"] == "Sequence" else [own]
    templates = [part for part in parts if part["type"] == "TemplateProcessing"]
    template = templates[-1] if templates else _template()
    for form, type_id in (("single", 0), ("pair", 1)):
        template[form].append({"SpecialToken": {"id": token, "type_id": type_id}})
    template["special_tokens"][token] = {"id": token, "ids": [token_id], "tokens": [token]}
    parts = parts if templates else [*parts, template]
    return parts[0] if len(parts) == 1 else {"type": "Sequence", "processors": parts}


def write_final_token(file: Path, token: str) -> None:
    """Write ``token`` into a tokenizer.json that appends none.

    Raises:
        CheckpointError: The tokenizer has no such token.
    """
    tokenizer = FastTokenizer.from_file(str(file))
    tokenizer.no_padding()  # padding would look like an appended token
    tokenizer.no_truncation()
    if not ends_texts(tokenizer):
        content = read_json(file) | {"post_processor": appended_post_processor(tokenizer, token)}
        file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def post_processor(content: Mapping[str, Any]) -> PostProcessor:
    """A template or a sequence from its form in tokenizer.json."""
    made: PostProcessor = Sequence([]) if content["type"] == "Sequence" else TemplateProcessing("$A", "$A $B", [])
    made.__setstate__(json.dumps(content).encode())
    return made


def _template() -> dict[str, Any]:
    """A template that adds nothing."""
    first, second = ({"Sequence": {"id": name, "type_id": index}} for index, name in enumerate("AB"))
    return {"type": "TemplateProcessing", "single": [first], "pair": [first, second], "special_tokens": {}}
