"""The fingerprint of a vector space."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.settings import Settings
from akidb_embeddings.checkpoint.sparse import Splade
from akidb_embeddings.registry.outputs import DENSE


def fingerprint(
    checkpoint: Checkpoint,
    settings: Settings,
    prompt: str,
    output: str = DENSE,
    *,
    role: str | None = None,
    appended: str | None = None,
) -> str:
    """An identifier of the vector space. With equal fingerprints, equal texts give equal vectors.

    It covers the files of the model and its adapter (and so revision and quantization), pooling, dimensions,
    normalization, ``max_tokens`` and the prompt; of other outputs than dense, what they depend on. The part before the
    hash is for readability.

    Args:
        checkpoint: The model.
        settings: The effective settings.
        prompt: The prompt before each text.
        output: What texts become.
        role: Whether texts are queries or documents, for token vectors.
        appended: The token that ends every text and is not the tokenizer's.
    """
    bits = f"{checkpoint.quantization['bits']}bit-" if "bits" in checkpoint.quantization else ""
    name = f"{checkpoint.config['model_type']}-{bits}{'lora-' if checkpoint.adapter else ''}"
    if output != DENSE:
        others = [] if checkpoint.late is None else [settings.query_tokens, asdict(checkpoint.late), role]
        others += [asdict(checkpoint.sparse)] if isinstance(checkpoint.sparse, Splade) else []
        return f"{name}{output}-{_hash([checkpoint.digest, output, settings.max_tokens, prompt, *others])}"
    parts = [checkpoint.digest, settings.pooling, settings.dimensions, settings.normalize, settings.max_tokens, prompt]
    parts += ["layer_norm"] if settings.layer_norm else []
    parts += [appended] if appended else []
    return f"{name}{settings.pooling}-{settings.dimensions}-{_hash(parts)}"


def _hash(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]
