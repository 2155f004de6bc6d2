"""The files of a converted model beside its weights: tokenizer, config.json, and what sentence-transformers reads.

A converted folder has to stand alone: what only the registry knows of a model (pooling, prompts, limit, dimensions
it may be cut to) is written down where the folder's own files are silent.
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
# A longer list is a range, and what may be cut anywhere says that much in one word.
_MOST_DIMENSIONS = 64


def write_files(
    checkpoint: Checkpoint,
    spec: ModelSpec | None,
    folder: Path,
    quantization: Mapping[str, Any] | None,
    dtype: str | None,
) -> None:
    """Write everything but the weights to ``folder``; ``spec`` is the registry's entry for the source, if there is."""
    for file in _matching(checkpoint.path, (*_COPIED, *_DESCRIPTIONS)):
        target = folder / file.relative_to(checkpoint.path)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
    config = dict(checkpoint.config)
    if quantization:
        config |= {"quantization": quantization, "quantization_config": quantization}
    if dtype:
        # Since release 5 transformers writes dtype; both it and earlier ones read torch_dtype.
        config |= dict.fromkeys([key for key in ("dtype", "torch_dtype") if key in config] or ["torch_dtype"], dtype)
    if spec:
        config |= _matryoshka(config, spec)
        _write_pooling(checkpoint, folder)
        _write_prompts(checkpoint, folder)
        _write_limit(checkpoint, spec, folder)
    write_json(folder / "config.json", config)


def write_json(path: Path, content: object) -> None:
    """JSON as people read it."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _matching(folder: Path, patterns: Iterable[str]) -> set[Path]:
    return {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}


def _matryoshka(config: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """config.json's keys for the dimensions that vectors may be cut to, as other libraries write them."""
    dimensions = list(spec.matryoshka)
    normed = {"matryoshka_layer_norm": True} if spec.matryoshka_layer_norm else {}
    if not dimensions or "matryoshka_dimensions" in config:
        return normed
    if len(dimensions) <= _MOST_DIMENSIONS:
        return {"is_matryoshka": True, "matryoshka_dimensions": dimensions, **normed}
    return {"is_matryoshka": True, "matryoshka_minimum": min(dimensions), **normed}


def _write_pooling(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a pooling step and its config.json, where they are missing and pooling is known."""
    source = checkpoint.folder
    if checkpoint.pooling is None or source.pooling:
        return
    pooling = next((step.folder.relative_to(source.path) for step in source.steps if step.kind == "Pooling"), None)
    if pooling is None:
        modules = _modules(checkpoint)
        write_json(folder / "modules.json", modules)
        pooling = next(Path(module["path"]) for module in modules if module["type"].endswith(".Pooling"))
    flags = {mode.flag: pooling == checkpoint.pooling for pooling, mode in POOLING_MODES.items()}
    width = checkpoint.dense[0].inputs if checkpoint.dense else checkpoint.dimension
    write_json(folder / pooling / "config.json", {"word_embedding_dimension": width, **flags, "include_prompt": True})


def _modules(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """modules.json with what the checkpoint computes; modules that have a folder keep it."""
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
    """Write the prompts in force, where the folder has none or fewer."""
    description = checkpoint.folder.description
    if checkpoint.prompts and description.get("prompts") != checkpoint.prompts:
        write_json(folder / PROMPTS_FILE, {**description, "prompts": dict(checkpoint.prompts)})


def _write_limit(checkpoint: Checkpoint, spec: ModelSpec, folder: Path) -> None:
    """Write the authors' limit of tokens, where the folder sets none."""
    transformer = checkpoint.folder.transformer
    if spec.max_tokens is not None and transformer.max_seq_length is None:
        write_json(folder / transformer.file, {**transformer.settings, "max_seq_length": spec.max_tokens})
