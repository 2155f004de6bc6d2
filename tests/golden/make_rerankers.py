"""Make the tiny rerankers in ``tests/data/models`` and their golden scores in ``tests/data/golden``.

Run it in the environment that ``make.py`` describes, from the root of the repository::

    PYTHONPATH=. oracle/bin/python tests/golden/make_rerankers.py

It writes the folders and files of ``tiny_rerankers.py`` alone and leaves the others as they are. It takes two minutes
and prints what it checked. Made with Python 3.11, transformers 5.24.0 and the other versions that each .npz holds; two
runs write the same bytes.
"""

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

os.environ |= {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}

import changes
import numpy as np
import oracle
import reranker_sanity
import sanity
import torch
from reranker_oracle import golden, load, qwen_golden
from tiny_rerankers import CROSS_ENCODERS, EMBEDDERS, QWEN_RERANKERS, write_rerankers

DATA = Path(__file__).resolve().parent.parent / "data"
ENCODER_CHANGES = {"tiny-roberta": changes.ROBERTA_CHANGES, "tiny-distilbert": changes.DISTILBERT_CHANGES}
ENCODER_GELUS = {"tiny-roberta": changes.tanh_gelu, "tiny-distilbert": changes.tanh_distilbert}
CHANGES = {
    "tiny-bert-reranker": changes.BERT_CHANGES,
    "tiny-bert-labels": changes.BERT_CHANGES,
    "tiny-xlm-roberta-reranker": changes.XLM_ROBERTA_CHANGES | {"positions for <pad>": changes.count_padding},
    "tiny-roberta-reranker": changes.ROBERTA_CHANGES | {"positions for <pad>": changes.count_padding},
    "tiny-distilbert-reranker": changes.DISTILBERT_CHANGES,
    "tiny-modernbert-reranker-cls": changes.MODERNBERT_CHANGES,
    "tiny-modernbert-reranker-mean": changes.MODERNBERT_CHANGES,
    "tiny-qwen3-classifier": changes.QWEN_CHANGES,
}


def check_encoder(folder: Path, arrays: dict[str, Any]) -> None:
    model = oracle.load(folder)
    sanity.check_tokenizer(folder, model)
    sanity.check_counted_texts(folder)
    sanity.check_vectors(folder, model, arrays)
    sanity.check_poolings(folder.name, arrays)
    sanity.check_changes(folder, ENCODER_CHANGES[folder.name])
    sanity.check_small_change(folder, "the GELU of tanh", ENCODER_GELUS[folder.name])
    if "padding_texts" in arrays:
        sanity.check_padding_texts(folder)


def check_reranker(folder: Path, arrays: dict[str, Any]) -> None:
    reranker_sanity.check_scores(folder.name, arrays)
    reranker_sanity.check_limit(folder.name, arrays)
    if folder.name in QWEN_RERANKERS:
        reranker_sanity.check_published_files(folder, arrays)
        reranker_sanity.check_recipe(folder)
        return
    model = load(folder)
    reranker_sanity.check_tokenizer(folder, model)
    reranker_sanity.check_inputs(folder.name, model)
    reranker_sanity.check_truncation(folder.name, model)
    reranker_sanity.check_head(folder.name, model)
    reranker_sanity.check_batches(folder.name, model, arrays)
    reranker_sanity.check_changes(folder, CHANGES[folder.name])
    if folder.name == "tiny-qwen3-classifier":
        reranker_sanity.check_padding(folder.name, model)
    if (folder / "modules.json").is_file():
        reranker_sanity.check_saved_files(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DATA, help="where models/ and golden/ go (default: tests/data)")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    models, vectors = arguments.output / "models", arguments.output / "golden"
    vectors.mkdir(parents=True, exist_ok=True)
    for name in (*EMBEDDERS, *CROSS_ENCODERS, *QWEN_RERANKERS):
        shutil.rmtree(models / name, ignore_errors=True)
    write_rerankers(models)
    for name in EMBEDDERS:
        arrays: dict[str, Any] = oracle.golden(models / name, raw_poolings=True)
        np.savez_compressed(vectors / f"{name}.npz", **arrays)
        check_encoder(models / name, arrays)
    for name in (*CROSS_ENCODERS, *QWEN_RERANKERS):
        compute = golden if name in CROSS_ENCODERS else qwen_golden
        scores: dict[str, Any] = compute(models / name)
        np.savez_compressed(vectors / f"{name}.npz", **scores)
        check_reranker(models / name, scores)


if __name__ == "__main__":
    main()
