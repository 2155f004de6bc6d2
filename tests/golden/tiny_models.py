"""The tiny checkpoints: random weights in the layouts of the real models.

The weights are larger than an initialization's, so that attention is far from uniform, and the norms are random too:
a port that forgets a position, a window, a norm or the ``1 +`` of Gemma's norms computes visibly other vectors.
"""

from pathlib import Path
from typing import Any

import torch
from jsonfile import read_json, write_json
from tiny_bidirectional import (
    write_tiny_eurobert,
    write_tiny_lfm2,
    write_tiny_llama_bidirec,
    write_tiny_ministral3,
    write_tiny_qwen2_bidirec,
    write_tiny_voyage,
)
from tiny_decoders import write_tiny_llama, write_tiny_pplx
from tiny_encoders import write_tiny_modernbert, write_tiny_mpnet, write_tiny_nomic_bert, write_tiny_xlm_roberta
from tiny_gte import write_tiny_arctic, write_tiny_gte, write_tiny_stella
from tiny_jina import write_tiny_jina, write_tiny_jina_code
from tiny_mmbert import write_tiny_granite, write_tiny_mmbert
from tiny_nomic_moe import write_tiny_nomic_moe
from tiny_parts import Pipeline, randomize, save, write_model, write_pipeline
from tiny_tokenizers import write_bert_tokenizer, write_gemma_tokenizer, write_qwen_tokenizer
from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertModel,
    Gemma3TextConfig,
    Gemma3TextModel,
    PreTrainedConfig,
    Qwen3Config,
    Qwen3Model,
)

NAMES = (
    *("tiny-bert", "tiny-bert-cls", "tiny-qwen3", "tiny-gemma3", "tiny-gemma3-causal"),
    *("tiny-xlm-roberta", "tiny-modernbert", "tiny-nomic-bert", "tiny-mpnet", "tiny-pplx", "tiny-llama"),
    *("tiny-eurobert", "tiny-llama-bidirec", "tiny-voyage", "tiny-qwen2-bidirec", "tiny-ministral3", "tiny-lfm2"),
    *("tiny-gte", "tiny-arctic", "tiny-stella", "tiny-jina", "tiny-jina-code", "tiny-nomic-moe"),
    *("tiny-mmbert", "tiny-granite"),
)

BERT_TOKENS, BERT_CLS_TOKENS, GEMMA_TOKENS, QWEN_TOKENS = 2048, 512, 2048, 4096
WINDOW = 32

# Without norms of queries and keys, and with norms after the residual sums, equal weights would make all positions of
# a text nearly the same vector, and then mean, CLS and last-token pooling nearly the same.
BERT_STDS = {
    "word_embeddings": 1.0,
    "position_embeddings": 0.7,
    "token_type_embeddings": 0.3,
    "query": 0.4,
    "key": 0.4,
    "output.dense": 0.12,
}

QWEN_PROMPTS = {
    "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
    "document": "",
}
BGE_PROMPTS = {"query": "Represent this sentence for searching relevant passages: "}
GEMMA_PROMPTS = {
    "query": "task: search result | query: ",
    "document": "title: none | text: ",
    "BitextMining": "task: search result | query: ",
    "Clustering": "task: clustering | query: ",
    "Classification": "task: classification | query: ",
    "InstructionRetrieval": "task: code retrieval | query: ",
    "MultilabelClassification": "task: classification | query: ",
    "PairClassification": "task: sentence similarity | query: ",
    "Reranking": "task: search result | query: ",
    "Retrieval": "task: search result | query: ",
    "Retrieval-query": "task: search result | query: ",
    "Retrieval-document": "title: none | text: ",
    "STS": "task: sentence similarity | query: ",
    "Summarization": "task: summarization | query: ",
}


def write_tiny_berts(mean_folder: Path, cls_folder: Path) -> None:
    """The mean-pooled model, and its embeddings and first layer again, CLS-pooled and with 512 positions.

    The second has two things that real files have and that must not matter: the ``position_ids`` of old checkpoints,
    and in ``tokenizer.json`` a truncation to and a padding to 128 tokens, as MiniLM has.
    """
    tokenizer = write_bert_tokenizer(mean_folder, BERT_TOKENS, traps=False)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=BERT_TOKENS,
    )
    model = BertModel(config)
    randomize(model, seed=1, norm_center=1.0, linear_std=0.25, other_stds=BERT_STDS)
    write_model(mean_folder, model, "BertModel", Pipeline("mean_tokens", max_seq_length=BERT_TOKENS))

    write_bert_tokenizer(cls_folder, BERT_CLS_TOKENS, traps=True)
    positions = "embeddings.position_embeddings.weight"
    later_layers = tuple(f"encoder.layer.{index}." for index in range(1, config.num_hidden_layers))
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(later_layers)}
    weights[positions] = weights[positions][:BERT_CLS_TOKENS]
    weights["embeddings.position_ids"] = torch.arange(BERT_CLS_TOKENS)[None]
    config.update({"num_hidden_layers": 1, "max_position_embeddings": BERT_CLS_TOKENS})
    config.save_pretrained(cls_folder)
    save(weights, cls_folder)
    write_pipeline(cls_folder, config.hidden_size, Pipeline("cls_token", BGE_PROMPTS, max_seq_length=BERT_CLS_TOKENS))


