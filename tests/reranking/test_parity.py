"""The promise: scores are those of sentence-transformers' CrossEncoder and of Qwen3-Reranker's authors."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import RerankService
from akidb_embeddings.compute.backend import cpu, cuda, metal
from akidb_embeddings.compute.runtime import mx
from tests.fixtures import copy_model, edit_json, golden, long_but
from tests.golden.pairs import INSTRUCTION, PAIRS
from tests.random_models import quantize_folder
from tests.reranking.models import (
    ALL,
    BERT,
    CLASSIFIER,
    LABELS,
    ONE_SCORE,
    QWEN3,
    add_crossencoder_files,
    chosen,
    folder,
    logits,
)

HOST = mx.Device(mx.cpu)


@pytest.mark.parametrize("memory", ["fast", pytest.param("compact", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ONE_SCORE)
def test_scores_are_those_of_the_authors(name: str, memory: str) -> None:
    expected, (places, pairs) = golden(name), chosen(name)
    with RerankService(folder(name), memory=memory) as reranker:
        result = reranker.score_details(pairs)
        raw = reranker.score(pairs, activation="identity")
        assert reranker.max_tokens == expected["token_counts"].max()
    assert result.scores.dtype == raw.dtype == np.float32
    np.testing.assert_allclose(raw, expected["logits"][places, 0], atol=1e-4)
    np.testing.assert_allclose(result.scores, expected["scores"][places], atol=1e-4)
    assert result.token_counts == expected["token_counts"][places].tolist()
    assert result.truncated == (expected["full_token_counts"] > expected["token_counts"])[places].tolist()


@pytest.mark.parametrize("name", ONE_SCORE)
def test_the_order_is_that_of_the_authors(name: str) -> None:
    """But for scores that are nearer to each other than float32 tells apart."""
    expected, (places, pairs) = golden(name)["logits"][:, 0], chosen(name, 3)
    with RerankService(folder(name)) as reranker:
        scores = reranker.score(pairs, activation="identity")
    ranked = expected[places][np.argsort(-scores, kind="stable")]
    assert (np.diff(ranked) <= 2e-4).all()


def test_all_labels_are_those_of_the_authors() -> None:
    expected = golden(LABELS)
    with RerankService(folder(LABELS)) as reranker:
        assert reranker.labels == ("contradiction", "entailment", "neutral")
        scores = reranker.score(PAIRS, all_labels=True)
    np.testing.assert_allclose(scores, expected["scores"], atol=1e-4)


@pytest.mark.long
def test_an_instruction_is_put_where_the_authors_put_it() -> None:
    expected = golden(QWEN3)["instruction_logits"][:, 0]
    pairs = PAIRS[::5]
    with RerankService(folder(QWEN3)) as reranker:
        asked = reranker.score(pairs, instruction=INSTRUCTION, activation="identity")
        default = reranker.score(pairs, activation="identity")
    with RerankService(folder(QWEN3), instruction=INSTRUCTION) as reranker:
        configured = reranker.score(pairs, activation="identity")
    np.testing.assert_allclose(asked, expected, atol=1e-4)
    np.testing.assert_allclose(configured, expected, atol=1e-4)
    assert np.abs(asked - default).max() > 0.1


def test_todays_folder_of_qwen3_reranker_is_scored_as_crossencoder_does(tmp_path: Path) -> None:
    """With the files of sentence-transformers, whose activation is the identity."""
    source = folder(QWEN3)
    path = copy_model(source, tmp_path / "model")
    add_crossencoder_files(path)
    with RerankService(path) as reranker:
        assert (reranker.activation, reranker.labels) == ("identity", ("relevant",))
        scores = reranker.score(PAIRS)
    np.testing.assert_allclose(scores, golden(QWEN3)["crossencoder_logits"][:, 0], atol=1e-4)


@pytest.mark.parametrize("name", long_but(ALL, BERT, "tiny-qwen3-reranker"))
def test_neighbours_order_and_batch_size_do_not_matter(name: str) -> None:
    generator = random.Random(5)
    _, pairs = chosen(name, 4)
    alone = logits(folder(name), cpu(), pairs)
    for batch_size in (1, 3, 128):
        with RerankService(folder(name), batch_size=batch_size) as reranker:
            order = [generator.randrange(len(pairs)) for _ in range(40)]
            scores = reranker.score([pairs[at] for at in order], all_labels=True, activation="identity")
        np.testing.assert_allclose(scores, alone[order], atol=1e-4)


@pytest.mark.parametrize("bits", [4, pytest.param(8, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", long_but(ALL, BERT))
def test_quantized_weights_score_as_what_they_stand_for(tmp_path: Path, name: str, bits: int) -> None:
    packed, expanded = tmp_path / "packed", tmp_path / "expanded"
    quantize_folder(folder(name), packed, expanded, lambda tensor: (bits, 32, "affine"))
    _, pairs = chosen(name, 8)
    expected = logits(expanded, cpu(), pairs)
    np.testing.assert_allclose(logits(packed, cpu(), pairs, rows=4), expected, atol=1e-4)
    np.testing.assert_allclose(logits(packed, cpu("compact"), pairs, rows=4), expected, atol=1e-4)
    strict = metal(HOST, strict=True)  # MLX's quantized kernels, which are slow here
    short = sorted(range(len(pairs)), key=lambda place: sum(map(len, pairs[place])))[: len(pairs) // 2]
    scores = logits(packed, strict, [pairs[place] for place in short], rows=4)
    np.testing.assert_allclose(scores, expected[short], atol=1e-4 * np.abs(expected).max())


@pytest.mark.long
@pytest.mark.parametrize("name", ALL)
def test_gpu_code_in_16_bits_keeps_near(name: str) -> None:
    """The encoder in float16, the head in float32; on this machine's CPU."""
    _, pairs = chosen(name, 20)
    expected = logits(folder(name), cpu(), pairs)
    for backend in (metal(HOST), cuda(HOST)):
        scores = logits(folder(name), backend, pairs, rows=5)
        assert np.abs(scores - expected).max() < 0.1 * expected.std()


