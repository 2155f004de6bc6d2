"""The folders of rerankers: what they are read as, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint, read_reranker
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry import RERANKERS
from tests.fixtures import BUNDLED, copy_model, edit_json
from tests.reranking.models import BERT, CHAT_TEMPLATE, CLASSIFIER, LABELS, QWEN3, add_crossencoder_files, folder

IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"

OLD_KEY = "sbert_ce_default_activation_function"


def changed(tmp_path: Path, name: str = BERT, **config: Any) -> Path:
    return copy_model(folder(name), tmp_path / "model", **config)


def described(path: Path, **entries: Any) -> RerankerCheckpoint:
    """The folder with a config_sentence_transformers.json."""
    edit_json(path / "config_sentence_transformers.json", **entries)
    return read_reranker(path)


def test_a_classifier() -> None:
    checkpoint = read_reranker(folder(BERT))
    assert (checkpoint.labels, checkpoint.activation, checkpoint.answers) == (("LABEL_0",), "identity", None)
    assert (checkpoint.framed, checkpoint.max_tokens, checkpoint.default_prompt) == (False, 512, "")


def test_a_classifier_with_three_labels() -> None:
    checkpoint = read_reranker(folder(LABELS))
    assert (checkpoint.labels, checkpoint.activation) == (("contradiction", "entailment", "neutral"), "identity")


def test_a_language_model_as_first_published() -> None:
    checkpoint = read_reranker(folder(QWEN3))
    assert checkpoint.framed
    assert checkpoint.activation == "sigmoid"
    assert checkpoint.default_prompt.startswith("Given a web search query")


def test_the_registry_fills_in_what_a_conversion_dropped() -> None:
    assert read_reranker(folder(QWEN3), RERANKERS["qwen3-reranker-0.6b"]).activation == "identity"


def test_a_language_model_with_its_files(tmp_path: Path) -> None:
    path = changed(tmp_path, QWEN3)
    add_crossencoder_files(path)
    checkpoint = read_reranker(path)
    assert (checkpoint.activation, checkpoint.framed) == ("identity", True)
    assert checkpoint.answers == read_reranker(folder(QWEN3)).answers
    edit_json(path / "1_LogitScore" / "config.json", true_token_id=7)
    assert read_reranker(path).answers == (7, checkpoint.answers[1] if checkpoint.answers else None)


@pytest.mark.parametrize(
    ("entries", "config", "expected"),
    [
        ({"activation_fn": SIGMOID, "model_type": "CrossEncoder"}, {}, "sigmoid"),
        ({"activation_fn": SIGMOID}, {}, "identity"),  # not a CrossEncoder's file
        ({}, {"sentence_transformers": {"activation_fn": SIGMOID}}, "sigmoid"),
        (
            {},
            {"sentence_transformers": {"activation_fn": None}, "sbert_ce_default_activation_function": IDENTITY},
            "sigmoid",
        ),
        ({}, {"sentence_transformers": None, "sbert_ce_default_activation_function": IDENTITY}, "identity"),
        ({}, {"sentence_transformers": None, "sbert_ce_default_activation_function": SIGMOID}, "sigmoid"),
        ({}, {"sentence_transformers": None}, "sigmoid"),
    ],
)
def test_activations_in_the_order_of_crossencoder(
    tmp_path: Path, entries: dict[str, Any], config: dict[str, Any], expected: str
) -> None:
    path = changed(tmp_path, **config)
    assert described(path, **entries).activation == expected


@pytest.mark.parametrize("name", ["torch.nn.modules.activation.Tanh", "my.Activation", "Sigmoid"])
def test_another_activation_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"the activation '{name}'; supported: torch's Identity and Sigmoid"):
        read_reranker(changed(tmp_path, sentence_transformers={"activation_fn": name}))


def test_labels_without_names_are_counted(tmp_path: Path) -> None:
    path = changed(tmp_path, LABELS, id2label=None, label2id=None)
    assert read_reranker(path).labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_labels_that_the_weights_do_not_have_are_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, id2label={"0": "no", "1": "yes"})
    with pytest.raises(CheckpointError, match=r"names 2 labels .*; classifier.weight has 1\."):
        read_reranker(path)


def test_an_embedding_model_is_no_reranker() -> None:
    with pytest.raises(CheckpointError, match=r"is no reranker: .* Use EmbeddingService"):
        RerankService(folder("tiny-bert"))
    with pytest.raises(CheckpointError, match="is no reranker"):
        RerankService(BUNDLED)


@pytest.mark.parametrize("name", [BERT, LABELS, CLASSIFIER, "tiny-xlm-roberta-reranker"])
def test_a_reranker_is_no_embedding_model(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"is a reranker, or another classifier: .* use RerankService"):
        EmbeddingService(folder(name))


def test_a_head_that_is_missing_is_told(tmp_path: Path) -> None:
    path = changed(tmp_path)
    tensors = load_file(path / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if "classifier" not in name}, path / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"no tensor classifier\.weight, the last layer of a classifier"):
        read_reranker(path)


def test_a_tensor_too_many_is_told(tmp_path: Path) -> None:
    path = changed(tmp_path)
    tensors = load_file(path / "model.safetensors")
    save_file(tensors | {"adapter.weight": np.zeros((2, 2), np.float32)}, path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"does not use: adapter\.weight"):
        RerankService(path)


def test_a_head_of_another_shape_is_told(tmp_path: Path) -> None:
    path = changed(tmp_path)
    tensors = load_file(path / "model.safetensors")
    name = next(name for name in tensors if name.endswith("pooler.dense.weight"))
    save_file(tensors | {name: tensors[name][:, :-1].copy()}, path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"pooler\.dense\.weight has shape"):
        RerankService(path)


def test_a_tied_head_needs_no_tensor_and_an_untied_one_does(tmp_path: Path) -> None:
    path = changed(tmp_path, QWEN3, tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match=r"lacks the tensor lm_head\.weight"):
        RerankService(path)


@pytest.mark.parametrize("key", ["AutoModelForSequenceClassification", "AutoModel", "AutoModelForCausalLM"])
def test_code_of_its_own_is_refused(tmp_path: Path, key: str) -> None:
    path = changed(tmp_path, "tiny-xlm-roberta-reranker", auto_map={"AutoConfig": "a.B", key: "c.D"})
    with pytest.raises(CheckpointError, match=r"names remote code .* which is not executed"):
        read_reranker(path)


def test_an_architecture_without_a_head_is_refused(tmp_path: Path) -> None:
    path = copy_model("tiny-mpnet", tmp_path / "model", architectures=["MPNetForSequenceClassification"])
    (path / "modules.json").unlink()
    for step in ("1_Pooling", "2_Normalize"):
        if (path / step).is_dir():
            (path / step / "config.json").unlink()
            (path / step).rmdir()
    with pytest.raises(CheckpointError, match=r"an architecture \(mpnet\) whose classifiers are not implemented"):
        read_reranker(path)


def test_modules_that_crossencoder_would_run_are_refused(tmp_path: Path) -> None:
    path = changed(tmp_path)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    (path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=r"lists Transformer, Dense. .* Transformer alone, or with LogitScore"):
        read_reranker(path)


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"false_token_id": None}, r"gives the tokens \[\d+, None\]"),
        ({"true_token_id": 10**6}, "both must be tokens of its vocabulary"),
        ({"true_token_id": -1}, "must be an integer from 0"),
        ({"module_input_name": "logits"}, "supported: 'causal_logits'"),
    ],
)
def test_answers_that_cannot_be_read_are_refused(tmp_path: Path, entries: dict[str, Any], match: str) -> None:
    path = changed(tmp_path, QWEN3)
    add_crossencoder_files(path)
    edit_json(path / "1_LogitScore" / "config.json", **entries)
    with pytest.raises(CheckpointError, match=match):
        read_reranker(path)


def test_another_template_for_pairs_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, QWEN3)
    (path / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("yes", "ja"))
    with pytest.raises(CheckpointError, match="a chat template for pairs of query and document that is not known"):
        read_reranker(path)


def test_a_template_in_the_tokenizers_settings_counts_too(tmp_path: Path) -> None:
    path = changed(tmp_path, CLASSIFIER)
    assert not read_reranker(path).framed
    edit_json(path / "tokenizer_config.json", chat_template=CHAT_TEMPLATE)
    assert read_reranker(path).framed


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"id2label": ["a"]}, "id2label"),
        ({"num_labels": "one", "id2label": None}, "num_labels"),
        ({"pad_token_id": [1]}, "pad_token_id"),
        ({"sentence_transformers": "Identity"}, "sentence_transformers"),
        ({"sbert_ce_default_activation_function": 3}, "sbert_ce_default_activation_function"),
        ({"architectures": []}, "is no reranker"),
        ({"architectures": "BertForSequenceClassification"}, "architectures|is no reranker"),
    ],
)
def test_settings_of_another_type_are_refused(tmp_path: Path, config: dict[str, Any], match: str) -> None:
    with pytest.raises(CheckpointError, match=match):
        RerankService(changed(tmp_path, **config))


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"classifier_pooling": "max"}, "classifier_pooling"),
        ({"classifier_activation": "relu"}, "classifier_activation"),
    ],
)
def test_settings_of_a_head_that_is_not_implemented_are_refused(
    tmp_path: Path, config: dict[str, Any], match: str
) -> None:
    with pytest.raises(CheckpointError, match=match):
        RerankService(changed(tmp_path, "tiny-modernbert-reranker-cls", **config))
