"""The files of a converted model besides its weights: tokenizer, config.json, sentence-transformers' files.

A converted folder is self-contained: a missing final token is written into tokenizer.json here, and settings that only
the registry has are added by ``vector_settings`` and ``score_settings``.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE

_COPIED = (
    "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model", "LICENSE*",
    "NOTICE*", "chat_template.jinja",
)  # fmt: skip
_DESCRIPTIONS = ("modules.json", "sentence_*_config.json", PROMPTS_FILE, "*/config.json")


def copy_files(checkpoint: BaseCheckpoint, folder: Path) -> None:
    """Copy the tokenizer's and sentence-transformers' files.

    Args:
        checkpoint: The source.
        folder: The new folder.
    """
    for file in _matching_files(checkpoint.path, (*_COPIED, *_DESCRIPTIONS)):
        target = folder / file.relative_to(checkpoint.path)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
    if checkpoint.final_token is not None:
        # Here, since the tokenizers library takes time to load that ``akidb-embed --help`` does not need.
        from akidb_embeddings.tokenization.final_token import write_final_token

        write_final_token(folder / "tokenizer.json", checkpoint.final_token)


def write_config(
    checkpoint: BaseCheckpoint,
    folder: Path,
    quantization: Mapping[str, Any] | None,
    dtype: str | None,
    added: Mapping[str, Any],
) -> None:
    """Write config.json.

    Args:
        checkpoint: The source.
        folder: The new folder.
        quantization: Its ``quantization``; None for none.
        dtype: The dtype of the weights; None for the source's.
        added: Further entries.
    """
    config = {**checkpoint.config, **added}
    if quantization:
        config |= {"quantization": quantization, "quantization_config": quantization}
    if dtype:
        # transformers 5 writes dtype; both it and earlier versions read torch_dtype.
        config |= dict.fromkeys([key for key in ("dtype", "torch_dtype") if key in config] or ["torch_dtype"], dtype)
    write_json(folder / "config.json", config)


def write_json(path: Path, content: object) -> None:
    """Write indented JSON."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _matching_files(folder: Path, patterns: Iterable[str]) -> set[Path]:
    return {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
