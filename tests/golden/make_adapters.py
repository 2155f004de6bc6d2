r"""Make the tiny LoRA adapters in ``tests/data/adapters`` and their golden vectors; all else stays as it is.

Run it as ``make.py`` says, after it, with PEFT in the environment, too::

    oracle/bin/pip install --no-deps peft==0.21.2 accelerate==1.15.0 psutil==7.2.2
    oracle/bin/python tests/golden/make_adapters.py

The bases are ``tiny-bert`` and ``tiny-qwen3``. The vectors are those of PEFT without merging: PEFT adds the adapter's
product in each forward pass, and sentence-transformers computes the rest.
"""

# ruff: noqa: T201 (a script tells what it checked)

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}

import numpy as np
import peft
import torch
from jsonfile import read_json, write_json
from oracle import RAW_POOLINGS, embed, hidden_states, load, pool, transformer, versions
from peft import LoraConfig, PeftModel, get_peft_model
from sanity import PROBES, cosines
from sentence_transformers import SentenceTransformer
from texts import DOCUMENTS, QUERIES, TEXTS

DATA = Path(__file__).resolve().parent.parent / "data"
# The adapters by name: the base, and LoraConfig's arguments.
ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny-bert-lora": (
        "tiny-bert",
        {
            "r": 4,
            "lora_alpha": 6,
            "target_modules": ["query", "value", "dense", "word_embeddings"],
            # "dense" is the last part of four modules of a layer, and of the pooler, which vectors do not depend on.
            "rank_pattern": {"attention.output.dense": 2, "^encoder.layer.1.attention.self.query": 3},
            "alpha_pattern": {"value": 1, r"layer\.0\.intermediate\.dense": 12},
        },
    ),
    "tiny-qwen3-lora": (
        "tiny-qwen3",
        {
            "r": 4,
            "lora_alpha": 3,
            "use_rslora": True,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        },
    ),
}
# Mistakes that a port could make, as changes of adapter_config.json.
MISTAKES: dict[str, dict[str, dict[str, Any]]] = {
    "tiny-bert-lora": {
        "no alpha_pattern": {"alpha_pattern": {}},
        "alpha alone": {"lora_alpha": 24},
        "the rank of r, not of the pattern": {"alpha_pattern": {"attention.output.dense": 3, "value": 1}},
    },
    "tiny-qwen3-lora": {"alpha / r": {"use_rslora": False}, "no scaling": {"lora_alpha": 2}},
}


def write_adapter(base: Path, folder: Path, settings: dict[str, Any], seed: int) -> None:
    """An adapter with random weights, as PEFT saves it."""
    model = get_peft_model(transformer(load(base)), LoraConfig(**settings))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_" in name:
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    settings = read_json(folder / "adapter_config.json")
    settings |= {"base_model_name_or_path": base.name, "target_modules": sorted(settings["target_modules"])}
    write_json(folder / "adapter_config.json", settings)


def adapted(base: Path, adapter: Path) -> SentenceTransformer:
    """sentence-transformers' model with PEFT's layers in it."""
    model = load(base)
    PeftModel.from_pretrained(transformer(model), str(adapter)).eval()  # it replaces the layers in place
    return model


def golden(base: Path, adapter: Path) -> dict[str, Any]:
    """The keys that ``README.md`` explains."""
    model = adapted(base, adapter)
    hidden = [hidden_states(model, text).hidden for text in TEXTS]
    arrays = {
        "texts": embed(model.encode, TEXTS),
        "queries": embed(model.encode_query, QUERIES),
        "documents": embed(model.encode_document, DOCUMENTS),
        "versions": np.array(json.dumps(versions() | {"peft": peft.__version__})),
    }
    for name, mode in RAW_POOLINGS.items():
        arrays[name] = np.stack([pool(states, mode) for states in hidden])
    return arrays


def check(base: Path, adapter: Path) -> None:
    """Mistakes move the vectors; ``fan_in_fan_out`` does not, because PEFT sets it aside for linear layers."""
    right = embed(adapted(base, adapter).encode, PROBES)
    plain = cosines(right, embed(load(base).encode, PROBES)).min()
    print(f"{adapter.name}: cosine {plain:.4f} with the base")
    assert plain < 0.99
    with tempfile.TemporaryDirectory() as parent:
        for index, (mistake, change) in enumerate(MISTAKES[adapter.name].items()):
            wrong = _changed(adapter, Path(parent) / str(index), change)
            cosine = cosines(right, embed(adapted(base, wrong).encode, PROBES)).min()
            print(f"{adapter.name}: cosine {cosine:.4f} with {mistake}")
            assert cosine < 0.999
        same = _changed(adapter, Path(parent) / "same", {"fan_in_fan_out": True})
        assert np.array_equal(right, embed(adapted(base, same).encode, PROBES))


def _changed(adapter: Path, folder: Path, change: dict[str, Any]) -> Path:
    shutil.copytree(adapter, folder)
    write_json(folder / "adapter_config.json", read_json(folder / "adapter_config.json") | change)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DATA, help="where adapters/ and golden/ go")
    output = parser.parse_args().output
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for seed, (name, (base, settings)) in enumerate(ADAPTERS.items()):
        folder = output / "adapters" / name
        shutil.rmtree(folder, ignore_errors=True)
        write_adapter(DATA / "models" / base, folder, settings, seed)
        (output / "golden").mkdir(exist_ok=True)
        np.savez_compressed(output / "golden" / f"{name}.npz", **golden(DATA / "models" / base, folder))
        check(DATA / "models" / base, folder)


if __name__ == "__main__":
    main()
