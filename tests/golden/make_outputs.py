r"""Make the tiny models with sparse weights and token vectors, and what the authors' code makes with them.

It leaves all other models as they are. Run it in the environment of ``make.py``, with tests/data there::

    oracle/bin/python tests/golden/make_outputs.py

SPLADE's weights are those of sentence-transformers' ``SparseEncoder``, token vectors those of its
``MultiVectorEncoder``. BGE-M3's weights are computed here with transformers and torch, as FlagEmbedding's
``M3Embedder`` does (``FlagEmbedding/inference/embedder/encoder_only/m3.py``, ``_process_token_weights``).
"""

# ruff: noqa: T201 (a script tells what it checked)

import argparse
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ |= {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}

import numpy as np
import torch
from oracle import versions
from sentence_transformers import MultiVectorEncoder, SparseEncoder
from texts import DOCUMENTS, QUERIES, TEXTS
from tiny_outputs import COLBERTS, OUTPUTS, SPLADES, write_outputs
from transformers import AutoModel, AutoTokenizer

DATA = Path(__file__).resolve().parent.parent / "data"
OPTIONS = {"attn_implementation": "eager", "dtype": torch.float32}
Arrays = dict[str, np.ndarray[Any, Any]]
Rows = list[np.ndarray[Any, Any]]


def packed(name: str, rows: Rows) -> Arrays:
    """Rows that differ in size, one after the other, and their sizes."""
    sizes = np.array([len(row) for row in rows], np.int32)
    return {name: np.concatenate(rows), f"{name}_sizes": sizes}


def packed_sparse(name: str, weights: Sequence[dict[int, float]]) -> Arrays:
    """Weights by token id, as two lists."""
    rows = [sorted(text.items()) for text in weights]
    indices = [np.array([index for index, _ in row], np.int32) for row in rows]
    values = [np.array([value for _, value in row], np.float32) for row in rows]
    return packed(f"{name}_indices", indices) | packed(f"{name}_values", values)


def bge_m3_weights(encoder: Path, head: Path, texts: Sequence[str], change: str = "") -> list[dict[int, float]]:
    """FlagEmbedding's: relu of a linear layer, of each token id the highest, four special tokens left out."""
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModel.from_pretrained(encoder, **OPTIONS).eval()
    layer = torch.nn.Linear(model.config.hidden_size, 1)
    layer.load_state_dict(torch.load(head / "sparse_linear.pt", weights_only=True))
    names = ("cls_token", "eos_token", "pad_token", "unk_token")
    unused = {tokenizer.convert_tokens_to_ids(tokenizer.special_tokens_map[name]) for name in names}
    found = []
    for text in texts:
        features = tokenizer(text, return_tensors="pt", truncation=True, max_length=512)
        with torch.inference_mode():
            hidden = model(**features).last_hidden_state
            weights = torch.relu(layer(hidden))[0, :, 0].tolist()
        result: dict[int, float] = {}
        for index, weight in zip(features["input_ids"][0].tolist(), weights, strict=True):
            if change == "special tokens" or (index not in unused and weight > 0):
                added = change == "sum" and index in result
                result[index] = result[index] + weight if added else max(weight, result.get(index, weight))
        found.append(result)
    return found


def splade_weights(model: SparseEncoder, encode: Callable[..., Any], texts: Sequence[str]) -> list[dict[int, float]]:
    """One text at a time, so that there is no padding."""
    rows = [encode([text], batch_size=1, convert_to_tensor=True, convert_to_sparse_tensor=False)[0] for text in texts]
    return [{index: float(row[index]) for index in torch.nonzero(row)[:, 0].tolist()} for row in rows]


def splade(folder: Path) -> Arrays:
    model = SparseEncoder(str(folder), device="cpu", model_kwargs=OPTIONS, local_files_only=True)
    texts = splade_weights(model, model.encode, TEXTS)
    counts = [len(text) for text in texts]
    vocabulary = model.get_embedding_dimension()
    print(f"{folder.name}: {min(counts)} to {max(counts)} of {vocabulary} tokens have a weight")
    assert 0 < min(counts) <= max(counts) < vocabulary
    sets = {"queries": (model.encode_query, QUERIES), "documents": (model.encode_document, DOCUMENTS)}
    arrays = packed_sparse("texts", texts)
    for name, (encode, given) in sets.items():
        arrays |= packed_sparse(name, splade_weights(model, encode, given))
    pooling, whole = model[1], dense_matrix(texts, vocabulary)
    for key, value in (("pooling_strategy", "sum"), ("pooling_strategy", "max")):
        check_changed(folder, f"{key} {value}", whole, model, pooling, key, value)
    for value in ("relu", "log1p_relu"):
        check_changed(folder, f"activation {value}", whole, model, pooling, "activation_function", value)
    scores = model.similarity(model.encode_query(QUERIES), model.encode_document(DOCUMENTS))
    return arrays | {"similarities": scores.to_dense().numpy()}


