"""The JSON files of a model folder, each read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.fields import FLAG, LENGTH, TEXT, TEXTS, Kind, check_fields, one_of
from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.checkpoint.modules import (
    PROMPTS_FILE as PROMPTS_FILE,
)
from akidb_embeddings.checkpoint.modules import (
    Layout,
    Step,
    TransformerSettings,
    layout_of,
    read_steps,
    trained_pooling,
    transformer_settings,
)

# Bytes in memory for each byte of tokenizer.json, at most: 21 were measured for WordPiece, 18 for Unigram, 9 for BPE.
_TOKENIZER_MEMORY = 21
_DESCRIPTION: Mapping[str, Kind] = {"prompts": TEXTS, "default_prompt_name": TEXT, "activation_fn": TEXT}
_TOKENIZER: Mapping[str, Kind] = {
    "model_max_length": LENGTH,
    "truncation_side": one_of("left", "right"),
    "tokenizer_class": TEXT,
    **dict.fromkeys(("do_lower_case", "strip_accents", "tokenize_chinese_chars"), FLAG),
    **dict.fromkeys(("split_special_tokens", "add_prefix_space", "add_bos_token", "add_eos_token"), FLAG),
}


@dataclass(frozen=True)
class ModelFolder:
    """The JSON files of a model folder, not completed from the registry or the architecture.

    Attributes:
        path: The folder.
        config: config.json.
        has_modules: Whether there is a modules.json; if not, ``steps`` are derived from the subfolders.
        steps: The sentence-transformers modules, in order.
        transformer: The settings in sentence_bert_config.json.
        pooling: The pooling module's strategy; None if it has no config.json.
        description: config_sentence_transformers.json; {} if there is none.
        tokenizer_config: tokenizer_config.json; {} if there is none.
        special_tokens_map: special_tokens_map.json; {} if there is none.
        added_tokens: added_tokens.json, tokens and their ids; {} if there is none.
    """

    path: Path
    config: Mapping[str, Any]
    has_modules: bool
    steps: tuple[Step, ...]
    transformer: TransformerSettings
    pooling: str | None
    description: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    special_tokens_map: Mapping[str, Any]
    added_tokens: Mapping[str, Any]


def tokenizer_bytes(path: Path) -> int:
    """About how much memory the tokenizer of the folder ``path`` takes, once loaded."""
    file = path / "tokenizer.json"
    return _TOKENIZER_MEMORY * file.stat().st_size if file.is_file() else 0


def read_folder(path: Path, layout: Layout | None = None) -> ModelFolder:
    """Read the JSON files of a model folder.

    Args:
        path: The folder.
        layout: What its sentence-transformers files may say; None for what those of the kind of vectors may that it
            makes.

    Raises:
        CheckpointError: A file is missing or damaged, or has a setting that this library does not support.
    """
    config = read_json(path / "config.json", required=True)
    layout = layout or layout_of(path)
    steps = read_steps(path, layout)
    return ModelFolder(
        path=path,
        config=config,
        has_modules=(path / "modules.json").is_file(),
        steps=tuple(steps),
        transformer=transformer_settings(path, layout),
        pooling=trained_pooling(steps),
        description=_checked(path / PROMPTS_FILE, _DESCRIPTION),
        tokenizer_config=_checked(path / "tokenizer_config.json", _TOKENIZER),
        special_tokens_map=read_json(path / "special_tokens_map.json"),
        added_tokens=read_json(path / "added_tokens.json"),
    )


def _checked(file: Path, kinds: Mapping[str, Kind]) -> Mapping[str, Any]:
    content: Mapping[str, Any] = read_json(file)
    check_fields(file, content, kinds)
    return content
