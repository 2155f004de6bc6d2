"""What float16 cannot hold is computed again in a dtype that can, for its text and for all that follow."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.compute import buffer_cache
from akidb_embeddings.compute.backend import Backend, cpu, cuda, metal
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.engine.engine import Engine
from akidb_embeddings.engine.forward_pass import ForwardPass
from akidb_embeddings.engine.idle import _warm_up_batches
from akidb_embeddings.engine.model import MLXModel
from akidb_embeddings.engine.planner import pad
from akidb_embeddings.errors import CheckpointError, NonFiniteVectorError
from akidb_embeddings.vectors.ragged import unusable_rows
from tests.fixtures import Array, copy_model, cosines, forward

HOST = mx.Device(mx.cpu)
BACKENDS = {"metal": metal(HOST), "cuda": cuda(HOST)}
LARGE = 7  # a token whose embedding float16 cannot hold
FITTING, OVERFLOWING = [5, 6, 8, 9], [5, LARGE, 8]


def ids(*rows: list[int]) -> list[NDArray[np.int32]]:
    return [np.array(row, dtype=np.int32) for row in rows]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Qwen3, whose first norm brings an embedding of any size to the same scale."""
    return scale_embedding(copy_model("tiny-qwen3", tmp_path / "model"), LARGE, 1e6)


def scale_embedding(folder: Path, token: int, factor: float) -> Path:
    tensors = load_file(folder / "model.safetensors")
    [name] = [name for name in tensors if name.endswith("embed_tokens.weight")]
    table = tensors[name].astype(np.float32)
    table[token] *= factor
    save_file(tensors | {name: table}, folder / "model.safetensors")
    return folder


def model_of(folder: Path, backend: Backend) -> MLXModel:
    return MLXModel(read_checkpoint(folder), backend)


def expected(folder: Path, *rows: list[int]) -> Array:
    model = model_of(folder, cpu())
    vectors = np.concatenate([model.start([pad([row], "last")])()[0] for row in ids(*rows)])
    model.close()
    return vectors


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_overflowing_text_gets_its_vector(folder: Path, backend: str, caplog: pytest.LogCaptureFixture) -> None:
    model = model_of(folder, BACKENDS[backend])
    rows = ids(FITTING, OVERFLOWING)
    before = model.weight_bytes
    with caplog.at_level(logging.WARNING):
        [first] = model.start([pad(rows, "last", (2048,))])()
        [second] = model.start([pad(rows, "last", (2048,))])()
    model.close()
    right = expected(folder, FITTING, OVERFLOWING)
    assert not unusable_rows(first[:2])
    assert cosines(first[:2], right).min() >= 0.9999
    assert cosines(second[:2], right).min() >= 0.99999
    [told] = [record.getMessage() for record in caplog.records]
    assert "float16" in told
    assert str(folder) in told
    assert model.weight_bytes > before


def test_the_vectors_of_other_texts_are_left_as_they_were(folder: Path) -> None:
    model = model_of(folder, BACKENDS["cuda"])
    [alone] = model.start([pad(ids(FITTING, FITTING), "last")])()
    [mixed] = model.start([pad(ids(FITTING, OVERFLOWING), "last")])()
    model.close()
    np.testing.assert_allclose(mixed[0], alone[0], rtol=1e-3)


def test_micro_batches_that_were_started_before_are_computed_again_too(folder: Path) -> None:
    model = model_of(folder, BACKENDS["cuda"])
    finishes = [model.start([pad(ids(row), "last")]) for row in (OVERFLOWING, OVERFLOWING[::-1], FITTING)]
    vectors = np.concatenate([finish()[0] for finish in finishes])
    model.close()
    assert cosines(vectors, expected(folder, OVERFLOWING, OVERFLOWING[::-1], FITTING)).min() >= 0.9999