def write_tiny_qwen3(folder: Path) -> None:
    """Keys without ``model.`` and no ``sentence_bert_config.json``, as in Qwen3-Embedding-0.6B."""
    tokenizer = write_qwen_tokenizer(folder)
    end_of_text = tokenizer.token_to_id("<|endoftext|>")
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=64,
        max_position_embeddings=QWEN_TOKENS,
        max_window_layers=3,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000},
        tie_word_embeddings=True,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
    )
    model = Qwen3Model(config)
    randomize(model, seed=2, norm_center=1.0, linear_std=0.25)
    write_model(folder, model, "Qwen3ForCausalLM", Pipeline("lasttoken", QWEN_PROMPTS))
    write_json(folder / "config.legacy.json", legacy_config(model.config))


def gemma_config(tokenizer: Tokenizer, *, bidirectional: bool) -> Gemma3TextConfig:
    """``sliding_window`` is a width when bidirectional (64: 32 to either side) and a depth when causal."""
    return Gemma3TextConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=48,
        num_hidden_layers=6,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        intermediate_size=96,
        max_position_embeddings=GEMMA_TOKENS,
        sliding_window=2 * WINDOW if bidirectional else WINDOW,
        use_bidirectional_attention=bidirectional,
    )


def write_tiny_gemma3(folder: Path, odd_folder: Path) -> None:
    """EmbeddingGemma's pipeline. ``odd_folder`` gets a config only: the same model after an older transformers saved
    it again and wrote the window it had already halved.
    """
    tokenizer = write_gemma_tokenizer(folder, GEMMA_TOKENS)
    model = Gemma3TextModel(gemma_config(tokenizer, bidirectional=True))
    randomize(model, seed=3, norm_center=0.0, linear_std=0.2)
    pipeline = Pipeline("mean_tokens", GEMMA_PROMPTS, dense=((48, 96), (96, 48)), max_seq_length=GEMMA_TOKENS)
    write_model(folder, model, "Gemma3TextModel", pipeline)
    write_json(folder / "config.legacy.json", legacy_config(model.config))
    write_json(odd_folder / "config.json", read_json(folder / "config.json") | {"sliding_window": WINDOW + 1})


def write_tiny_gemma3_causal(folder: Path, linear_folder: Path) -> None:
    """harrier-oss-v1-270m's. ``linear_folder`` gets a config only: the rotary positions of Gemma 3's larger models,
    whose layers of full attention divide them by 8.
    """
    tokenizer = write_gemma_tokenizer(folder, GEMMA_TOKENS)
    model = Gemma3TextModel(gemma_config(tokenizer, bidirectional=False))
    randomize(model, seed=4, norm_center=0.0, linear_std=0.2)
    pipeline = Pipeline("lasttoken", QWEN_PROMPTS, max_seq_length=GEMMA_TOKENS)
    write_model(folder, model, "Gemma3TextModel", pipeline)
    scaling = {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    write_json(linear_folder / "config.json", legacy_config(model.config) | scaling)


def legacy_config(config: PreTrainedConfig) -> dict[str, Any]:
    """The same model in the keys of transformers 4, which the published checkpoints have."""
    values: dict[str, Any] = {**config.to_diff_dict(), "rope_scaling": None, "transformers_version": "4.51.3"}
    rope = values.pop("rope_parameters")
    del values["layer_types"]
    values["torch_dtype"] = values.pop("dtype")
    if "full_attention" in rope:
        thetas = {kind: rope[f"{kind}_attention"]["rope_theta"] for kind in ("full", "sliding")}
        values |= {"rope_theta": thetas["full"], "rope_local_base_freq": thetas["sliding"]}
        values["_sliding_window_pattern"] = 6
    else:
        values["rope_theta"] = rope["rope_theta"]
    return dict(sorted(values.items()))


def write_models(root: Path) -> list[str]:
    """Write all checkpoints below ``root``; returns the names of those with weights."""
    for name in ("tiny-gemma3-odd", "tiny-gemma3-linear"):
        (root / name).mkdir(parents=True)
    for name in NAMES:
        (root / name).mkdir()
    write_tiny_berts(root / "tiny-bert", root / "tiny-bert-cls")
    write_tiny_qwen3(root / "tiny-qwen3")
    write_tiny_gemma3(root / "tiny-gemma3", root / "tiny-gemma3-odd")
    write_tiny_gemma3_causal(root / "tiny-gemma3-causal", root / "tiny-gemma3-linear")
    write_tiny_xlm_roberta(root / "tiny-xlm-roberta")
    write_tiny_modernbert(root / "tiny-modernbert")
    write_tiny_nomic_bert(root / "tiny-nomic-bert")
    write_tiny_mpnet(root / "tiny-mpnet")
    write_tiny_pplx(root / "tiny-pplx")
    write_tiny_llama(root / "tiny-llama")
    write_tiny_eurobert(root / "tiny-eurobert")
    write_tiny_llama_bidirec(root / "tiny-llama-bidirec")
    write_tiny_voyage(root / "tiny-voyage")
    write_tiny_qwen2_bidirec(root / "tiny-qwen2-bidirec")
    write_tiny_lfm2(root / "tiny-lfm2")
    write_tiny_ministral3(root / "tiny-ministral3")
    write_tiny_gte(root / "tiny-gte")
    write_tiny_arctic(root / "tiny-arctic")
    write_tiny_stella(root / "tiny-stella")
    write_tiny_jina(root / "tiny-jina")
    write_tiny_jina_code(root / "tiny-jina-code")
    write_tiny_nomic_moe(root / "tiny-nomic-moe")
    write_tiny_mmbert(root / "tiny-mmbert")
    write_tiny_granite(root / "tiny-granite")
    return list(NAMES)
