"""The tiny NomicBERT with experts, in the layout of nomic-embed-text-v2-moe."""

from pathlib import Path
from typing import Any

from encoder_tokenizers import write_xlm_roberta_tokenizer
from jsonfile import write_json
from nomic_reference import NomicMoeReference
from tiny_encoders import original_nomic_config
from tiny_parts import Pipeline, randomize, save, write_pipeline
from transformers import NomicBertConfig

POSITIONS, MOE_TOKENS = 1024, 512
MOE_STDS = {
    "word_embeddings": 1.0,
    "token_type_embeddings": 0.3,
    "Wqkv": 0.3,
    "out_proj": 0.12,
    "fc2": 0.12,
    "router": 0.4,
    "mlp.w2": 0.15,
}
MOE_PROMPTS = {
    "passage": "search_document: ",
    "query": "search_query: ",
    "Classification": "classification: ",
    "Clustering": "clustering: ",
}


def moe_config(vocab_size: int) -> dict[str, Any]:
    sizes = NomicBertConfig(
        vocab_size=-(-vocab_size // 64) * 64,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    experts = {
        "activation_function": "gelu",
        "add_pooling_layer": False,
        "embd_pdrop": 0.1,
        "expert_choice_router": False,
        "ffn_div": 1,
        "max_trained_positions": 2048,
        "mlp_fc1_bias": True,
        "mlp_fc2_bias": True,
        "moe_every_n_layers": 2,
        "moe_impl": "megablocks",
        "moe_normalize_expert_weights": False,
        "moe_resid_pdrop": 0.0,
        "moe_top_k": 2,
        "num_experts": 4,
        "num_shared_experts": 0,
        "pad_token_id": 1,
        "qkv_proj_bias": True,
        "rotary_emb_base": 10000,
        "router_aux_loss_coef": 0.1,
        "use_rms_norm": None,
    }
    return dict(sorted((original_nomic_config(sizes) | experts).items()))


def write_tiny_nomic_moe(folder: Path) -> None:
    """Experts in layers 1 and 3; 512 tokens of 1024 positions."""
    tokenizer = write_xlm_roberta_tokenizer(folder, MOE_TOKENS)
    config = moe_config(tokenizer.get_vocab_size())
    model = NomicMoeReference(config)
    randomize(model, seed=61, norm_center=1.0, linear_std=0.25, other_stds=MOE_STDS)
    write_json(folder / "config.json", config)
    save(model.state_dict(), folder)
    write_pipeline(folder, config["n_embd"], Pipeline("mean_tokens", MOE_PROMPTS, max_seq_length=MOE_TOKENS))
