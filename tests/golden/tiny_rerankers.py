"""The tiny rerankers, and the tiny encoders of their architectures: random weights in the layouts of the real models.

As in ``tiny_models.py`` the weights are larger than an initialization's: a forgotten token type, another pooling or a
missing activation of the head moves the scores by far more than rounding does.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from encoder_tokenizers import write_modernbert_tokenizer, write_xlm_roberta_tokenizer
from jsonfile import read_json, write_json
from reranker_tokenizers import write_distilbert_tokenizer, write_qwen_reranker_tokenizer, write_roberta_tokenizer
from sentence_transformers import __version__ as sentence_transformers_version
from tiny_decoders import one_theta_config
from tiny_parts import Pipeline, randomize, save, write_model
from tiny_tokenizers import write_bert_tokenizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

EMBEDDERS = ("tiny-roberta", "tiny-distilbert")
CROSS_ENCODERS = (
    *("tiny-bert-reranker", "tiny-bert-labels", "tiny-xlm-roberta-reranker", "tiny-roberta-reranker"),
    *("tiny-distilbert-reranker", "tiny-modernbert-reranker-cls", "tiny-modernbert-reranker-mean"),
    "tiny-qwen3-classifier",
)
QWEN_RERANKERS = ("tiny-qwen3-reranker", "tiny-qwen3-reranker-untied")

SHORT, LONG = 512, 1024

IDENTITY = "torch.nn.modules.linear.Identity"
SIGMOID = "torch.nn.modules.activation.Sigmoid"

# As in ``tiny_models.BERT_STDS``, of smaller models; the last ones are the heads'.
ENCODER_STDS = {
    "word_embeddings": 1.0,
    "position_embeddings": 0.7,
    "token_type_embeddings": 0.5,
    "query": 0.5,
    "key": 0.5,
    "q_lin": 0.5,
    "k_lin": 0.5,
    "output.dense": 0.25,
    "ffn.lin2": 0.25,
    "out_lin": 0.25,
    "pooler.dense": 0.4,
    "pre_classifier": 0.4,
    "classifier.dense": 0.4,
    "classifier": 1.0,
}
MODERNBERT_STDS = {"head.dense": 0.4, "classifier": 0.5}
QWEN_STDS = {"score": 0.4, "embed_tokens": 0.5, "lm_head": 0.5}


def sizes(hidden: int, **more: Any) -> dict[str, Any]:
    """The sizes of a tiny BERT or RoBERTa."""
    common = {"hidden_size": hidden, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 2 * hidden}
    return common | more


def labels(*names: str) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


ONE_LABEL = labels("LABEL_0")


def write_reranker(
    folder: Path, model: PreTrainedModel, more: Mapping[str, Any], buffers: Mapping[str, torch.Tensor] | None = None
) -> None:
    """``config.json`` with the entries of ``more``, and the weights, with the ``buffers`` that old files have."""
    model.config.architectures = [type(model).__name__]
    model.config.dtype = "float32"
    model.config.save_pretrained(folder)
    write_json(folder / "config.json", dict(sorted((read_json(folder / "config.json") | dict(more)).items())))
    save(model.state_dict() | dict(buffers or {}), folder)


def activation(path: str) -> dict[str, Any]:
    """What sentence-transformers 4 and 5 write into ``config.json``."""
    return {"sentence_transformers": {"activation_fn": path, "version": "4.1.0"}}


def write_tiny_bert_reranker(folder: Path) -> None:
    """ms-marco-MiniLM-L6-v2, with its ``position_ids`` and a truncation in ``tokenizer.json`` that does not count."""
    tokenizer = write_bert_tokenizer(folder, SHORT, traps=True)
    config = BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=SHORT, **sizes(32), **ONE_LABEL)
    model = BertForSequenceClassification(config)
    randomize(model, seed=21, norm_center=1.0, linear_std=0.25, other_stds=ENCODER_STDS)
    positions = {"bert.embeddings.position_ids": torch.arange(SHORT)[None]}
    write_reranker(folder, model, activation(IDENTITY), positions)


def write_tiny_bert_labels(folder: Path) -> None:
    """nli cross-encoders: three labels, and nothing said about an activation."""
    tokenizer = write_bert_tokenizer(folder, LONG, traps=False)
    names = labels("contradiction", "entailment", "neutral")
    config = BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=LONG, **sizes(16), **names)
    model = BertForSequenceClassification(config)
    randomize(model, seed=22, norm_center=1.0, linear_std=0.3, other_stds=ENCODER_STDS)
    write_reranker(folder, model, {})


def write_tiny_xlm_roberta_reranker(folder: Path) -> None:
    """bge-reranker-v2-m3: two more positions than tokens, and nothing said about an activation."""
    tokenizer = write_xlm_roberta_tokenizer(folder, LONG)
    kinds = {"type_vocab_size": 1, "layer_norm_eps": 1e-5}
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=LONG + 2, **sizes(16, **kinds), **ONE_LABEL
    )
    model = XLMRobertaForSequenceClassification(config)
    randomize(model, seed=23, norm_center=1.0, linear_std=0.3, other_stds=ENCODER_STDS)
    write_reranker(folder, model, {})


def write_tiny_robertas(folder: Path, reranker: Path) -> None:
    """stsb-roberta-base, with its ``position_ids`` and its sigmoid, and an encoder of the same sizes."""
    for path in (folder, reranker):
        tokenizer = write_roberta_tokenizer(path, SHORT)
    kinds = {"type_vocab_size": 1, "layer_norm_eps": 1e-5}
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=SHORT + 2, **sizes(32, **kinds), **ONE_LABEL
    )
    model = RobertaForSequenceClassification(config)
    randomize(model, seed=24, norm_center=1.0, linear_std=0.25, other_stds=ENCODER_STDS)
    positions = {"roberta.embeddings.position_ids": torch.arange(config.max_position_embeddings)[None]}
    write_reranker(reranker, model, activation(SIGMOID), positions)
    plain = {"vocab_size": config.vocab_size, "max_position_embeddings": SHORT + 2}
    encoder = RobertaModel(RobertaConfig(**plain, **sizes(32, **kinds)))
    randomize(encoder, seed=25, norm_center=1.0, linear_std=0.25, other_stds=ENCODER_STDS)
    write_model(folder, encoder, "RobertaModel", Pipeline("mean_tokens", max_seq_length=SHORT))


def write_tiny_distilberts(folder: Path, reranker: Path) -> None:
    """No token types, no pooler; the activation in the key of sentence-transformers before 4. And an encoder."""
    for path, positions in ((folder, SHORT), (reranker, LONG)):
        tokenizer = write_distilbert_tokenizer(path, positions)
    shape = {"vocab_size": tokenizer.get_vocab_size(), "dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2}
    model = DistilBertForSequenceClassification(DistilBertConfig(max_position_embeddings=LONG, **shape, **ONE_LABEL))
    randomize(model, seed=26, norm_center=1.0, linear_std=0.3, other_stds=ENCODER_STDS)
    write_reranker(reranker, model, {"sbert_ce_default_activation_function": IDENTITY})
    encoder = DistilBertModel(DistilBertConfig(max_position_embeddings=SHORT, **shape | {"dim": 32, "hidden_dim": 64}))
    randomize(encoder, seed=43, norm_center=1.0, linear_std=0.25, other_stds=ENCODER_STDS)
    write_model(folder, encoder, "DistilBertModel", Pipeline("mean_tokens", max_seq_length=SHORT))


def write_tiny_modernbert_reranker(folder: Path, pooling: str, seed: int) -> None:
    """gte-reranker-modernbert-base: layer 0 attends fully, the others to 32 tokens on either side."""
    tokenizer = write_modernbert_tokenizer(folder, LONG)
    ids = {name: tokenizer.token_to_id(f"[{name.upper()}]") for name in ("cls", "sep", "pad")}
    config = ModernBertConfig(
        vocab_size=-(-tokenizer.get_vocab_size() // 64) * 64,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LONG,
        local_attention=64,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 160_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        classifier_pooling=pooling,
        pad_token_id=ids["pad"],
        bos_token_id=ids["cls"],
        cls_token_id=ids["cls"],
        eos_token_id=ids["sep"],
        sep_token_id=ids["sep"],
        **ONE_LABEL,
    )
    model = ModernBertForSequenceClassification(config)
    randomize(model, seed=seed, norm_center=1.0, linear_std=0.25, other_stds=MODERNBERT_STDS)
    write_reranker(folder, model, {})


def write_saved_files(folder: Path) -> None:
    """What ``CrossEncoder.save_pretrained`` of sentence-transformers 6 adds, and where it keeps the activation."""
    kind = "sentence_transformers.base.modules.transformer.Transformer"
    write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": kind}])
    text = {"text": {"method": "forward", "method_output_name": "logits"}}
    task = {"transformer_task": "sequence-classification", "modality_config": text, "module_output_name": "scores"}
    write_json(folder / "sentence_bert_config.json", task)
    pipeline = {
        "__version__": {"sentence_transformers": sentence_transformers_version},
        "activation_fn": IDENTITY,
        "default_prompt_name": None,
        "model_type": "CrossEncoder",
        "prompts": {},
    }
    write_json(folder / "config_sentence_transformers.json", pipeline)


def qwen_config(vocabulary: int, hidden: int, padding: int, **more: Any) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=32,
        max_position_embeddings=LONG,
        max_window_layers=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000},
        bos_token_id=padding,
        dtype="float32",
        **more,
    )


def write_qwen_config(folder: Path, model: PreTrainedModel) -> None:
    model.config.architectures = [type(model).__name__]
    write_json(folder / "config.json", one_theta_config(model.config))


def write_tiny_qwen3_classifier(folder: Path) -> None:
    """Qwen3-Reranker-0.6B-seq-cls: one label at the last token that is not ``pad_token_id``; transformers 4's keys."""
    tokenizer = write_qwen_reranker_tokenizer(folder)
    padding = tokenizer.token_to_id("<|endoftext|>")
    end = tokenizer.token_to_id("<|im_end|>")
    more = {"pad_token_id": padding, "eos_token_id": end, "tie_word_embeddings": True, **ONE_LABEL}
    model = Qwen3ForSequenceClassification(qwen_config(tokenizer.get_vocab_size(), 32, padding, **more))
    randomize(model, seed=30, norm_center=1.0, linear_std=0.25, other_stds=QWEN_STDS)
    write_qwen_config(folder, model)
    save(model.state_dict(), folder)


