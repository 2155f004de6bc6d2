"""The tiny checkpoints: random weights in the layouts of the real models.

The weights are larger than an initialization's, so that attention is far from uniform, and the norms are random too:
a port that forgets a position, a window, a norm or the ``1 +`` of Gemma's norms computes visibly other vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import sentence_transformers
import torch
from jsonfile import read_json, write_json
from safetensors.torch import save as to_safetensors
from tiny_tokenizers import write_bert_tokenizer, write_gemma_tokenizer, write_qwen_tokenizer
from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertModel,
    Gemma3TextConfig,
    Gemma3TextModel,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3Model,
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


@dataclass(frozen=True)
class Pipeline:
    """The sentence-transformers files around a model. ``dense`` holds (in, out) sizes; None writes no such file."""

    pooling: str
    prompts: Mapping[str, str] = field(default_factory=dict)
    dense: tuple[tuple[int, int], ...] = ()
    max_seq_length: int | None = None


def randomize(
    model: torch.nn.Module,
    seed: int,
    *,
    norm_center: float,
    linear_std: float,
    other_stds: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Fill every parameter from one generator, in the order of their names.

    ``other_stds`` maps a part of a name to the standard deviation that its weights have instead of ``linear_std``.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            elif "norm" in name.lower():
                # Sharper attention where queries and keys are normalized.
                sharpening = 0.5 if "q_norm" in name or "k_norm" in name else 0.0
                parameter.copy_(norm_center + sharpening + 0.3 * noise)
            else:
                std = next((std for part, std in other_stds.items() if part in name), linear_std)
                parameter.copy_(std * noise)


def write_pipeline(folder: Path, hidden_size: int, pipeline: Pipeline) -> None:
    """``modules.json``, ``1_Pooling/``, ``N_Dense/`` with random weights, and the prompts."""
    dense = [f"{index}_Dense" for index, _ in enumerate(pipeline.dense, start=2)]
    paths = ["", "1_Pooling", *dense, f"{len(dense) + 2}_Normalize"]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, path in enumerate(paths)
        for kind in [path.partition("_")[2] or "Transformer"]
    ]
    write_json(folder / "modules.json", modules)
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    pooling = {f"pooling_mode_{mode}": mode == pipeline.pooling for mode in modes}
    (folder / "1_Pooling").mkdir()
    pooling_config = {"word_embedding_dimension": hidden_size} | pooling | {"include_prompt": True}
    write_json(folder / "1_Pooling" / "config.json", pooling_config)
    for path, (in_features, out_features) in zip(dense, pipeline.dense, strict=True):
        (folder / path).mkdir()
        sizes = {"in_features": in_features, "out_features": out_features}
        identity = {"bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
        write_json(folder / path / "config.json", sizes | identity)
        linear = torch.nn.Linear(in_features, out_features, bias=False)
        randomize(linear, seed=in_features, norm_center=1.0, linear_std=0.15)
        save(linear.state_dict(prefix="linear."), folder / path)
    if pipeline.max_seq_length is not None:
        limits = {"max_seq_length": pipeline.max_seq_length, "do_lower_case": False}
        write_json(folder / "sentence_bert_config.json", limits)
    prompts = {"prompts": dict(pipeline.prompts), "default_prompt_name": None, "similarity_fn_name": "cosine"}
    versions = {"sentence_transformers": sentence_transformers.__version__, "pytorch": torch.__version__}
    settings = {"__version__": versions} | (prompts if pipeline.prompts else {})
    write_json(folder / "config_sentence_transformers.json", settings)


def save(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    contiguous = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
    (folder / "model.safetensors").write_bytes(to_safetensors(contiguous, metadata={"format": "pt"}))


def write_model(folder: Path, model: PreTrainedModel, architecture: str, pipeline: Pipeline) -> None:
    model.config.architectures = [architecture]
    model.config.dtype = "float32"
    model.config.save_pretrained(folder)
    save(model.state_dict(), folder)
    write_pipeline(folder, model.config.hidden_size, pipeline)


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


def write_tiny_gemma3_causal(folder: Path) -> None:
    tokenizer = write_gemma_tokenizer(folder, GEMMA_TOKENS)
    model = Gemma3TextModel(gemma_config(tokenizer, bidirectional=False))
    randomize(model, seed=4, norm_center=0.0, linear_std=0.2)
    pipeline = Pipeline("lasttoken", QWEN_PROMPTS, max_seq_length=GEMMA_TOKENS)
    write_model(folder, model, "Gemma3TextModel", pipeline)


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
    names = ("tiny-bert", "tiny-bert-cls", "tiny-qwen3", "tiny-gemma3", "tiny-gemma3-causal")
    for name in (*names, "tiny-gemma3-odd"):
        (root / name).mkdir(parents=True)
    write_tiny_berts(root / "tiny-bert", root / "tiny-bert-cls")
    write_tiny_qwen3(root / "tiny-qwen3")
    write_tiny_gemma3(root / "tiny-gemma3", root / "tiny-gemma3-odd")
    write_tiny_gemma3_causal(root / "tiny-gemma3-causal")
    return list(names)
