"""Folders of either kind of model: which makes vectors, and which makes scores of pairs."""

from pathlib import Path

from akidb_embeddings.checkpoint.adapter_config import refuse_adapter
from akidb_embeddings.checkpoint.base import read_architecture
from akidb_embeddings.checkpoint.checkpoint import Checkpoint, read_checkpoint
from akidb_embeddings.checkpoint.classes import CLASSIFIER, LANGUAGE_MODEL, class_name, is_classifier
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE, read_folder
from akidb_embeddings.checkpoint.frame import has_frame
from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.checkpoint.modules import LOGIT_SCORE, RERANKER, read_modules
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint, read_reranker
from akidb_embeddings.checkpoint.safetensors import locate_tensors
from akidb_embeddings.checkpoint.static import read_config
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry import ModelSpec, RerankerSpec, Spec

_CROSS_ENCODER = "CrossEncoder"
_SENTENCE_TRANSFORMER = "SentenceTransformer"


def kind_of(path: Path, spec: Spec | None = None) -> type[Spec]:
    """The kind of the model in a folder: ``ModelSpec`` makes vectors, ``RerankerSpec`` scores.

    Of a language model without files of sentence-transformers it is ``Spec``: either could be made of it.

    Args:
        path: The folder.
        spec: The model's entry in the registry, if it has one, which decides.

    Raises:
        CheckpointError: A file is missing or damaged, or the architecture is not supported.
    """
    if spec is not None:
        return type(spec)
    refuse_adapter(path)
    config = read_config(path)
    architecture = read_architecture(path, config)
    name = class_name(config)
    if name.endswith(CLASSIFIER):
        has_head = is_classifier(config, architecture, locate_tensors(path, architecture.prefix, ()))
        return RerankerSpec if has_head else ModelSpec
    if not (name.endswith(LANGUAGE_MODEL) and architecture.answers):
        return ModelSpec
    return _described_kind(path)


def _described_kind(path: Path) -> type[Spec]:
    """What a language model's files of sentence-transformers, or its template for pairs, say."""
    model_type = read_json(path / PROMPTS_FILE).get("model_type")
    if model_type in (_CROSS_ENCODER, _SENTENCE_TRANSFORMER):
        return RerankerSpec if model_type == _CROSS_ENCODER else ModelSpec
    modules = [kind for kind, _ in read_modules(path)] or [folder.name for folder in path.glob("[0-9]*_*")]
    if modules:
        return RerankerSpec if modules[-1].endswith(LOGIT_SCORE) else ModelSpec
    return RerankerSpec if has_frame(read_folder(path, RERANKER), is_language_model=False) else Spec


def read_model(path: Path, spec: Spec | None = None, kind: type[Spec] = Spec) -> Checkpoint | RerankerCheckpoint:
    """Read the folder of a model of either kind.

    Args:
        path: The folder.
        spec: The model's entry in the registry, if it has one.
        kind: The kind that is wanted; ``Spec`` for what the folder says, and for vectors where it says nothing.

    Raises:
        CheckpointError: As in ``read_reranker`` and ``read_checkpoint``; they refuse models of the other kind.
    """
    found = kind_of(path, spec)
    if kind is ModelSpec and found is RerankerSpec:
        raise CheckpointError(f"{path} is a reranker: it makes scores of pairs, and no vectors.")
    if RerankerSpec in (kind, found):
        return read_reranker(path, spec if isinstance(spec, RerankerSpec) else None)
    return read_checkpoint(path, spec if isinstance(spec, ModelSpec) else None)
