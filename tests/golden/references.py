"""The forward passes that no package has, written here in plain torch: which folders need one, and how it is loaded."""

from pathlib import Path
from typing import Any

import torch
from jina_reference import JinaBertReference
from jsonfile import read_json
from nomic_reference import NomicMoeReference
from safetensors.torch import load_file


def reference_of(folder: Path) -> torch.nn.Module | None:
    """The reference of a folder's model with its weights; None if transformers computes it."""
    config = read_json(folder / "config.json")
    if not has_reference(config):
        return None
    weights = load_file(folder / "model.safetensors")
    reference: torch.nn.Module
    if has_experts(config):
        reference = NomicMoeReference(config)
    else:
        reference = JinaBertReference(config, any("layer_norm_q" in name for name in weights))
    reference.load_state_dict(weights)
    return reference.eval()


def has_reference(config: dict[str, Any]) -> bool:
    return has_experts(config) or str(config.get("auto_map", {}).get("AutoModel")).endswith("JinaBertModel")


def has_experts(config: dict[str, Any]) -> bool:
    return bool(config["model_type"] == "nomic_bert" and config.get("num_experts"))


def without_code(config: dict[str, Any]) -> dict[str, Any]:
    """A config.json with which sentence-transformers loads some model of the same sizes, to be replaced."""
    kept = {key: value for key, value in config.items() if key not in ("auto_map", "position_embedding_type")}
    if has_experts(config):
        sizes = {"hidden_size": "n_embd", "intermediate_size": "n_inner", "num_hidden_layers": "n_layer"}
        sizes |= {"num_attention_heads": "n_head", "max_position_embeddings": "n_positions"}
        kept = {key: config[key] for key in ("model_type", "vocab_size", "type_vocab_size")}
        kept |= {key: config[name] for key, name in sizes.items()}
    return kept
