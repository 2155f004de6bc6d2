"""The tiny decoders after Qwen3 and Gemma 3: pplx-embed's Qwen3 that attends both ways, and a Llama."""

from pathlib import Path
from typing import Any

from jsonfile import write_json
from tiny_parts import Pipeline, randomize, save, write_pipeline
from tiny_tokenizers import write_qwen_tokenizer
from transformers import LlamaConfig, LlamaModel, PreTrainedConfig, Qwen3Config, Qwen3Model

DECODER_TOKENS = 1024


def write_tiny_pplx(folder: Path) -> None:
    """pplx-embed-v1-0.6b: Qwen3 without a causal mask, a tokenizer that appends nothing, and a quantizer at the end.

    There is no ``sentence_bert_config.json``, and more rows of embeddings than tokens.
    """
    tokenizer = write_qwen_tokenizer(folder, append=False)
    end_of_text = tokenizer.token_to_id("<|endoftext|>")
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size() + 16,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=64,
        max_position_embeddings=DECODER_TOKENS,
        max_window_layers=3,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000},
        tie_word_embeddings=True,
        use_cache=False,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        architectures=["PPLXQwen3Model"],
        dtype="float32",
    )
    model = Qwen3Model(config)
    randomize(model, seed=10, norm_center=1.0, linear_std=0.25)
    save(model.state_dict(), folder)
    own = {
        "auto_map": {"AutoConfig": "configuration.PPLXQwen3Config", "AutoModel": "modeling.PPLXQwen3Model"},
        "model_type": "bidirectional_pplx_qwen3",
        "use_bidirectional_attention": True,
    }
    write_json(folder / "config.json", dict(sorted((one_theta_config(config) | own).items())))
    write_pipeline(folder, config.hidden_size, Pipeline("mean_tokens", quantizer=True))


def write_tiny_llama(folder: Path) -> None:
    """For mlx-lm: the names of ``LlamaForCausalLM``, whose head is the embedding table and so not stored."""
    tokenizer = write_qwen_tokenizer(folder)
    end_of_text = tokenizer.token_to_id("<|endoftext|>")
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        max_position_embeddings=DECODER_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        architectures=["LlamaForCausalLM"],
        dtype="float32",
    )
    model = LlamaModel(config)
    randomize(model, seed=11, norm_center=1.0, linear_std=0.25)
    save({f"model.{name}": tensor for name, tensor in model.state_dict().items()}, folder)
    write_json(folder / "config.json", one_theta_config(config))
    write_pipeline(folder, config.hidden_size, Pipeline("lasttoken", max_seq_length=DECODER_TOKENS))


def one_theta_config(config: PreTrainedConfig) -> dict[str, Any]:
    """The model in the keys of transformers 4, as published and as mlx-lm reads them."""
    values: dict[str, Any] = {**config.to_diff_dict(), "rope_scaling": None, "transformers_version": "4.57.1"}
    values["rope_theta"] = values.pop("rope_parameters")["rope_theta"]
    return dict(sorted(values.items()))
