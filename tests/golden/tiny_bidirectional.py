"""The tiny decoders that attend both ways: EuroBERT, NVIDIA's Llama and Ministral 3, voyage's Qwen3, Qwen2 and LFM2.

Where transformers has no class for the authors' own code, ``config.native.json`` gives the same model by one of its
own, which attends both ways since ``is_causal`` is false.
"""

from pathlib import Path
from typing import Any

from jsonfile import write_json
from tiny_parts import Pipeline, randomize, save, write_model, write_pipeline
from tiny_tokenizers import write_llama3_tokenizer, write_qwen_tokenizer
from torch import Generator, randn
from transformers import (
    EuroBertConfig,
    EuroBertModel,
    Lfm2Config,
    Lfm2Model,
    LlamaConfig,
    LlamaModel,
    Ministral3Config,
    Ministral3Model,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
)

TOKENS = 512
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": TOKENS,
}
# A head of 8 has pairs that take 6, 167, 4,443 and 118,147 tokens for a turn: one kept, one between, two slowed down.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
# The same span, and heads of 8 whose slower pairs are slowed down; queries grow from the 128th token on.
YARN_ROPE = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 128,
    "max_position_embeddings": TOKENS,
    "beta_fast": 16.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.5,
}
PROJECTED = 48
COLON_PROMPTS = {"query": "Query: ", "document": "Document: "}
VOYAGE_PROMPTS = {
    "query": "Represent the query for retrieving supporting documents: ",
    "document": "Represent the document for retrieval: ",
}
PASSAGE_PROMPTS = {"query": "query: ", "document": "passage: "}


def write_tiny_eurobert(folder: Path) -> None:
    """jina-embeddings-v5-text-nano: the last token, two prompts; the keys of EuroBERT's own code."""
    tokenizer = write_llama3_tokenizer(folder, ending=True)
    ids = {f"{name}_token_id": tokenizer.token_to_id(f"<|{name}_of_text|>") for name in ("begin", "end")}
    config = EuroBertConfig(
        **SIZES,
        vocab_size=tokenizer.get_vocab_size(),
        head_dim=8,
        rope_parameters={"rope_type": "default", "rope_theta": 250_000.0},
        bos_token_id=ids["begin_token_id"],
        eos_token_id=ids["end_token_id"],
        pad_token_id=ids["end_token_id"],
        mask_token_id=tokenizer.token_to_id("<|mask|>"),
    )
    model = EuroBertModel(config)
    randomize(model, seed=12, norm_center=1.0, linear_std=0.25)
    save(model.state_dict(), folder)
    own = {
        "architectures": ["EuroBertModel"],
        "auto_map": own_code("eurobert", "EuroBert")
        | {"AutoModelForMaskedLM": "modeling_eurobert.EuroBertForMaskedLM"},
        "clip_qkv": None,
    }
    write_json(folder / "config.json", dict(sorted((older_config(model) | own).items())))
    write_pipeline(folder, config.hidden_size, Pipeline("lasttoken", COLON_PROMPTS, max_seq_length=TOKENS))


def write_tiny_llama_bidirec(folder: Path) -> None:
    """llama-nemotron-embed-1b-v2: mean pooling, Llama 3's stretched rotary positions, NVIDIA's own class."""
    tokenizer = write_llama3_tokenizer(folder, ending=False)
    config = LlamaConfig(
        **SIZES,
        vocab_size=tokenizer.get_vocab_size(),
        head_dim=8,
        rope_parameters={**LLAMA3_ROPE, "rope_theta": 500_000.0},
        rms_norm_eps=1e-5,
        bos_token_id=tokenizer.token_to_id("<|begin_of_text|>"),
        eos_token_id=tokenizer.token_to_id("<|end_of_text|>"),
        is_causal=False,
    )
    model = LlamaModel(config)
    randomize(model, seed=13, norm_center=1.0, linear_std=0.25)
    save(model.state_dict(), folder)
    own = {
        "architectures": ["LlamaBidirectionalModel"],
        "auto_map": own_code("llama_bidirectional", "LlamaBidirectional"),
        "model_type": "llama_bidirec",
        "pooling": "avg",
        "temperature": 0.02,
    }
    write_own_config(folder, model, own)
    write_pipeline(folder, config.hidden_size, Pipeline("mean_tokens", PASSAGE_PROMPTS, max_seq_length=TOKENS))


