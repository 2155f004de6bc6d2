"""The JSON files of a model folder, each read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.adapter_config import refuse_adapter
from akidb_embeddings.checkpoint.fields import FLAG, LENGTH, TEXT, TEXTS, Kind, check_fields, one_of
from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.checkpoint.modules import (
    PROMPTS_FILE as PROMPTS_FILE,
)
from akidb_embeddings.checkpoint.modules import (
    STATIC,
    Layout,
    Step,
    TransformerSettings,
    layout_of,
    read_steps,
    trained_pooling,
    transformer_settings,
)
from akidb_embeddings.checkpoint.static import read_config
from akidb_embeddings.registry.architectures import MODEL2VEC, STATIC_EMBEDDING

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
        layout: The kind of model that its sentence-transformers files, or an adapter's, describe.
        has_modules: Whether there is a modules.json; if not, ``steps`` are derived from the subfolders.
        steps: The sentence-transformers modules, in order.
        transformer: The settings in sentence_bert_config.json.
        pooling: The pooling module's strategy; None if it has no config.json.
        description: config_sentence_transformers.json; {} if there is none.
        tokenizer_config: tokenizer_config.json; {} if there is none.
        special_tokens_map: special_tokens_map.json; {} if there is none.
        added_tokens: added_tokens.json, tokens and their ids; {} if there is none.
        tokenizer: The folder of tokenizer.json and the files beside it.
        adapter: The folder of an adapter to the model; None if there is none.
    """

    path: Path
    config: Mapping[str, Any]
    layout: Layout
    has_modules: bool
    steps: tuple[Step, ...]
    transformer: TransformerSettings
    pooling: str | None
    description: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    special_tokens_map: Mapping[str, Any]
    added_tokens: Mapping[str, Any]
    tokenizer: Path
    adapter: Path | None = None

    @property
    def encoder(self) -> Path:
        """The folder of the encoder's weights; of a static model's, also of its tokenizer."""
        first = self.steps[0]
        return first.folder if first.kind == STATIC else self.path


def tokenizer_bytes(path: Path) -> int:
    """About how much memory the tokenizer of the folder ``path`` takes, once loaded."""
    files = [path / "tokenizer.json", *path.glob(f"*_{STATIC}/tokenizer.json")]
    return _TOKENIZER_MEMORY * sum(file.stat().st_size for file in files if file.is_file())


def read_folder(path: Path, layout: Layout | None = None, adapter: Path | None = None) -> ModelFolder:
    """Read the JSON files of a model folder.

    An adapter's folder with sentence-transformers files says what comes before and after the encoder that it was
    trained in, such as limits and pooling. These files and the tokenizer beside them then take the place of the
    model's, as in sentence-transformers.

    Args:
        path: The folder.
        layout: What its sentence-transformers files may say; None for what those of the kind of vectors may that it
            makes.
        adapter: The folder of an adapter to the model; None if there is none.

    Raises:
        CheckpointError: A file is missing or damaged, or has a setting that this library does not support.
    """
    refuse_adapter(path)
    config = read_config(path)
    described = adapter if adapter is not None and (adapter / "modules.json").is_file() else path
    tokenizer = described if (described / "tokenizer.json").is_file() else path
    layout = layout or layout_of(described)
    steps = read_steps(described, layout)
    is_static = config.get("model_type") in (MODEL2VEC, STATIC_EMBEDDING)  # these read tokenizer.json alone
    return ModelFolder(
        path=path,
        config=config,
        layout=layout,
        has_modules=(described / "modules.json").is_file(),
        steps=tuple(steps),
        transformer=transformer_settings(described, layout),
        pooling=trained_pooling(steps),
        description=_checked(described / PROMPTS_FILE, _DESCRIPTION),
        tokenizer_config={} if is_static else _checked(tokenizer / "tokenizer_config.json", _TOKENIZER),
        special_tokens_map={} if is_static else read_json(tokenizer / "special_tokens_map.json"),
        added_tokens={} if is_static else read_json(tokenizer / "added_tokens.json"),
        tokenizer=tokenizer,
        adapter=adapter,
    )


def _checked(file: Path, kinds: Mapping[str, Kind]) -> Mapping[str, Any]:
    content: Mapping[str, Any] = read_json(file)
    check_fields(file, content, kinds)
    return content