def dense_matrix(weights: Sequence[dict[int, float]], width: int) -> np.ndarray[Any, Any]:
    matrix = np.zeros((len(weights), width))
    for row, text in zip(matrix, weights, strict=True):
        row[list(text)] = list(text.values())
    return matrix


def check_changed(
    folder: Path, name: str, whole: Any, model: SparseEncoder, pooling: Any, key: str, value: str
) -> None:
    """Another setting of the pooling moves the weights, unless it is the model's own."""
    own = getattr(pooling, key)
    if own == value:
        return
    setattr(pooling, key, value)
    moved = np.abs(dense_matrix(splade_weights(model, model.encode, TEXTS), whole.shape[1]) - whole).max()
    setattr(pooling, key, own)
    print(f"{folder.name}, {name}: moves a weight by {moved:.4f}")
    assert moved > 0.01


def token_vectors(encode: Callable[..., Any], texts: Sequence[str]) -> Rows:
    return [encode([text], batch_size=1, convert_to_numpy=True)[0] for text in texts]


def colbert(folder: Path) -> Arrays:
    model = MultiVectorEncoder(str(folder), device="cpu", model_kwargs=OPTIONS, local_files_only=True)
    texts = [text for text in TEXTS if len(text) < 400]
    queries, documents = token_vectors(model.encode_query, texts), token_vectors(model.encode_document, texts)
    for row in (*queries, *documents):
        assert np.allclose(np.linalg.norm(row, axis=-1), 1, atol=1e-5), folder.name
    check_colbert_changes(folder, model, queries, documents, texts)
    scores = model.similarity(
        token_vectors(model.encode_query, QUERIES), token_vectors(model.encode_document, DOCUMENTS)
    )
    arrays = {}
    if folder.name == "tiny-multivector":
        # GTE-ModernColBERT's expansion: no token attends to it.
        model[0].query_expansion = {"strategy": "fixed", "attend": False, "length": 24}
        arrays = packed("unattended", token_vectors(model.encode_query, texts))
    return arrays | packed("queries", queries) | packed("documents", documents) | {"similarities": np.asarray(scores)}


def check_colbert_changes(
    folder: Path, model: MultiVectorEncoder, queries: Rows, documents: Rows, texts: Sequence[str]
) -> None:
    """A marker, an expansion or a list of skipped words that is forgotten shows."""
    transformer, expansion = model[0], dict(model[0].query_expansion)
    changes = {"no expansion": None, "attention to it": expansion | {"attend": not expansion["attend"]}}
    for name, value in changes.items():
        transformer.query_expansion = value
        differ = count_differences(token_vectors(model.encode_query, texts), queries)
        transformer.query_expansion = expansion
        print(f"{folder.name}, {name}: {differ} of {len(texts)} queries differ")
        assert differ > 5
    for task, given, encode in (("query", queries, model.encode_query), ("document", documents, model.encode_document)):
        unmarked = count_differences([encode([text], prompt="", convert_to_numpy=True)[0] for text in texts], given)
        print(f"{folder.name}, no marker of a {task}: {unmarked} of {len(texts)} differ")
        assert unmarked == len(texts)
    counts = [
        len(model.preprocess([text], prompt=model.prompts["document"], task="document")["input_ids"][0])
        for text in texts
    ]
    skipped = sum(count != len(row) for count, row in zip(counts, documents, strict=True))
    print(f"{folder.name}: tokens of {skipped} of {len(texts)} documents are skipped")
    assert 0 < skipped < len(texts)


def count_differences(left: Rows, right: Rows) -> int:
    return sum(
        one.shape != other.shape or np.abs(one - other).max() > 0.01 for one, other in zip(left, right, strict=True)
    )


def bge_m3(encoder: Path, folder: Path) -> Arrays:
    arrays, texts = {}, [text for text in TEXTS if len(text) < 2500]
    weights = bge_m3_weights(encoder, folder, texts)
    for change in ("special tokens", "sum"):
        differ = sum(
            one != other for one, other in zip(bge_m3_weights(encoder, folder, texts, change), weights, strict=True)
        )
        print(f"{folder.name}, {change}: {differ} of {len(texts)} texts differ")
        assert differ > 0
    for name, given in (("texts", texts), ("queries", QUERIES), ("documents", DOCUMENTS)):
        arrays |= packed_sparse(name, bge_m3_weights(encoder, folder, given))
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DATA, help="where models/ and golden/ go (default: tests/data)")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    models, golden = arguments.output / "models", arguments.output / "golden"
    golden.mkdir(parents=True, exist_ok=True)
    for name in OUTPUTS:
        shutil.rmtree(models / name, ignore_errors=True)
    write_outputs(models)
    encoder = DATA / "models" / "tiny-xlm-roberta"
    made = {"tiny-bge-m3": bge_m3(encoder, models / "tiny-bge-m3")}
    made |= {name: splade(models / name) for name in SPLADES}
    made |= {name: colbert(models / name) for name in COLBERTS}
    for name, arrays in made.items():
        np.savez_compressed(golden / f"{name}.npz", **arrays, versions=np.array(json.dumps(versions())))


if __name__ == "__main__":
    main()