def write_tiny_voyage(folder: Path) -> None:
    """voyage-4-nano: Qwen3 with a linear layer after it, whose outputs its own class counts as labels."""
    tokenizer = write_qwen_tokenizer(folder)
    end_of_text = tokenizer.token_to_id("<|endoftext|>")
    config = Qwen3Config(
        **SIZES,
        vocab_size=tokenizer.get_vocab_size(),
        head_dim=16,
        max_window_layers=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        is_causal=False,
    )
    model = Qwen3Model(config)
    randomize(model, seed=14, norm_center=1.0, linear_std=0.25)
    linear = 0.25 * randn(PROJECTED, config.hidden_size, generator=Generator().manual_seed(15))
    prefixed = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    save(prefixed | {"linear.weight": linear}, folder)
    own = {
        "architectures": ["Qwen3BidirectionalModel"],
        "auto_map": {"AutoModel": "modeling_qwen3_bidirectional.Qwen3BidirectionalModel"},
        "num_labels": PROJECTED,
    }
    write_own_config(folder, model, own)
    write_pipeline(folder, PROJECTED, Pipeline("mean_tokens", VOYAGE_PROMPTS, max_seq_length=TOKENS))


def write_tiny_qwen2_bidirec(folder: Path) -> None:
    """KaLM-embedding-multilingual-mini-instruct-v2.5 by the class that transformers has: mean pooling, no prompts."""
    tokenizer = write_qwen_tokenizer(folder)
    end_of_text = tokenizer.token_to_id("<|endoftext|>")
    config = Qwen2Config(
        **SIZES,
        vocab_size=tokenizer.get_vocab_size(),
        max_window_layers=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        is_causal=False,
    )
    model = Qwen2Model(config)
    randomize(model, seed=16, norm_center=1.0, linear_std=0.25)
    write_model(folder, model, "Qwen2Model", Pipeline("mean_tokens", max_seq_length=TOKENS))


def write_tiny_ministral3(folder: Path) -> None:
    """Nemotron-3-Embed: transformers' Ministral 3, which attends both ways because ``is_causal`` is false."""
    tokenizer = write_llama3_tokenizer(folder, ending=False)
    config = Ministral3Config(
        **SIZES,
        vocab_size=tokenizer.get_vocab_size(),
        head_dim=8,
        rope_parameters={**YARN_ROPE, "rope_theta": 1_000_000.0},
        bos_token_id=tokenizer.token_to_id("<|begin_of_text|>"),
        eos_token_id=tokenizer.token_to_id("<|end_of_text|>"),
        pad_token_id=tokenizer.token_to_id("<|end_of_text|>"),
        is_causal=False,
    )
    model = Ministral3Model(config)
    randomize(model, seed=17, norm_center=1.0, linear_std=0.25)
    write_model(folder, model, "Ministral3Model", Pipeline("mean_tokens", PASSAGE_PROMPTS, max_seq_length=TOKENS))


def write_tiny_lfm2(folder: Path) -> None:
    """LFM2.5-Embedding-350M: CLS pooling, convolutions around attention, the class of its repository."""
    tokenizer = write_llama3_tokenizer(folder, ending=False)
    sizes = SIZES | {"num_hidden_layers": 4, "intermediate_size": 88}
    config = Lfm2Config(
        **sizes,
        vocab_size=tokenizer.get_vocab_size(),
        layer_types=["conv", "full_attention", "conv", "full_attention"],
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        block_multiple_of=16,
        bos_token_id=tokenizer.token_to_id("<|begin_of_text|>"),
        eos_token_id=tokenizer.token_to_id("<|end_of_text|>"),
        pad_token_id=tokenizer.token_to_id("<|end_of_text|>"),
        is_causal=False,
    )
    model = Lfm2Model(config)
    randomize(model, seed=18, norm_center=1.0, linear_std=0.25)
    save(model.state_dict(), folder)
    own = {
        "architectures": ["Lfm2BidirectionalModel"],
        "auto_map": {"AutoModel": "modeling_lfm2_bidirectional.Lfm2BidirectionalModel"},
        "tie_embedding": True,
    }
    write_own_config(folder, model, own)
    prompts = {"query": "query: ", "document": "document: "}
    write_pipeline(folder, config.hidden_size, Pipeline("cls_token", prompts, max_seq_length=TOKENS))


def own_code(file: str, name: str) -> dict[str, str]:
    """``auto_map`` of a repository with code of its own."""
    return {"AutoConfig": f"configuration_{file}.{name}Config", "AutoModel": f"modeling_{file}.{name}Model"}


def write_own_config(folder: Path, model: PreTrainedModel, own: dict[str, Any]) -> None:
    """config.json as published, and ``config.native.json`` of the class that transformers has."""
    model.config.architectures = [type(model).__name__]
    model.config.dtype = "float32"
    write_json(folder / "config.native.json", model.config.to_diff_dict())
    published = older_config(model) | own
    del published["is_causal"]
    write_json(folder / "config.json", dict(sorted(published.items())))


def older_config(model: PreTrainedModel) -> dict[str, Any]:
    """The model in the keys of transformers 4, as published."""
    config: PreTrainedConfig = model.config
    values: dict[str, Any] = {**config.to_diff_dict(), "transformers_version": "4.57.1", "torch_dtype": "float32"}
    rope = dict(values.pop("rope_parameters"))
    values["rope_theta"] = rope.pop("rope_theta")
    values["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    values.pop("dtype", None)
    return values
