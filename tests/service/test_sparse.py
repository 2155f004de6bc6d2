"""Sparse weights of texts: the authors' numbers, whatever the batch, and clear errors where there are none."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings import ConfigurationError, EmbeddingService, InputError, NonFiniteVectorError
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.errors import CheckpointError
from tests.fixtures import copy_model, golden, model_path
from tests.golden.texts import DOCUMENTS, QUERIES, TEXTS
from tests.outputs import bge_m3, check_sparse, golden_sparse

SHORT = [text for text in TEXTS if len(text) < 300][::3]
LONG = [text for text in TEXTS if len(text) < 2500]


@pytest.fixture(scope="module")
def bge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingService]:
    with EmbeddingService(str(bge_m3(tmp_path_factory.mktemp("bge") / "model"))) as service:
        yield service


def test_bge_m3_weighs_tokens_as_its_authors_do(bge: EmbeddingService) -> None:
    result = bge.encode(LONG, output="sparse")
    check_sparse(result.vectors, golden_sparse("tiny-bge-m3", "texts"))
    assert (
        result.token_counts == golden("tiny-xlm-roberta")["token_counts"][[len(text) < 2500 for text in TEXTS]].tolist()
    )
    assert len(result.truncated) == len(LONG)
    check_sparse(
        bge.encode(QUERIES, prompt_name="query", output="sparse").vectors, golden_sparse("tiny-bge-m3", "queries")
    )


def test_the_same_model_still_makes_its_vectors_bit_for_bit(bge: EmbeddingService) -> None:
    with EmbeddingService(str(model_path("tiny-xlm-roberta"))) as alone:
        np.testing.assert_array_equal(bge.embed(SHORT), alone.embed(SHORT))
        assert bge.fingerprint() != alone.fingerprint()
        assert alone.outputs == ("dense",)
    np.testing.assert_allclose(bge.embed(TEXTS), golden("tiny-xlm-roberta")["texts"], atol=1e-5)
    assert bge.outputs == ("dense", "sparse")


def test_a_text_has_the_same_weights_alone_and_among_others(bge: EmbeddingService) -> None:
    together = bge.encode(SHORT, output="sparse").vectors
    check_sparse([bge.encode([text], output="sparse").vectors[0] for text in SHORT], together)


def test_async_calls_and_several_windows_give_the_same(bge: EmbeddingService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akidb_embeddings.service.job.WINDOW_TEXTS", 7)
    result = asyncio.run(bge.aencode(SHORT, output="sparse"))
    check_sparse(result.vectors, bge.encode(SHORT, output="sparse").vectors)
    assert bge.encode([], output="sparse").vectors == []


def test_outputs_lie_in_spaces_of_their_own(bge: EmbeddingService) -> None:
    sparse = bge.encode(["a"], output="sparse").fingerprint
    assert sparse == bge.fingerprint("", output="sparse")
    assert sparse.startswith("xlm-roberta-sparse-")
    assert len({sparse, bge.encode(["a"]).fingerprint, bge.encode(["a"], prompt="x", output="sparse").fingerprint}) == 3


def test_indices_stand_for_tokens(bge: EmbeddingService) -> None:
    [vector] = bge.encode(["the river of the world"], output="sparse").vectors
    assert "▁the" in bge.token_strings(vector.indices)
    assert bge.token_strings([10**6]) == [""]


def test_special_tokens_that_somebody_wrote_have_no_weight(bge: EmbeddingService) -> None:
    [vector] = bge.encode(["<pad> <unk> </s> <s> river"], output="sparse").vectors
    assert not {"<s>", "</s>", "<pad>", "<unk>"} & {*bge.token_strings(vector.indices)}


def test_what_a_model_does_not_have_is_an_error_that_says_what_it_has(
    bge: EmbeddingService, minilm: EmbeddingService
) -> None:
    with pytest.raises(ConfigurationError, match=r"no output 'sparse'; it has 'dense'\.$") as caught:
        minilm.encode(["a"], output="sparse")
    assert caught.value.field == "output"
    with pytest.raises(ConfigurationError, match="no output 'tokens'; it has 'dense' and 'sparse'"):
        bge.encode(["a"], output="tokens")
    with pytest.raises(ConfigurationError, match="'tokens'"):
        bge.fingerprint(output="tokens")
    with pytest.raises(InputError, match="precision is 'int8'; the output 'sparse' is float32"):
        bge.encode(["a"], output="sparse", precision="int8")


def test_a_weight_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    folder = bge_m3(tmp_path / "model")
    mx.save_safetensors(
        str(folder / "sparse_linear.safetensors"), {"weight": mx.full((1, 32), float("nan")), "bias": mx.zeros(1)}
    )
    with EmbeddingService(str(folder)) as service, pytest.raises(NonFiniteVectorError):
        service.encode(["a river"], output="sparse")


def test_a_layer_in_torchs_format_is_not_read_but_named(tmp_path: Path) -> None:
    with EmbeddingService(str(bge_m3(tmp_path / "model", "sparse_linear.pt"))) as service:
        assert service.outputs == ("dense",)
        with pytest.raises(ConfigurationError, match=r"sparse_linear\.pt is not read here.*akidb-embed convert"):
            service.encode(["a"], output="sparse")


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"weight": (2, 32)}, r"weights of shape \(2, 32\).*\(1, 32\)"),
        ({"weight": (1, 16), "bias": (1,)}, r"\(1, 16\)"),
        ({"weight": (1, 32), "bias": (2,)}, r"bias of shape \(2,\)"),
        ({"bias": (1,)}, "shape None"),
        ({"weight": (1, 32), "other": (1,)}, "'other'"),
    ],
)
def test_a_layer_that_does_not_fit_is_refused(tmp_path: Path, tensors: dict[str, tuple[int, ...]], words: str) -> None:
    folder = copy_model("tiny-xlm-roberta", tmp_path / "model")
    mx.save_safetensors(str(folder / "sparse_linear.safetensors"), {name: mx.zeros(tensors[name]) for name in tensors})
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(folder)


def test_documents_get_their_prompt(bge: EmbeddingService) -> None:
    result = bge.encode(DOCUMENTS, prompt_name="document", output="sparse")
    check_sparse(result.vectors, golden_sparse("tiny-bge-m3", "documents"))
