"""``Pool``: results in order, and equal to the core's, on one machine and on two nodes, whatever dies."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.exceptions import OutOfMemoryError

from akidb_embeddings import (
    CheckpointError,
    ConfigurationError,
    EmbeddingConfig,
    EmbeddingResult,
    EmbeddingService,
    InputError,
    ModelNotFoundError,
    WorkerError,
)
from akidb_embeddings.distributed import Pool
from akidb_embeddings.hub import cache
from tests.conftest import background, eventually, run_python
from tests.fixtures import BUNDLED, copy_model
from tests.ray.conftest import CONFIG, NODE, make_texts, process_of, workers

TEXTS = make_texts(600)
# Of different lengths: what is given out first is not done first.
CHUNKS = [TEXTS[begin : begin + 10 + 70 * (begin % 3 == 0)] for begin in range(0, 500, 20)]


@pytest.fixture
def pool(two_nodes: Any) -> Iterator[Pool]:
    with Pool("auto", CONFIG) as pool:
        yield pool


class TestWithOnePool:
    """Tests that leave their pool as it was, and so share one: its actors take seconds to load."""

    @pytest.fixture(scope="class")
    @classmethod
    def pool(cls, two_nodes: Any) -> Iterator[Pool]:
        with Pool("auto", CONFIG) as pool:
            yield pool

    def test_results_come_in_order_and_are_the_cores_to_the_bit(self, pool: Pool, minilm: EmbeddingService) -> None:
        assert pool.size == 2
        assert pool.fingerprint == minilm.fingerprint()
        assert pool.dimension == 384
        results = list(pool.map(iter(CHUNKS)))
        assert [result.token_counts for result in results] == [minilm.encode(chunk).token_counts for chunk in CHUNKS]
        code = """
import sys, pickle
from akidb_embeddings import EmbeddingService
from tests.ray.test_pool import CHUNKS
from tests.ray.conftest import CONFIG
with EmbeddingService(config=CONFIG) as service:
    print("".join(service.encode(chunk).vectors.tobytes().hex() for chunk in CHUNKS))
"""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")  # as the actors
            assert "".join(result.vectors.tobytes().hex() for result in results) == run_python(code).strip()

    def test_no_more_lists_are_taken_than_the_actors_need(self, pool: Pool) -> None:
        taken = 0

        def chunks() -> Iterator[list[str]]:
            nonlocal taken
            for chunk in CHUNKS:
                taken += 1
                yield chunk

        results = pool.map(chunks())
        next(results)
        assert taken <= 4 * pool.size
        assert len(list(results)) == len(CHUNKS) - 1
        assert taken == len(CHUNKS)

    def test_no_lists_give_no_results_and_an_empty_list_an_empty_one(self, pool: Pool) -> None:
        assert list(pool.map([])) == []
        assert [result.vectors.shape for result in pool.map([[], ["one"], []])] == [(0, 384), (1, 384), (0, 384)]

    def test_where_the_lists_end_with_an_error_the_results_before_it_come_first(self, pool: Pool) -> None:
        def breaking() -> Iterator[list[str]]:
            yield from CHUNKS[:5]
            raise LookupError("no more")

        results = pool.map(breaking())
        assert len([next(results) for _ in range(5)]) == 5
        with pytest.raises(LookupError, match="no more"):
            next(results)

    def test_a_call_within_another_one_is_answered(self, pool: Pool) -> None:
        outer = pool.map(CHUNKS[:8])
        sizes = [(len(one.vectors), [len(two.vectors) for two in pool.map([["a", "b"]])]) for one in outer]
        assert sizes == [(len(chunk), [2]) for chunk in CHUNKS[:8]]


def test_prompt_and_precision_are_passed_on(two_nodes: Any, minilm: EmbeddingService) -> None:
    with Pool("auto", CONFIG, prompt="query: ", precision="ubinary", actors=1) as pool:
        [result] = pool.map([TEXTS[:20]])
        assert pool.fingerprint == result.fingerprint == minilm.fingerprint("query: ", precision="ubinary")
    expected = minilm.encode(TEXTS[:20], prompt="query: ", precision="ubinary")
    assert (
        np.unpackbits(np.bitwise_xor(result.vectors, expected.vectors)).sum() <= 2
    )  # a value next to zero may fall on either side


def test_a_cache_that_is_named_from_here_is_found(
    two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Actors have other working folders."""
    folder = cache.model_folder("org/name", None, tmp_path / "models")
    copy_model(BUNDLED, folder)
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    cache.Manifest("org/name", "org/name", None, "0" * 40, sizes, "2026-01-01T00:00:00+00:00").write(folder)
    monkeypatch.chdir(tmp_path)
    config = EmbeddingConfig(model_name="org/name", cache_dir="models", auto_download=False)
    with Pool("auto", config, actors=1) as pool:
        assert [len(result.vectors) for result in pool.map([["one"]])] == [1]


