"""``akidb-embed models``, ``download``, ``info``, ``clear``: the registry and the cache."""

import json
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.fingerprint import fingerprint
from akidb_embeddings.checkpoint.kinds import read_model
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint
from akidb_embeddings.checkpoint.settings import Settings, apply_config, describe_lengths, largest_limit
from akidb_embeddings.checkpoint.token_vectors import DOCUMENT, QUERY
from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.downloads import announce_download
from akidb_embeddings.cli.options import add_location_options, add_revision_option, configuration
from akidb_embeddings.cli.output import shorten, size, table
from akidb_embeddings.config.embedding import DEFAULT_MAX_TOKENS, EmbeddingConfig
from akidb_embeddings.config.rerank import DEFAULT_PAIR_TOKENS
from akidb_embeddings.errors import CheckpointError, ConfigurationError
from akidb_embeddings.hub.cache import clear_cache, get_cache_dir
from akidb_embeddings.hub.download import ModelInfo, download_model, get_model_info, list_cached_models
from akidb_embeddings.registry import MODELS, RERANKERS, SPECS, ModelSpec, RerankerSpec, Spec
from akidb_embeddings.registry.outputs import DENSE, TOKENS

_HEADING = ("NAME", "WEIGHTS", "SIZE", "DIMENSION", "POOLING", "TOKENS", "LICENCE", "CACHED", "DESCRIPTION")
_RERANKER_HEADING = ("RERANKER", "WEIGHTS", "SIZE", "SCORES", "TOKENS", "LANGUAGES", "LICENCE", "CACHED", "DESCRIPTION")
_OTHER_HEADING = ("ALSO IN THE CACHE", "SIZE", "REVISION", "STATE")
_NAME = "a registry name, a Hugging Face repository or a folder"


def _add_models_arguments(parser: ArgumentParser) -> None:
    add_location_options(parser)


def _add_download_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help=_NAME)
    parser.add_argument("--force", action="store_true", help="download again if it is cached (default: keep it)")
    add_revision_option(parser)
    add_location_options(parser)


def _add_info_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help=_NAME)
    add_revision_option(parser)
    add_location_options(parser)


