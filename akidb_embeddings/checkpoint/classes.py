"""The class of transformers that config.json names: it says whether a model makes vectors or scores."""

from pathlib import Path

from akidb_embeddings.checkpoint.safetensors import Tensors
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Architecture, Config

CLASSIFIER = "ForSequenceClassification"
"""What the classes with a head for scores end with."""
LANGUAGE_MODEL = "ForCausalLM"
"""What the classes with a language model's head end with."""


def class_name(config: Config) -> str:
    """The first of config.json's ``architectures``; "" if there is none."""
    names = config.get("architectures") or [""]
    return str(names[0]) if isinstance(names, list) else ""


def check_no_reranker(path: Path, config: Config, architecture: Architecture, tensors: Tensors) -> None:
    """Refuse a reranker where an embedding model is expected."""
    if architecture.head is not None and is_classifier(config, architecture, tensors):
        raise CheckpointError(
            f"{path} is a reranker, or another classifier: config.json names the class {class_name(config)}, and there "
            f"is its head, {architecture.head.output}. It makes scores of pairs: use RerankService, "
            "`akidb-embed rerank` or `serve --reranker`."
        )
    is_named = class_name(config).endswith(CLASSIFIER)
    if architecture.head is None and is_named and any(name.startswith("classifier.") for name in tensors):
        raise CheckpointError(
            f"{path} is a reranker, or another classifier: config.json names the class {class_name(config)}. It makes "
            f"no vectors, and classifiers of this architecture ({architecture.module}) are not implemented."
        )


def is_classifier(config: Config, architecture: Architecture, tensors: Tensors) -> bool:
    """Whether it is a classifier whose head is there, and implemented."""
    head = architecture.head
    return head is not None and class_name(config).endswith(CLASSIFIER) and f"{head.output}.weight" in tensors
