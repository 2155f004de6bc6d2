"""The examination of what is configured: the settings, the models and their cache."""

import os
import shutil
from pathlib import Path

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.model import DEFAULT, ModelConfig
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.diagnostics.findings import Result
from akidb_embeddings.hub.adapters import find_adapter
from akidb_embeddings.hub.cache import get_cache_dir
from akidb_embeddings.hub.download import list_cached_models
from akidb_embeddings.hub.resolve import find_files, find_model
from akidb_embeddings.registry import SPECS, RerankerSpec

_LITTLE_DISK = 1e9
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def examine_configuration(path: str | Path | None) -> Result:
    """Read every section, and tell what is set where.

    Args:
        path: The configuration file; None for the default one.
    """
    embedding, reranker = EmbeddingConfig.resolve(None, path), RerankConfig.resolve(None, path)
    sources = _given(embedding) | {f"rerank: {name}": source for name, source in _given(reranker).items()}
    files = ", ".join(sorted(set(sources.values())))
    return Result("ok", f"{', '.join(sources)} from {files}" if sources else "all defaults")


def has_reranker(path: str | Path | None) -> bool:
    """Whether a reranker is configured."""
    return bool(_given(RerankConfig.resolve(None, path)))


def examine_model(path: str | Path | None) -> Result:
    """Check that the configured embedding model is on this machine and supports the configuration."""
    from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
    from akidb_embeddings.checkpoint.settings import apply_config

    config = EmbeddingConfig.resolve(None, path)
    files = find_model(config.model_name, revision=config.revision, cache_dir=config.cache_dir)
    if files is None:
        return _not_here(config.model_name, config.revision, config.auto_download)
    adapter = None
    if config.adapter is not None:
        adapter = find_adapter(config.adapter, revision=config.adapter_revision, cache_dir=config.cache_dir)
        if adapter is None:
            return _not_here(config.adapter, config.adapter_revision, config.auto_download)
    checkpoint = read_checkpoint(files.path, files.spec, adapter)
    settings = apply_config(config, checkpoint)
    text = f"{config.model_name} ({files.origin}): {settings.dimensions} dimensions, {settings.pooling} pooling"
    text += f", with the adapter {config.adapter}" if config.adapter else ""
    if checkpoint.architecture.computed_by:
        text += f", {checkpoint.config['model_type']} through {checkpoint.architecture.computed_by}"
    return Result("ok", ", ".join([text, *_offline()]))


def examine_reranker(path: str | Path | None) -> Result:
    """The same for the configured reranker."""
    from akidb_embeddings.checkpoint.reranker import read_reranker
    from akidb_embeddings.reranking.resources import choose_limit, choose_prompt

    config = RerankConfig.resolve(None, path)
    files = find_files(config.model_name, config.revision, config.cache_dir, RerankerSpec)
    if files is None:
        return _not_here(config.model_name, config.revision, config.auto_download)
    checkpoint = read_reranker(files.path, files.spec)
    choose_prompt(checkpoint, config.instruction, config.prompt_name)
    text = f"{config.model_name} ({files.origin}): at most {choose_limit(config, checkpoint)} tokens, scores by "
    return Result("ok", ", ".join([f"{text}{checkpoint.activation}", *_offline()]))


def examine_cache(path: str | Path | None) -> Result:
    """Check that the cache can be written, has room, and no damaged models."""
    folder = get_cache_dir(EmbeddingConfig.resolve(None, path).cache_dir)
    models = list_cached_models(folder)
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(nearest).free
    total = sum(model.size_on_disk for model in models)
    text = f"{folder}, {total / 1e6:.0f} MB in {len(models)} models, {free / 1e9:.1f} GB free"
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        return Result("warn", f"{text}; not writable", f"allow writing to {nearest}, or set AKIDB_CACHE_DIR")
    if damaged := [model.name for model in models if not model.cached]:
        return Result("warn", f"{text}; damaged: {', '.join(damaged)}", "akidb-embed download NAME --force")
    if free < _LITTLE_DISK:
        return Result("warn", text, "free some space, or point AKIDB_CACHE_DIR elsewhere")
    return Result("ok", text)


def _given(config: ModelConfig) -> dict[str, str]:
    """The fields that are set, and where."""
    return {name: source for name, source in config.sources.items() if source != DEFAULT}


def _not_here(name: str, revision: str | None, auto_download: bool) -> Result:
    known, offline = SPECS.get(name), _offline()
    cost = f", a download of {known.size_bytes / 1e6:.0f} MB" if known else ""
    why = f"; {', '.join(offline)}" if offline else "" if auto_download else "; auto_download is off"
    remedy = f"akidb-embed download {name}" + (f" --revision {revision}" if revision else "")
    return Result("warn", f"{name} is not on this machine{cost}{why}", remedy)


def _offline() -> list[str]:
    """The variables that forbid downloads, with their values."""
    return [f"{name}={os.environ[name]}" for name in _OFFLINE if name in os.environ]
