"""Vectors of folders whose tokenizer files are changed, from sentence-transformers: what the ids are for.

Run it in the environment of ``make.py``: ``python -m tests.golden.tokenizer_vectors``. Texts with tokens that have no
embedding, or without tokens, are left out.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from tests.golden.tokenizer_changes import changes
from tests.golden.tokenizer_folders import TEXTS, VECTOR_CASES, write_folder

FILE = Path(__file__).resolve().parent.parent / "data" / "golden" / "tokenizer-vectors.npz"


def main() -> None:
    torch.set_num_threads(1)
    options = {"attn_implementation": "eager", "dtype": torch.float32}
    arrays: dict[str, Any] = {}
    for index, (family, name) in enumerate(VECTOR_CASES):
        with tempfile.TemporaryDirectory() as parent:
            folder = write_folder(Path(parent) / "model", family, dict(changes(family))[name])
            model = SentenceTransformer(str(folder), device="cpu", model_kwargs=options, local_files_only=True)
            size = model[0].model.config.vocab_size
            ids = [model.tokenizer(text)["input_ids"] for text in TEXTS]
            rows = [row for row, found in enumerate(ids) if found and max(found) < size]
            arrays[f"rows_{index}"] = np.array(rows)
            arrays[f"vectors_{index}"] = np.stack([model.encode([TEXTS[row]])[0] for row in rows])
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
