"""Which files of a repository on the hub make a model."""

from collections.abc import Collection
from fnmatch import fnmatchcase

from akidb_embeddings.checkpoint.integrity import missing_names
from akidb_embeddings.errors import DownloadError
from akidb_embeddings.hub import cache
from akidb_embeddings.hub.missing import endpoint, unusable_error
from akidb_embeddings.hub.resolve import Source
from akidb_embeddings.registry import AnySpec

_ALLOWED_FILES = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model", "LICENSE*", "README.md")
_ALLOWED_FILES_IN_FOLDERS = ("config.json", "model.safetensors", "tokenizer.json")
_IGNORED_FOLDERS = (".*", "onnx*", "openvino*", "checkpoint-*")
_TIMEOUT = 30.0  # seconds; huggingface_hub has its own timeout for files


def list_files(
    source: Source[AnySpec], *, revision: str | None = None, timeout: float = _TIMEOUT
) -> tuple[str, dict[str, int | None]]:
    """The commit that a revision stands for, and the sizes of the files that are downloaded, where the hub tells.

    Args:
        source: The model.
        revision: Another revision than the source's.
        timeout: How long to wait for an answer, in seconds.

    Raises:
        DownloadError: The answer is none of a hub.
        CheckpointError: The repository lacks required files.
        Exception: Whatever huggingface_hub raises if the hub does not answer.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    info = api.model_info(source.repo, revision=revision or source.revision, files_metadata=True, timeout=timeout)
    commit = info.sha or ""
    if not cache.COMMIT_HASH.fullmatch(commit):
        raise DownloadError(f"{endpoint()} does not give a commit of {source.repo}; is HF_ENDPOINT a Hugging Face hub?")
    sizes = {file.rfilename: file.size for file in info.siblings or () if _is_allowed(file.rfilename)}
    _check_listing(source, sizes)
    return commit, sizes


def _is_allowed(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    if "\\" in name or "/" in folder or name == cache.MANIFEST:
        return False
    if folder:
        return file in _ALLOWED_FILES_IN_FOLDERS and not any(
            fnmatchcase(folder, pattern) for pattern in _IGNORED_FOLDERS
        )
    return any(fnmatchcase(file, pattern) for pattern in _ALLOWED_FILES)


def _check_listing(source: Source[AnySpec], names: Collection[str]) -> None:
    if missing := missing_names(names):
        raise unusable_error(source, missing)