def test_a_large_micro_batch_is_computed_again_in_parts(folder: Path) -> None:
    """float32 takes twice the memory, so the limit may be smaller then."""
    model = model_of(folder, replace(BACKENDS["cuda"], tokens_per_batch=16))
    rows = ids(*([[5 + i, LARGE, 8, 9 + i] for i in range(9)]))
    [whole] = model.start([pad(rows, "last")])()
    model.close()
    assert cosines(whole, expected(folder, *(row.tolist() for row in rows))).min() >= 0.99999


def test_weights_of_nan_remain_an_error(folder: Path) -> None:
    scale_embedding(folder, FITTING[-1], np.nan)
    model = model_of(folder, BACKENDS["cuda"])
    [rows] = model.start([pad(ids(FITTING, OVERFLOWING), "last")])()
    model.close()
    assert unusable_rows(rows) == [0]


def test_strict_has_nothing_to_compute_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    vectors = forward(folder, cuda(HOST, strict=True), ["some words"], "last")
    assert not unusable_rows(vectors)
    assert not caplog.records


def test_the_engine_knows_what_the_weights_take_then(folder: Path) -> None:
    engine = Engine(lambda: model_of(folder, BACKENDS["cuda"]))
    engine.wait_until_loaded()
    before = engine.weight_bytes
    request = engine.submit(ids(FITTING, OVERFLOWING), pooling="last", max_rows=8, max_waiting_tokens=1000)
    assert cosines(request.result(), expected(folder, FITTING, OVERFLOWING)).min() >= 0.9999
    assert engine.weight_bytes > before
    assert engine.statistics.failures == 0
    engine.close()


def test_a_model_that_can_no_longer_be_read_fails_that_text_alone(folder: Path) -> None:
    engine = Engine(lambda: model_of(folder, BACKENDS["cuda"]))
    engine.wait_until_loaded()
    (folder / "model.safetensors").unlink()
    limits: dict[str, Any] = {"pooling": "last", "max_rows": 8, "max_waiting_tokens": 1000}
    with pytest.raises(NonFiniteVectorError):
        engine.submit(ids(OVERFLOWING), **limits).result()
    assert engine.submit(ids(FITTING), **limits).result().shape[0] == 1
    engine.close()


def test_rows_that_are_no_texts_do_not_change_the_dtype(tmp_path: Path) -> None:
    """They are of token 0, in the warm-up as where the number of texts is rounded up."""
    folder = scale_embedding(copy_model("tiny-qwen3", tmp_path / "model"), 0, 1e6)
    model = model_of(folder, BACKENDS["cuda"])
    before = model.weight_bytes
    for batch in (*_warm_up_batches("last", few_shapes=True), pad(ids(*[list(range(5, 13))] * 3), "last", (2048,))):
        model.start([batch])()
    assert model.weight_bytes == before
    model.start([pad(ids([5, 0, 8]), "last")])()
    assert model.weight_bytes > before
    model.close()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("no memory")])
@pytest.mark.parametrize("when", ["__init__", "__call__"])
def test_neighbours_keep_their_vectors_where_computing_again_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, when: str, error: Exception
) -> None:
    model = model_of(folder, BACKENDS["cuda"])
    real: Any = getattr(ForwardPass, when)
    tries: list[object] = []

    def failing(self: ForwardPass, *arguments: Any) -> Any:
        if when == "__init__" or self.dtype == mx.float32:
            tries.append(self)
            raise error
        return real(self, *arguments)

    monkeypatch.setattr(ForwardPass, when, failing)
    for _ in range(2 if when == "__init__" else 1):
        [rows] = model.start([pad(ids(FITTING, OVERFLOWING, FITTING), "last")])()
        assert unusable_rows(rows) == [1]
    assert len(tries) == 1, "loading is tried once"
    monkeypatch.undo()
    model.close()


def test_a_model_that_does_not_load_leaves_no_limit_of_the_cache(tmp_path: Path) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model", intermediate_size=63)
    before = dict(buffer_cache._limits)
    with pytest.raises(CheckpointError):
        model_of(folder, BACKENDS["cuda"])
    assert buffer_cache._limits == before
