"""The files of a converted model besides its weights: tokenizer, config.json, sentence-transformers' files.

A converted folder is self-contained: settings that only the registry has (pooling, prompts, maximum length, Matryoshka
dimensions) are added where the source's files lack them, and a missing final token is written into tokenizer.json.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE
from akidb_embeddings.registry import ModelSpec
from akidb_embeddings.registry.poolings import POOLING_MODES

_COPIED = (
    "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model", "LICENSE*",
    "NOTICE*",
)  # fmt: skip
_DESCRIPTIONS = ("modules.json", "sentence_*_config.json", PROMPTS_FILE, "*/config.json")
# A longer list is a range, of which only the minimum is written.
_MAX_LISTED_DIMENSIONS = 64


def write_files(
    checkpoint: Checkpoint,
    spec: ModelSpec | None,
    folder: Path,
    quantization: Mapping[str, Any] | None,
    dtype: str | None,
) -> None:
    """Write all files except the weights.

    Args:
        checkpoint: The source.
        spec: The source's entry in the registry, if it has one.
        folder: The new folder.
        quantization: config.json's ``quantization``; None for none.
        dtype: The dtype of the weights; None for the source's.
    """
    for file in _matching_files(checkpoint.path, (*_COPIED, *_DESCRIPTIONS)):
        target = folder / file.relative_to(checkpoint.path)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
    if checkpoint.final_token is not None:
        # Here, since the tokenizers library takes time to load that ``akidb-embed --help`` does not need.
        from akidb_embeddings.checkpoint.final_token import write_final_token

        write_final_token(folder / "tokenizer.json", checkpoint.final_token)
    config = dict(checkpoint.config)
    if quantization:
        config |= {"quantization": quantization, "quantization_config": quantization}
    if dtype:
        # transformers 5 writes dtype; both it and earlier versions read torch_dtype.
        config |= dict.fromkeys([key for key in ("dtype", "torch_dtype") if key in config] or ["torch_dtype"], dtype)
    if spec:
        config |= _matryoshka(config, spec)
        _write_pooling(checkpoint, folder)
        _write_prompts(checkpoint, folder)
        _write_limit(checkpoint, spec, folder)
    write_json(folder / "config.json", config)


def write_json(path: Path, content: object) -> None:
    """Write indented JSON."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _matching_files(folder: Path, patterns: Iterable[str]) -> set[Path]:
    return {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}


def _matryoshka(config: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """config.json's keys for the Matryoshka dimensions, as other libraries write them."""
    dimensions = list(spec.matryoshka)
    layer_norm = {"matryoshka_layer_norm": True} if spec.matryoshka_layer_norm else {}
    if not dimensions or "matryoshka_dimensions" in config:
        return layer_norm
    if len(dimensions) <= _MAX_LISTED_DIMENSIONS:
        return {"is_matryoshka": True, "matryoshka_dimensions": dimensions, **layer_norm}
    return {"is_matryoshka": True, "matryoshka_minimum": min(dimensions), **layer_norm}


def _write_pooling(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the pooling module and its config.json if they are missing and the pooling is known."""
    source = checkpoint.folder
    if checkpoint.pooling is None or source.pooling:
        return
    pooling_folders = [step.folder.relative_to(source.path) for step in source.steps if step.kind == "Pooling"]
    if not pooling_folders:
        modules = _modules(checkpoint)
        write_json(folder / "modules.json", modules)
        pooling_folders = [Path(module["path"]) for module in modules if module["type"].endswith(".Pooling")]
    flags = {mode.flag: pooling == checkpoint.pooling for pooling, mode in POOLING_MODES.items()}
    width = checkpoint.dense[0].inputs if checkpoint.dense else checkpoint.dimension
    write_json(
        folder / pooling_folders[0] / "config.json",
        {"word_embedding_dimension": width, **flags, "include_prompt": True},
    )


def _modules(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """The modules.json of the checkpoint. Modules that have a folder keep it."""
    kinds = ["Transformer", "Pooling", *["Dense"] * len(checkpoint.dense), *["Normalize"] * checkpoint.normalize]
    present = [step for step in checkpoint.folder.steps if step.kind != "Transformer"]
    modules = []
    for index, kind in enumerate(kinds):
        found = next((step for step in present if step.kind == kind), None)
        if found:
            present.remove(found)
        path = found.folder.name if found else f"{index}_{kind}" if index else ""
        module = {"idx": index, "name": str(index), "path": path}
        modules.append(module | {"type": f"sentence_transformers.models.{kind}"})
    return modules


def _write_prompts(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the effective prompts if the folder has none or fewer."""
    description = checkpoint.folder.description
    if checkpoint.prompts and description.get("prompts") != checkpoint.prompts:
        write_json(folder / PROMPTS_FILE, {**description, "prompts": dict(checkpoint.prompts)})


def _write_limit(checkpoint: Checkpoint, spec: ModelSpec, folder: Path) -> None:
    """Write the authors' maximum length if the folder has none."""
    transformer = checkpoint.folder.transformer
    if spec.max_tokens is not None and transformer.max_seq_length is None:
        write_json(folder / transformer.file, {**transformer.settings, "max_seq_length": spec.max_tokens})