def test_a_head_alone_decides_between_two_models(tmp_path: Path) -> None:
    """Both share what is loaded by its content, never by its encoder alone."""
    path = copy_model(folder("tiny-modernbert-reranker-cls"), tmp_path / "model", classifier_pooling="mean")
    pairs = PAIRS[:5]
    with RerankService(folder("tiny-modernbert-reranker-cls")) as one, RerankService(path) as other:
        assert np.abs(one.score(pairs) - other.score(pairs)).max() > 1e-3


def test_padding_that_somebody_writes_is_not_the_last_token() -> None:
    """As transformers' classifiers of decoders do, also in a micro-batch of several lengths."""
    pairs = [("a question", "an answer<|endoftext|>"), ("a question", "an answer"), ("a question", "x " * 40)]
    alone = np.concatenate([logits(folder(CLASSIFIER), cpu(), [pair]) for pair in pairs])
    np.testing.assert_allclose(logits(folder(CLASSIFIER), cpu(), pairs, rows=3), alone, atol=1e-4)
    assert abs(alone[0, 0] - alone[1, 0]) < 1e-4


@pytest.mark.parametrize(
    ("entries", "has_types"),
    [
        ({"tokenizer_class": "DistilBertTokenizer"}, False),
        ({"tokenizer_class": "TokenizersBackend"}, False),  # what transformers 5 writes for a class of its own
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, True),  # what transformers 4 writes
        ({"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}, False),
        ({"tokenizer_class": "TokenizersBackend", "model_input_names": ["input_ids", "token_type_ids"]}, True),
        ({"tokenizer_class": None}, True),
    ],
)
def test_token_types_are_those_with_which_the_folder_was_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, entries: dict[str, Any], has_types: bool
) -> None:
    """Where transformers 4 and 5 differ, by the release that wrote it, with a warning."""
    path = copy_model(folder(BERT), tmp_path / "model")
    edit_json(path / "tokenizer_config.json", **entries)
    with RerankService(folder(BERT)) as one, RerankService(path) as other:
        difference = float(np.abs(one.score(PAIRS[:9]) - other.score(PAIRS[:9])).max())
    assert (difference < 1e-5) is has_types
    is_ambiguous = entries == {"tokenizer_class": "PreTrainedTokenizerFast"}
    assert ("gives the model the token types" in caplog.text) is is_ambiguous
