"""Static models: a table of vectors of tokens, by model2vec or by sentence-transformers' StaticEmbedding.

They have no config.json that gives sizes, or none at all; what other code reads there is taken from the table's header
and from the tokenizer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.fields import check_fields, whole_from
from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.checkpoint.modules import static_folder
from akidb_embeddings.checkpoint.safetensors import read_header
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import MODEL2VEC, STATIC_EMBEDDING

_TABLES = ("embedding.weight", "embeddings")


def read_config(path: Path) -> Mapping[str, Any]:
    """config.json of a model folder; of a static model, with what it does not say.

    Added are ``model_type``, ``hidden_size``, ``vocab_size`` (the number of tokens), ``embedding_rows``,
    ``max_length`` (None for no limit), ``has_mapping`` and ``has_weights``.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    folder = static_folder(path)
    config: Mapping[str, Any] = read_json(path / "config.json", required=folder is None)
    if folder is None and config.get("model_type") != MODEL2VEC:
        return config
    file = (folder or path) / "model.safetensors"
    tensors = read_header(file)
    shapes = [tensors[name].shape for name in _TABLES if name in tensors]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise CheckpointError(f"{file} has no table of vectors ({' or '.join(_TABLES)}), or more than one.")
    mapping = tensors.get("mapping")
    added = {
        "hidden_size": shapes[0][1],
        "embedding_rows": shapes[0][0],
        "vocab_size": (mapping.shape or (0,))[0] if mapping else shapes[0][0],
        "has_mapping": mapping is not None,
        "has_weights": "weights" in tensors,
    }
    if config.get("model_type") == MODEL2VEC:
        check_fields(path / "config.json", config, {"max_length": whole_from(1)})
        return {"max_length": None, **config, **added}  # model2vec's own default, 512, is that of this library, too
    truncated = _tokenizer_limit((folder or path) / "tokenizer.json")
    return {**config, **added, "model_type": STATIC_EMBEDDING, "max_length": truncated}


def _tokenizer_limit(file: Path) -> int | None:
    """The tokens to which tokenizer.json truncates texts, which sentence-transformers leaves as it is."""
    from akidb_embeddings.checkpoint.tokenizer_checks import load_tokenizer

    truncation = load_tokenizer(file).truncation
    return None if truncation is None else max(1, int(truncation["max_length"]))