def _add_clear_arguments(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", metavar="NAME", help="the model to remove, with all its revisions")
    which.add_argument("--all", action="store_true", help="remove every model from the cache")
    add_location_options(parser)


def _models(options: Namespace) -> int:
    cache_dir = configuration(options).cache_dir
    known = {name: _lookup(name, cache_dir) for name in SPECS}
    print(_fitted([_HEADING, *(_row(spec, known[spec.name]) for spec in MODELS.values())]))
    print()
    print(_fitted([_RERANKER_HEADING, *(_reranker_row(spec, known[spec.name]) for spec in RERANKERS.values())]))
    cached = list_cached_models(cache_dir)
    shown = {info.path for info in known.values() if info is not None}
    others = [info for info in cached if info.path not in shown]
    if others:
        print(f"\n{table([_OTHER_HEADING, *map(_other_row, others)])}")
    total = size(sum(info.size_on_disk for info in cached))
    print(f"\ncache: {get_cache_dir(cache_dir)}, {total} in {len(cached)} models")
    return 0


def _fitted(rows: Sequence[tuple[str, ...]]) -> str:
    """A table whose lines are as long as the terminal is wide, at most."""
    lines = table(rows)
    if sys.stdout.isatty():
        columns = shutil.get_terminal_size().columns
        lines = "\n".join(line if len(line) <= columns else line[: columns - 1] + "…" for line in lines.splitlines())
    return lines


def _lookup(name: str, cache_dir: str | Path | None) -> ModelInfo | None:
    """A model's description; None if its files are damaged."""
    try:
        return get_model_info(name, cache_dir=cache_dir)
    except CheckpointError:
        return None


def _row(spec: ModelSpec, info: ModelInfo | None) -> tuple[str, ...]:
    facts = _amount(spec, info), str(spec.dimension), spec.pooling or "", str(spec.max_tokens or "")
    return spec.name, spec.weights, *facts, spec.license, _state(info), spec.description


def _reranker_row(spec: RerankerSpec, info: ModelInfo | None) -> tuple[str, ...]:
    facts = _amount(spec, info), spec.scores, str(spec.max_tokens or ""), spec.languages
    return spec.name, spec.weights, *facts, spec.license, _state(info), spec.description


def _amount(spec: Spec, info: ModelInfo | None) -> str:
    return size(info.size_on_disk if info and info.cached else spec.size_bytes)


def _state(info: ModelInfo | None) -> str:
    return "damaged" if info is None else info.origin or "no"


def _other_row(info: ModelInfo) -> tuple[str, ...]:
    name = info.path.name.replace("--", "/", 1) if info.path else info.name
    return name, size(info.size_on_disk), (info.revision or "")[:12], "whole" if info.cached else "damaged"


def _download(options: Namespace) -> int:
    config, revision = configuration(options), vars(options).get("revision")
    cache_dir = config.cache_dir
    asked = EmbeddingConfig(model_name=options.name, revision=revision, auto_download=True, cache_dir=cache_dir)
    announce_download(asked, kind=Spec, force=options.force)
    files = download_model(options.name, revision=revision, cache_dir=cache_dir, force=options.force)
    info = get_model_info(options.name, revision=revision, cache_dir=cache_dir)
    print(f"{files.name}: {files.path} ({files.origin}, {size(info.size_on_disk)}, revision {files.revision or '-'})")
    return 0


def _info(options: Namespace) -> int:
    revision = vars(options).get("revision")
    info = get_model_info(options.name, revision=revision, cache_dir=configuration(options).cache_dir)
    facts = {"name": info.name, **_published(info)}
    if info.path is None:
        facts["on this machine"] = f"no; get it with: akidb-embed download {info.name}"
    else:
        facts |= {
            "on this machine": f"{info.origin}: {info.path}",
            "size on disk": size(info.size_on_disk),
            "revision": info.revision or "",
            **_read(info),
        }
    print(table([(label, text) for label, text in facts.items() if text]))
    return 0


def _published(info: ModelInfo) -> dict[str, str]:
    """What the registry says about a model, whether it is on this machine or not."""
    facts = {"repository": info.repo or ""}
    spec = info.spec
    if spec is None:
        return facts
    facts |= {"description": spec.description, "licence": spec.license}
    if isinstance(spec, RerankerSpec):
        facts |= {"kind": "reranker", "languages": spec.languages, "max tokens": str(spec.max_tokens)}
        facts |= {"scores": spec.scores, "instruction": spec.instruction or ""}
    if info.path is None:
        facts["download"] = f"{size(spec.size_bytes)}, {spec.weights}"
    if info.path is None and isinstance(spec, ModelSpec):
        facts |= {
            "dimension": str(spec.dimension),
            "cut to": describe_lengths(spec.matryoshka),
            "pooling": spec.pooling or "",
            "max tokens": str(spec.max_tokens),
            "prompts": _prompts(spec.prompts),
        }
    return facts


def _read(info: ModelInfo) -> dict[str, str]:
    """What the model's own files say."""
    assert info.path is not None  # the caller checked
    if isinstance(info.spec, RerankerSpec):  # the registry has said it all
        return {}
    checkpoint = read_model(info.path, info.spec)
    return _reranker(checkpoint) if isinstance(checkpoint, RerankerCheckpoint) else _embedder(info.name, checkpoint)


def _reranker(checkpoint: RerankerCheckpoint) -> dict[str, str]:
    return {
        "kind": "reranker",
        "architecture": _architecture(checkpoint),
        "max tokens": f"{checkpoint.max_tokens} at most, {DEFAULT_PAIR_TOKENS} unless configured"
        if checkpoint.max_tokens > DEFAULT_PAIR_TOKENS
        else str(checkpoint.max_tokens),
        "labels": ", ".join(checkpoint.labels) if len(checkpoint.labels) > 1 else "",
        "activation": checkpoint.activation,
        "instruction": checkpoint.default_prompt,
        "quantization": _quantization(checkpoint),
    }


def _embedder(name: str, checkpoint: Checkpoint) -> dict[str, str]:
    facts = {
        "architecture": _architecture(checkpoint),
        "dimension": str(checkpoint.dimension),
        "cut to": describe_lengths(checkpoint.matryoshka),
        "vectors": ", ".join(checkpoint.outputs),
        "max tokens": f"{largest_limit(checkpoint)} at most, {DEFAULT_MAX_TOKENS} unless configured",
        "normalized": "yes" if checkpoint.normalize or (checkpoint.late and checkpoint.late.normalize) else "no",
        "quantization": _quantization(checkpoint),
    }
    if largest_limit(checkpoint) <= DEFAULT_MAX_TOKENS:
        facts["max tokens"] = str(largest_limit(checkpoint))
    if checkpoint.late is not None:
        facts["of queries"] = str(largest_limit(checkpoint, QUERY))
    try:
        settings = apply_config(EmbeddingConfig(model_name=name), checkpoint)
    except ConfigurationError:
        unknown = "unknown, since the model does not say how it was trained: set --pooling"
        return facts | {"pooling": unknown, "prompts": _prompts(checkpoint.prompts)}
    return facts | _effective(checkpoint, settings)


def _architecture(checkpoint: BaseCheckpoint) -> str:
    name, through = str(checkpoint.config["model_type"]), checkpoint.architecture.computed_by
    return f"{name} (through {through})" if through else name


def _effective(checkpoint: Checkpoint, settings: Settings) -> dict[str, str]:
    pooling = settings.pooling if DENSE in checkpoint.outputs else ""
    facts = {"pooling": pooling, "prompts": _prompts(settings.prompts)}
    if settings.default_prompt:
        facts["default prompt"] = json.dumps(settings.default_prompt, ensure_ascii=False)
    return facts | {"fingerprint": f"{_fingerprint(checkpoint, settings)} (default settings)"}


def _fingerprint(checkpoint: Checkpoint, settings: Settings) -> str:
    """That of ``EmbeddingService.fingerprint()``, without loading the model."""
    from akidb_embeddings.tokenization.tokenizer import Tokenizer

    output, prompt, role = checkpoint.outputs[0], settings.default_prompt, None
    if output == TOKENS:
        prompt, role = settings.prompt(DOCUMENT), DOCUMENT
    appended = checkpoint.final_token and Tokenizer(checkpoint, settings.max_tokens).appended
    return fingerprint(checkpoint, settings, prompt, output, role=role, appended=appended)


def _quantization(checkpoint: BaseCheckpoint) -> str:
    if not checkpoint.quantization:
        return "none"
    return f"{checkpoint.quantization.get('bits')} bits, group size {checkpoint.quantization.get('group_size')}"


def _prompts(prompts: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {shorten(json.dumps(text, ensure_ascii=False), 120)}" for name, text in prompts.items())


def _clear(options: Namespace) -> int:
    freed = clear_cache(None if options.all else options.name, cache_dir=configuration(options).cache_dir)
    print(f"{size(freed)} freed")
    return 0


MODELS_COMMAND = Command(
    "list the known models, and which of them are on this machine",
    _add_models_arguments,
    _models,
    "akidb-embed models",
    "CACHED says where a model was found: bundled with this package, in our cache, or in the Hugging Face cache.",
)
DOWNLOAD = Command(
    "download a model into the cache",
    _add_download_arguments,
    _download,
    "akidb-embed download qwen3-0.6b-4bit",
)
INFO = Command(
    "show one model: prompts, limits, quantization, fingerprint",
    _add_info_arguments,
    _info,
    "akidb-embed info minilm-l6-v2",
)
CLEAR = Command(
    "remove a model, or every model, from the cache",
    _add_clear_arguments,
    _clear,
    "akidb-embed clear qwen3-0.6b-4bit",
    "The bundled model and the Hugging Face cache are not touched.",
)
