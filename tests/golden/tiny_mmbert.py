"""Tiny ModernBERTs of other settings: mmBERT with Gemma's tokenizer, and Granite with SiLU."""

from pathlib import Path

from jsonfile import read_json, write_json
from tiny_encoders import LOCAL_ATTENTION, ROTARY_TOKENS, legacy_modernbert_config
from tiny_parts import Pipeline, randomize, write_model
from tiny_tokenizers import write_gemma_tokenizer
from transformers import ModernBertConfig, ModernBertModel

THETA, GRANITE_THETA = 160_000.0, 10_000.0


def write_tiny_mmbert(folder: Path) -> None:
    """mmBERT's config.json in the keys of transformers 4 and 5 at once, as published; one base for all layers."""
    _write(folder, THETA, "gelu", seed=71)


def write_tiny_granite(folder: Path) -> None:
    """The activation of granite-embedding-97m-multilingual-r2."""
    _write(folder, GRANITE_THETA, "silu", seed=72)


def _write(folder: Path, local_theta: float, activation: str, seed: int) -> None:
    tokenizer = write_gemma_tokenizer(folder, ROTARY_TOKENS)
    config = ModernBertConfig(
        vocab_size=-(-tokenizer.get_vocab_size() // 64) * 64,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=ROTARY_TOKENS,
        local_attention=LOCAL_ATTENTION,
        hidden_activation=activation,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": THETA},
            "sliding_attention": {"rope_type": "default", "rope_theta": local_theta},
        },
        classifier_pooling="mean",
        pad_token_id=0,
        bos_token_id=2,
        cls_token_id=1,
        eos_token_id=1,
        sep_token_id=1,
    )
    model = ModernBertModel(config)
    randomize(model, seed=seed, norm_center=1.0, linear_std=0.25)
    write_model(folder, model, "ModernBertModel", Pipeline("cls_token", max_seq_length=ROTARY_TOKENS))
    both = legacy_modernbert_config(model.config) | {"position_embedding_type": "sans_pos"}
    both["rope_parameters"] = read_json(folder / "config.json")["rope_parameters"]
    write_json(folder / "config.json", dict(sorted(both.items())))
