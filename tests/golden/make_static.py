r"""Make the tiny static models in ``tests/data/models`` and their golden vectors; all else stays as it is.

Run it as ``make.py`` says, after it, with model2vec in the environment, too::

    oracle/bin/pip install --no-deps model2vec==0.10.0 joblib==1.6.0 jinja2==3.1.6 markupsafe==3.0.4
    oracle/bin/python tests/golden/make_static.py

The vectors of ``tiny-model2vec`` and ``tiny-model2vec-mapped`` are model2vec's, those of ``tiny-static`` and
``tiny-static-folder`` sentence-transformers'. A text without tokens has a vector of zeros there.
"""

# ruff: noqa: T201 (a script tells what it checked)

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}

import model2vec
import numpy as np
from jsonfile import read_json, write_json
from model2vec import StaticModel
from numpy.typing import NDArray
from oracle import versions
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from texts import STATIC_TEXTS
from tokenizers import Tokenizer

DATA = Path(__file__).resolve().parent.parent / "data"
DIMENSION = 16
WORDPIECE, UNIGRAM = "tiny-bert", "tiny-xlm-roberta"


def tokenizer_of(name: str) -> Tokenizer:
    return Tokenizer.from_file(str(DATA / "models" / name / "tokenizer.json"))


def table(rows: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, DIMENSION)).astype(np.float32)


def write_model2vec(folder: Path) -> None:
    """As potion-base-8M is published: no weights, normalized."""
    tokenizer = tokenizer_of(WORDPIECE)
    model = StaticModel(table(tokenizer.get_vocab_size(), 0), tokenizer, _config(), normalize=True)
    _save(model, folder)
    # Earlier releases of model2vec wrote no max_length.
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {key: value for key, value in config.items() if key != "max_length"})


def write_mapped(folder: Path) -> None:
    """After vocabulary quantization: fewer rows than tokens, and a weight for each token."""
    tokenizer = tokenizer_of(UNIGRAM)
    tokens, generator = tokenizer.get_vocab_size(), np.random.default_rng(1)
    model = StaticModel(
        table(50, 2),
        tokenizer,
        _config(),
        normalize=False,
        weights=generator.uniform(0.1, 2, tokens).astype(np.float32),
        token_mapping=generator.integers(0, 50, tokens),
        max_length=40,
    )
    _save(model, folder)


def _config() -> dict[str, Any]:
    return {"model_type": "model2vec", "architectures": ["StaticModel"], "hidden_dim": DIMENSION, "seq_length": 1000000}


def _save(model: StaticModel, folder: Path) -> None:
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)


def write_static(folder: Path, nested: bool) -> None:
    """As sentence-transformers 6 saves it, or nested: in a folder of its own, like static-retrieval-mrl-en-v1."""
    tokenizer = tokenizer_of(UNIGRAM if nested else WORDPIECE)
    if not nested:
        tokenizer.enable_truncation(100)  # which sentence-transformers leaves as it is
    modules: list[Any] = [StaticEmbedding(tokenizer, embedding_weights=table(tokenizer.get_vocab_size(), 3 + nested))]
    modules += [] if nested else [Normalize()]
    prompts = {"query": "query: ", "document": ""} if nested else {}
    SentenceTransformer(modules=modules, device="cpu", prompts=prompts).save_pretrained(str(folder))
    (folder / "README.md").unlink()
    if nested:
        inner = folder / "0_StaticEmbedding"
        inner.mkdir()
        for name in ("model.safetensors", "tokenizer.json"):
            shutil.move(folder / name, inner / name)
        kind = "sentence_transformers.models.StaticEmbedding"
        write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": inner.name, "type": kind}])


def golden_model2vec(folder: Path) -> dict[str, Any]:
    model = StaticModel.from_pretrained(folder, force_download=False)
    return _arrays(model.encode(STATIC_TEXTS))


def golden_static(folder: Path) -> dict[str, Any]:
    model = SentenceTransformer(str(folder), device="cpu")
    return _arrays(np.concatenate([model.encode([text]) for text in STATIC_TEXTS]))


def _arrays(vectors: NDArray[Any]) -> dict[str, Any]:
    made_with = versions() | {"model2vec": model2vec.__version__}
    return {"texts": vectors.astype(np.float32), "versions": np.array(json.dumps(made_with))}


def check(models: Path) -> None:
    """What a port could do wrong moves a vector."""
    for name in ("tiny-model2vec", "tiny-model2vec-mapped"):
        model = StaticModel.from_pretrained(models / name, force_download=False)
        right = model.encode(STATIC_TEXTS)
        median, unknown = model.median_token_length, model.unk_token_id
        model.median_token_length = 10**6
        _moved(name, "long texts that are not cut in characters first", right, model.encode(STATIC_TEXTS))
        model.median_token_length, model.unk_token_id = median, None
        _moved(name, "unknown tokens", right, model.encode(STATIC_TEXTS))
        model.unk_token_id = unknown
        _moved(name, "the whole text", right, model.encode(STATIC_TEXTS, max_length=None))
    unweighted = StaticModel.from_pretrained(models / "tiny-model2vec-mapped", force_download=False)
    right = unweighted.encode(STATIC_TEXTS)
    unweighted.weights = None
    _moved("tiny-model2vec-mapped", "no weights", right, unweighted.encode(STATIC_TEXTS))


def _moved(name: str, mistake: str, right: NDArray[Any], wrong: NDArray[Any]) -> None:
    norms = np.linalg.norm(right, axis=1) * np.linalg.norm(wrong, axis=1)
    cosines = (right * wrong).sum(axis=1)[norms > 0] / norms[norms > 0]
    emptied = int(((np.linalg.norm(right, axis=1) == 0) != (np.linalg.norm(wrong, axis=1) == 0)).sum())
    print(f"{name}: smallest cosine {cosines.min():.4f}, {emptied} vectors of zeros more or less, with {mistake}")
    assert cosines.min() < 0.999 or emptied


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DATA, help="where models/ and golden/ go (default: tests/data)")
    output = parser.parse_args().output
    models = output / "models"
    (output / "golden").mkdir(parents=True, exist_ok=True)
    made = {
        "tiny-model2vec": (write_model2vec, golden_model2vec),
        "tiny-model2vec-mapped": (write_mapped, golden_model2vec),
        "tiny-static": (lambda folder: write_static(folder, nested=False), golden_static),
        "tiny-static-folder": (lambda folder: write_static(folder, nested=True), golden_static),
    }
    for name, (write, golden) in made.items():
        shutil.rmtree(models / name, ignore_errors=True)
        (models / name).mkdir(parents=True)
        write(models / name)
        np.savez_compressed(output / "golden" / f"{name}.npz", **golden(models / name))
    check(models)


if __name__ == "__main__":
    main()
