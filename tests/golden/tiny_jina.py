"""The tiny JinaBERTs, in the layouts of jina-embeddings-v2-base-en and jina-embeddings-v2-base-code."""

from pathlib import Path
from typing import Any

from jina_reference import JinaBertReference
from jsonfile import read_json, write_json
from reranker_tokenizers import write_roberta_tokenizer
from tiny_parts import Pipeline, randomize, save, write_pipeline
from tiny_tokenizers import write_bert_tokenizer

JINA_TOKENS = 1024
JINA_STDS = {
    "word_embeddings": 1.0,
    "token_type_embeddings": 0.3,
    "query": 0.3,
    "key": 0.3,
    "output.dense": 0.12,
    "mlp.wo": 0.12,
    "down_layer": 0.12,
}
# Its blocks add their input twice, so that less of the attention shows.
JINA_CODE_STDS = JINA_STDS | {"output.dense": 0.4, "word_embeddings": 0.7}


def jina_config(code: str, vocab_size: int, hidden: int, heads: int, **more: Any) -> dict[str, Any]:
    """config.json as published, where ``code`` is the repository of the authors' code."""
    return {
        "_name_or_path": code,
        "architectures": ["JinaBertForMaskedLM"],
        "attention_probs_dropout_prob": 0.0,
        "attn_implementation": "torch",
        "auto_map": {
            "AutoConfig": f"{code}--configuration_bert.JinaBertConfig",
            "AutoModel": f"{code}--modeling_bert.JinaBertModel",
            "AutoModelForMaskedLM": f"{code}--modeling_bert.JinaBertForMaskedLM",
            "AutoModelForSequenceClassification": f"{code}--modeling_bert.JinaBertForSequenceClassification",
        },
        "classifier_dropout": None,
        "emb_pooler": "mean",
        "feed_forward_type": "geglu",
        "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": 64,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": JINA_TOKENS,
        "model_max_length": JINA_TOKENS,
        "model_type": "bert",
        "num_attention_heads": heads,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "position_embedding_type": "alibi",
        "torch_dtype": "float32",
        "transformers_version": "4.26.0",
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": -(-vocab_size // 64) * 64,
    } | more


def write_jina(folder: Path, config: dict[str, Any], seed: int, *, norms_queries: bool) -> None:
    model = JinaBertReference(config, norms_queries)
    stds = JINA_CODE_STDS if norms_queries else JINA_STDS
    randomize(model, seed=seed, norm_center=1.0, linear_std=0.25, other_stds=stds)
    write_json(folder / "config.json", config)
    save(model.state_dict(), folder)
    write_pipeline(folder, config["hidden_size"], Pipeline("mean_tokens", max_seq_length=JINA_TOKENS))
    settings = read_json(folder / "sentence_bert_config.json")
    write_json(folder / "sentence_bert_config.json", settings | {"model_args": {"trust_remote_code": True}})


def write_tiny_jina(folder: Path) -> None:
    """jina-embeddings-v2-base-en, with a number of heads that is no power of 2."""
    tokenizer = write_bert_tokenizer(folder, JINA_TOKENS, traps=False)
    config = jina_config("jinaai/jina-bert-implementation", tokenizer.get_vocab_size(), hidden=48, heads=6)
    write_jina(folder, config, seed=51, norms_queries=False)


def write_tiny_jina_code(folder: Path) -> None:
    """jina-embeddings-v2-base-code, with 4 heads."""
    tokenizer = write_roberta_tokenizer(folder, JINA_TOKENS)
    code = "jinaai/jina-bert-v2-qk-post-norm"
    config = jina_config(code, tokenizer.get_vocab_size(), hidden=32, heads=4, pad_token_id=1)
    write_jina(folder, config, seed=52, norms_queries=True)
