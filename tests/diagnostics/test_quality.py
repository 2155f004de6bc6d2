"""The quality of a conversion: what is compared, and that figures follow what was lost."""

import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.conversion.convert import convert
from akidb_embeddings.diagnostics.quality import Quality, compare
from akidb_embeddings.diagnostics.sample_texts import DOCUMENTS, QUERIES
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from tests.conftest import Threads
from tests.fixtures import BUNDLED, copy_model, original_minilm
from tests.random_models import BERT, QWEN3, random_model


def test_the_texts_are_many_different_and_some_are_long() -> None:
    texts = (*QUERIES, *DOCUMENTS)
    assert 40 <= len(set(texts)) == len(texts) <= 50
    counts = Tokenizer(read_checkpoint(BUNDLED), 256).encode(list(texts)).counts
    assert sum(count > 512 for count in counts) >= 3
    assert sum(count < 20 for count in counts) >= 10


def test_the_same_weights_agree_and_leave_no_thread(threads: Threads, tmp_path: Path) -> None:
    source = random_model(tmp_path / "model", QWEN3)
    found = compare(source, copy_model(source, tmp_path / "copy"))
    assert found.worst == pytest.approx(1, abs=1e-9)
    assert found.mean == pytest.approx(1, abs=1e-9)
    assert (found.pooling, found.assumed) == ("last", False)
    assert threads() == 0


@pytest.mark.long
def test_a_mixed_conversion_of_the_real_model_loses_less(tmp_path: Path) -> None:
    """Means are 0.9502 and 0.9514."""
    qualities = [
        convert(original_minilm(), tmp_path / str(mixed), bits=4, mixed=mixed, measure=True).quality
        for mixed in (False, True)
    ]
    plain, mixed = qualities
    assert isinstance(plain, Quality)
    assert isinstance(mixed, Quality)
    assert 0.97 > mixed.mean > plain.mean > 0.93
    assert 0.95 > mixed.worst > plain.worst > 0.8


@pytest.mark.long
def test_more_bits_lose_less(tmp_path: Path) -> None:
    source = random_model(tmp_path / "model", BERT)
    means = []
    for bits in (8, 6, 4):
        quality = convert(source, tmp_path / str(bits), bits=bits, measure=True).quality
        assert isinstance(quality, Quality)
        means.append(quality.mean)
    assert 1 > means[0] > means[1] > means[2] > 0.9


def test_the_worst_text_is_named(tmp_path: Path) -> None:
    source = random_model(tmp_path / "model", BERT)
    other = copy_model(source, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["embeddings.position_embeddings.weight"][200:] *= -3  # past all texts but the longest
    save_file(tensors, other / "model.safetensors")
    found = compare(source, other)
    counts = Tokenizer(read_checkpoint(source), 256).encode(list(found.texts)).counts
    assert counts[found.worst_text] > 200
    assert found.cosines[found.worst_text] == found.worst < 0.9999
    short = [cosine for cosine, count in zip(found.cosines, counts, strict=True) if count < 200]
    assert min(short) == pytest.approx(1, abs=1e-9)


def test_both_get_the_prompts_of_the_converted_one(tmp_path: Path) -> None:
    source = random_model(tmp_path / "model", QWEN3)
    other = copy_model(source, tmp_path / "other")
    (other / "config_sentence_transformers.json").write_text('{"prompts": {"query": "find: ", "document": "text: "}}')
    assert compare(source, other).worst == pytest.approx(1, abs=1e-9)


def test_pooling_that_nobody_knows_is_assumed_and_said(tmp_path: Path) -> None:
    source = random_model(tmp_path / "model", BERT)
    shutil.rmtree(source / "1_Pooling")
    result = convert(source, tmp_path / "out", measure=True).quality
    assert isinstance(result, Quality)
    assert (result.pooling, result.assumed) == ("mean", True)


def test_the_worst_and_the_mean_are_of_all_texts() -> None:
    quality = Quality(("a", "b", "c"), (1.0, 0.25, 0.5), "mean", False)
    assert (quality.worst_text, quality.worst) == (1, 0.25)
    assert quality.mean == pytest.approx(1.75 / 3)