def write_tiny_qwen3_reranker(folder: Path, hidden: int, seed: int, *, tied: bool) -> None:
    """Qwen3-Reranker as first published: a language model without any file of sentence-transformers.

    Where the embeddings are tied, no ``lm_head.weight`` is stored, as in the 0.6B and the 4B; the 8B has one.
    """
    tokenizer = write_qwen_reranker_tokenizer(folder)
    padding, end = tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|im_end|>")
    config = qwen_config(tokenizer.get_vocab_size(), hidden, padding, eos_token_id=end, tie_word_embeddings=tied)
    model = Qwen3ForCausalLM(config)
    randomize(model, seed=seed, norm_center=1.0, linear_std=0.25, other_stds=QWEN_STDS)
    write_qwen_config(folder, model)
    save({name: weight for name, weight in model.state_dict().items() if not tied or name != "lm_head.weight"}, folder)


def write_rerankers(root: Path) -> None:
    """Write all checkpoints of this module below ``root``, where none of them may be."""
    for name in (*EMBEDDERS, *CROSS_ENCODERS, *QWEN_RERANKERS):
        (root / name).mkdir(parents=True)
    write_tiny_bert_reranker(root / "tiny-bert-reranker")
    write_tiny_bert_labels(root / "tiny-bert-labels")
    write_tiny_xlm_roberta_reranker(root / "tiny-xlm-roberta-reranker")
    write_tiny_robertas(root / "tiny-roberta", root / "tiny-roberta-reranker")
    write_tiny_distilberts(root / "tiny-distilbert", root / "tiny-distilbert-reranker")
    write_tiny_modernbert_reranker(root / "tiny-modernbert-reranker-cls", "cls", seed=28)
    write_tiny_modernbert_reranker(root / "tiny-modernbert-reranker-mean", "mean", seed=29)
    write_saved_files(root / "tiny-modernbert-reranker-mean")
    write_tiny_qwen3_classifier(root / "tiny-qwen3-classifier")
    write_tiny_qwen3_reranker(root / "tiny-qwen3-reranker", 32, seed=31, tied=True)
    write_tiny_qwen3_reranker(root / "tiny-qwen3-reranker-untied", 16, seed=32, tied=False)
