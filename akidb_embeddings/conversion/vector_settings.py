"""What only the registry knows of a model that makes vectors, written into its converted folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE
from akidb_embeddings.conversion.folder_writer import write_json
from akidb_embeddings.registry import ModelSpec
from akidb_embeddings.registry.poolings import POOLING_MODES

# A longer list is a range, of which only the minimum is written.
_MAX_LISTED_DIMENSIONS = 64


def write_vector_settings(checkpoint: Checkpoint, spec: ModelSpec, folder: Path) -> dict[str, Any]:
    """Write pooling, prompts and maximum length where the source's files lack them.

    Args:
        checkpoint: The source.
        spec: Its entry in the registry.
        folder: The new folder, with the source's files.

    Returns:
        What config.json gets.
    """
    _write_pooling(checkpoint, folder)
    _write_prompts(checkpoint, folder)
    _write_limit(checkpoint, spec, folder)
    return _matryoshka(checkpoint.config, spec)


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
