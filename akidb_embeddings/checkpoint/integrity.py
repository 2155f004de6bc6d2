"""Checks that a folder contains a complete model or adapter: no file is missing or damaged."""

from collections.abc import Collection
from pathlib import Path

from akidb_embeddings.checkpoint.adapter_config import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from akidb_embeddings.checkpoint.modules import STATIC, read_modules, static_folder
from akidb_embeddings.checkpoint.safetensors import pickle_hint, read_header, weight_files
from akidb_embeddings.errors import CheckpointError


def missing_names(names: Collection[str]) -> list[str]:
    """The names of required files that a repository with files of these names lacks: a model's, or an adapter's."""
    if _is_adapter(names):
        return [] if ADAPTER_WEIGHTS in names else [ADAPTER_WEIGHTS]
    static = [name.rpartition("/")[0] for name in names if name.endswith(f"_{STATIC}/model.safetensors")]
    if static and "modules.json" in names:
        return [name for name in (f"{static[0]}/tokenizer.json",) if name not in names]
    # Some static models have no config.json, which their modules.json tells once it is downloaded.
    required = ("tokenizer.json",) if "modules.json" in names else ("config.json", "tokenizer.json")
    missing = [name for name in required if name not in names]
    has_weights = any(name.endswith(".safetensors") and "/" not in name for name in names)
    return missing if has_weights else [*missing, "model.safetensors"]


def _is_adapter(names: Collection[str]) -> bool:
    """Whether files with these names are an adapter's to another model, and not a model's."""
    return ADAPTER_CONFIG in names and not {"model.safetensors", "model.safetensors.index.json"} & set(names)


def missing_files(folder: Path) -> list[str]:
    """The names of required files that a folder lacks: configuration, tokenizer, weights; or an adapter's.

    Raises:
        CheckpointError: The index of the weights cannot be read.
    """
    if _is_adapter({file.name for file in folder.glob("*")}):
        return [] if (folder / ADAPTER_WEIGHTS).is_file() else [ADAPTER_WEIGHTS]
    static = static_folder(folder)
    needed = [folder / "config.json", folder / "tokenizer.json", *weight_files(folder)]
    if static is not None:
        needed = [static / "tokenizer.json", static / "model.safetensors"]
    return [file.relative_to(folder).as_posix() for file in needed if not file.is_file()]


def check_model(folder: Path, remedy: str) -> None:
    """Check that no file of the folder of a model or adapter is missing or damaged.

    Args:
        folder: The model folder.
        remedy: What to do about it, the end of error messages.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    missing = missing_files(folder)
    if missing:
        hint = pickle_hint(folder, folder) if "model.safetensors" in missing else ""
        raise CheckpointError(f"{folder} is not a complete model: it has no {', '.join(missing)}; {remedy}{hint}")
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("[0-9]*_*/model.safetensors")]):
        read_header(path, remedy)


def snapshot_problem(snapshot: Path, *, is_known: bool) -> str:
    """Why a snapshot of the Hugging Face cache cannot be used; "" if it can.

    Other libraries download single files. A snapshot without the files for pooling and dense layers would load but give
    wrong vectors, and one without a reranker's activation wrong scores. So the modules must be listed, unless the
    registry knows what they say, or there is a README.md, which shows that the whole repository was downloaded. The
    files of listed modules must exist.

    Args:
        snapshot: The folder.
        is_known: Whether the registry has an entry for the model, and so knows its pooling or activation.
    """
    try:
        missing = missing_files(snapshot) or _missing_modules(snapshot, is_known)
        if not missing:
            check_model(snapshot, "remove it from the Hugging Face cache")
    except CheckpointError as error:
        return str(error)
    return f"incomplete, without {', '.join(missing)}" if missing else ""


def _missing_modules(snapshot: Path, is_known: bool) -> list[str]:
    path = snapshot / "modules.json"
    if not path.is_file():
        return [] if is_known or (snapshot / "README.md").is_file() else [path.name]
    needs = {
        "Dense": ("config.json", "model.safetensors"),
        "Pooling": () if is_known else ("config.json",),
        "LogitScore": ("config.json",),
    }
    modules = [(kind.rpartition(".")[2], name) for kind, name in read_modules(snapshot)]
    needed = [f"{folder}/{file}" for kind, folder in modules for file in needs.get(kind, ())]
    return [name for name in needed if not (snapshot / name).is_file()]