def test_an_actor_killed_in_mid_run_loses_nothing(pool: Pool) -> None:
    undisturbed = [result.vectors for result in pool.map(CHUNKS)]
    victim = process_of(pool._actors[0])
    results = pool.map(CHUNKS)
    first = next(results)
    os.kill(victim, signal.SIGKILL)
    disturbed = [first.vectors, *(result.vectors for result in results)]
    assert all(np.array_equal(a, b) for a, b in zip(undisturbed, disturbed, strict=True))
    assert process_of(pool._actors[0]) != victim
    assert len(list(pool.map(CHUNKS[:9]))) == 9


def test_a_node_lost_in_mid_run_loses_nothing(two_nodes: Any) -> None:
    extra = two_nodes.add_node(**{**NODE, "num_cpus": 2})
    two_nodes.wait_for_nodes()
    with Pool("auto", CONFIG, cpus=1) as pool:
        assert pool.size == 4
        undisturbed = [result.vectors for result in pool.map(CHUNKS)]
        results = pool.map(CHUNKS)
        first = next(results)
        two_nodes.remove_node(extra, allow_graceful=False)
        disturbed = [first.vectors, *(result.vectors for result in results)]
    assert all(np.array_equal(a, b) for a, b in zip(undisturbed, disturbed, strict=True))


def test_errors_are_those_of_encode_and_count_all_texts(two_nodes: Any) -> None:
    with Pool("auto", CONFIG.with_values(truncate="error", max_tokens=32), actors=1) as pool:
        results = pool.map([["one", "two"], ["three", "word " * 100]])
        next(results)
        with pytest.raises(InputError, match=r"texts\[3\] has 102 tokens"):
            next(results)


def test_as_outcomes_errors_come_in_their_turn_and_the_other_lists_go_on(two_nodes: Any) -> None:
    lists = [["one", "two"], ["three", "word " * 100], ["four"]]
    with Pool("auto", CONFIG.with_values(truncate="error", max_tokens=32), actors=1) as pool:
        first, second, third = pool.outcomes(lists)
    assert isinstance(first, EmbeddingResult)
    assert isinstance(second, InputError)
    assert str(second).startswith("texts[1] has 102 tokens")
    assert isinstance(third, EmbeddingResult)


def test_a_model_that_cannot_be_loaded_is_told(two_nodes: Any, tmp_path: Path) -> None:
    with (
        Pool("auto", EmbeddingConfig(model_name=str(tmp_path))) as pool,
        pytest.raises(CheckpointError, match=str(tmp_path)),
    ):
        list(pool.map([["one"]]))


