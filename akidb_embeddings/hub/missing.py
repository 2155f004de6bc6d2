"""The errors for models that are not on this machine, or cannot be downloaded: short, with the commands that help."""

import errno
import logging
import os
from pathlib import Path

from akidb_embeddings.checkpoint.integrity import snapshot_problem
from akidb_embeddings.errors import CheckpointError, DownloadError, EmbeddingError, ModelNotFoundError
from akidb_embeddings.hub import cache
from akidb_embeddings.hub.names import near_names, suggestion
from akidb_embeddings.hub.resolve import Source
from akidb_embeddings.registry import BUNDLED, AnySpec, RerankerSpec

# Of one option or argument of the caller's, so that it is left out where there is none.
_USE_BUNDLED = f"Or use {{model_name}} {BUNDLED}, which is bundled and works offline."
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

_log = logging.getLogger(__name__)


def is_offline() -> bool:
    """Whether the environment says that the hub must not be asked."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.lower() in ("1", "true", "yes", "on")


def endpoint() -> str:
    """The hub's address."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def not_found_error(source: Source[AnySpec], *, offline: bool) -> ModelNotFoundError:
    """The error for a model that is not on this machine and may not be downloaded."""
    snapshot = cache.snapshot_folder(source.repo, source.revision)
    problem = snapshot_problem(snapshot, is_known=source.spec is not None) if snapshot.is_dir() else ""
    places = [
        f"the bundle {source.bundle}" if source.bundle else "",
        f"the folder {Path(source.name).absolute()}" if "/" in source.name else "",
        f"the cache {source.folder.parent}",
        f"the Hugging Face cache {cache.hugging_face_cache()}"
        + (f", whose copy is not used: {problem}" if problem else ""),
    ]
    advice = "HF_HUB_OFFLINE is set, so the hub was not asked: unset it and run" if offline else "Run"
    text = f"Model {source.name!r} is not on this machine (searched {'; '.join(filter(None, places))})."
    text = f"{text} {advice} `{source.command}`. {_near(source)}"
    return ModelNotFoundError(text.rstrip(), hint=_way_out(source))


def download_error(source: Source[AnySpec], error: Exception) -> EmbeddingError:
    """This library's error for huggingface_hub's, with the remedy. The whole error is logged, for debugging."""
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RevisionNotFoundError

    _log.debug("The download of %s failed", source.repo, exc_info=error)
    status = getattr(getattr(error, "response", None), "status_code", None)
    where = f"{source.repo} at {endpoint()}"
    if isinstance(error, OfflineModeIsEnabled):  # HF_HUB_OFFLINE was set at huggingface_hub's import
        return not_found_error(source, offline=True)
    if isinstance(error, RevisionNotFoundError):
        return ModelNotFoundError(f"{where} has no revision {source.revision!r}; see its page for branches and tags")
    if isinstance(error, GatedRepoError):
        return ModelNotFoundError(f"{where} is gated: ask for access on its page, then set HF_TOKEN to your token")
    if status in (401, 403, 404):
        return ModelNotFoundError(
            f"{where} does not exist, or is private (status {status}): check the name; for a private repository set "
            f"HF_TOKEN to a token that may read it. {_near(source)}".rstrip()
        )
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        remedy = f"Free or allow space under {source.folder.parent}, or point AKIDB_CACHE_DIR elsewhere."
    else:
        remedy = f"Check the network or HF_ENDPOINT, then run `{source.command}`; finished files are kept."
    cause = f"status {status}" if status else _cause(error)
    text = f"Downloading {where} failed ({cause}). {remedy} {_near(source)}"
    return DownloadError(text.rstrip(), hint=_way_out(source))


def unusable_error(source: Source[AnySpec], missing: list[str]) -> CheckpointError:
    """The error for a repository that lacks required files."""
    return CheckpointError(
        f"{source.repo} has no {', '.join(missing)}. Weights are read from safetensors files only; "
        f"transformers' save_pretrained writes them. {_near(source)}".rstrip()
    )


def _near(source: Source[AnySpec]) -> str:
    """The known models that a repository may be, unless it is one of them."""
    return suggestion(near_names(source.name)) if source.spec is None else ""


def _way_out(source: Source[AnySpec]) -> str:
    """The hint to use the bundled embedding model, unless it is the one that is missing, or a reranker is wanted."""
    is_reranker = RerankerSpec in (source.kind, type(source.spec))
    return "" if source.name == BUNDLED or is_reranker else _USE_BUNDLED


def _cause(error: BaseException) -> str:
    """What the operating system says about the first error behind this one.

    The texts of HTTP clients in between have addresses with hashes, or nothing but the next one's.
    """
    kind, found = type(error).__name__, error
    while deeper := found.__cause__ or found.__context__:
        found = deeper
    reason = found.strerror if isinstance(found, OSError) else None
    return f"{kind}: {reason}" if reason else kind