def test_an_actor_that_cannot_load_the_model_any_more_is_left_out(
    two_nodes: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model").symlink_to(BUNDLED)
    with Pool("auto", CONFIG.with_values(model_name=str(tmp_path / "model")), actors=2) as pool:
        while pool._starting:
            list(pool.map([["one"]]))
        (tmp_path / "model").unlink()
        ray.kill(pool._actors[1])
        assert [len(result.vectors) for result in pool.map(CHUNKS)] == [len(chunk) for chunk in CHUNKS]
        while pool._starting:
            list(pool.map([["one"]]))
        assert "A Ray actor is left out: " in caplog.text
        ray.kill(pool._actors[0])
        with pytest.raises(ModelNotFoundError, match="No model folder at"):
            list(pool.map(CHUNKS))


def test_an_actor_that_dies_while_it_starts_is_replaced(two_nodes: Any) -> None:
    with Pool("auto", CONFIG) as pool:
        assert eventually(lambda: len(workers()) == 2)
        for victim in workers():
            victim.kill()
        assert len(list(pool.map(CHUNKS[:9]))) == 9


def test_a_pool_without_room_says_that_it_waits(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    while pool._starting:  # its actors are to hold every CPU
        list(pool.map([["one"]]))
    monkeypatch.setattr("akidb_embeddings.distributed.pool._TIMEOUT", 0.5)
    with Pool("auto", CONFIG, actors=1) as other:
        waiting = background(lambda: other.fingerprint)
        assert eventually(lambda: "No Ray actor is ready after 0 s; " in caplog.text)
        assert not waiting.done()
        pool.close()
        assert waiting.result(60) == other.fingerprint


def test_memory_that_runs_out_is_an_actor_lost(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray kills an actor that takes too much, and its error is none of those of dead actors."""
    get, failures = ray.get, iter([OutOfMemoryError("too much")])

    def failing(reference: Any) -> Any:
        result = get(reference)
        if isinstance(result, EmbeddingResult) and (error := next(failures, None)):
            raise error
        return result

    assert pool.fingerprint  # a model is loaded
    monkeypatch.setattr(ray, "get", failing)
    assert [len(result.vectors) for result in pool.map(CHUNKS)] == [len(chunk) for chunk in CHUNKS]
    assert next(failures, None) is None


def test_another_model_on_one_node_is_an_error(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool._facts = ("another", pool.dimension)
    with pytest.raises(ConfigurationError, match="another is expected"):
        list(pool.map(CHUNKS[:2]))


def test_a_pool_that_is_closed_says_so_and_starts_no_cluster(two_nodes: Any) -> None:
    with Pool("auto", CONFIG, actors=1) as pool:
        left = pool.map(CHUNKS)
        next(left)
    with pytest.raises(WorkerError, match="no actors any longer: it is closed"):
        list(pool.map(CHUNKS))
    pool.close()
    del left  # it ends here
    assert ray.is_initialized()


@pytest.mark.parametrize("name", ["cpus", "actors"])
def test_no_cpus_and_no_actors_are_refused(two_nodes: Any, name: str) -> None:
    options: dict[str, Any] = {name: 0}
    with pytest.raises(ConfigurationError, match=f"^{name} is 0; it must be at least 1"):
        Pool("auto", CONFIG, **options)


def test_more_cpus_than_any_node_has_are_refused(two_nodes: Any) -> None:
    with pytest.raises(ConfigurationError, match="cpus is 9; the largest node has"):
        Pool("auto", CONFIG, cpus=9, actors=1)


def test_a_list_that_ends_each_process_that_gets_it_is_an_error(two_nodes: Any) -> None:
    with Pool("auto", CONFIG, actors=1) as pool:
        one, deadly, after = pool.outcomes([["one"], _Deadly(["two", "three"]), ["behind it"]])
        assert isinstance(one, EmbeddingResult)
        assert isinstance(deadly, WorkerError)
        assert isinstance(after, EmbeddingResult)
        results = pool.map([["one"], _Deadly(["two", "three"])])
        with pytest.raises(
            WorkerError, match=r"4 Ray actors died while they had texts\[1:3\], the first of which begins with 'two'"
        ):
            list(results)


class _Deadly(list[str]):
    """Texts that end the process that unpickles them."""

    def __reduce__(self) -> Any:
        return os._exit, (1,)
