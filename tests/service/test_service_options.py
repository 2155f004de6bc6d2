"""Services that share a model and make other vectors, what a call's time went into, and what the MLX thread tells."""

import asyncio
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import (
    ConfigurationError,
    DeadlineError,
    EmbeddingConfig,
    EmbeddingService,
    InputError,
    OverloadError,
)
from akidb_embeddings.registry import BUNDLED
from tests.conftest import mlx_threads

TEXTS = ["a cat", "How do I read a file line by line in Python?", "x " * 400]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "cls"},
        {"normalize": False},
        {"dimensions": 64},
        {"pooling": "last", "normalize": False, "dimensions": 3, "truncate": "end"},
    ],
)
def test_vectors_are_those_of_a_service_configured_so(options: dict[str, Any]) -> None:
    with (
        EmbeddingService(BUNDLED, untrained_dimensions=True) as service,
        service.with_options(**options) as other,
        EmbeddingService(BUNDLED, untrained_dimensions=True, **options) as expected,
    ):
        ours, theirs = other.encode(TEXTS), expected.encode(TEXTS)
        assert np.array_equal(ours.vectors, theirs.vectors)
        assert (ours.fingerprint, other.dimension) == (theirs.fingerprint, expected.dimension)
        assert service.dimension == 384


def test_options_are_put_over_those_of_the_service() -> None:
    with (
        EmbeddingService(BUNDLED, normalize=False, max_tokens=16, untrained_dimensions=True) as service,
        service.with_options(truncate="error", dimensions=8) as other,
    ):
        assert (other.settings.normalize, other.settings.max_tokens, other.dimension) == (False, 16, 8)
        with pytest.raises(InputError, match=r"texts\[2\] has at least \d+ tokens with its prompt; the limit is 16"):
            other.encode(TEXTS)
        assert service.encode(TEXTS).truncated == [False, False, True]


@pytest.mark.parametrize(
    "options",
    [{"pooling": "max"}, {"dimensions": 385}, {"dimensions": 64}, {"truncate": "start"}, {"dimensions": 0}],
)
def test_what_is_not_allowed_is_an_error(options: dict[str, Any]) -> None:
    with EmbeddingService(BUNDLED) as service, pytest.raises(ConfigurationError):
        service.with_options(**options)


def test_the_model_lives_until_all_are_closed() -> None:
    before = mlx_threads()  # other tests of this run may keep the model
    service = EmbeddingService(BUNDLED, untrained_dimensions=True)
    other = service.with_options(dimensions=4)
    service.close()
    assert not service.alive
    assert other.embed(["a"]).shape == (1, 4)
    other.close()
    assert mlx_threads() == before


@pytest.mark.long
def test_timings_add_up() -> None:
    with EmbeddingService(BUNDLED) as service:
        timings = service.encode(TEXTS * 8).timings
        nothing = service.encode([]).timings
    assert timings.tokenize > 0
    assert timings.compute > 0
    assert timings.queue >= 0
    assert max(timings.tokenize, timings.queue, timings.compute) <= timings.total
    assert (nothing.tokenize, nothing.compute) == (0, 0)


def test_statistics_count_what_was_computed() -> None:
    with EmbeddingService(BUNDLED) as service:
        before = service.statistics
        result = service.encode(TEXTS)
        after = service.statistics
    assert (after.running, after.waiting_tokens, after.waiting_seconds) == (True, 0, 0)
    assert after.texts - before.texts == len(TEXTS)
    assert after.tokens - before.tokens == sum(result.token_counts)
    assert after.rounds > before.rounds
    assert after.compute_seconds > before.compute_seconds
    assert after.idle_seconds < 30
    assert (after.failures, after.restarts) == (before.failures, before.restarts)


def test_a_deadline_is_an_overload_of_its_own_kind() -> None:
    with EmbeddingService(config=EmbeddingConfig(model_name=BUNDLED)) as service, pytest.raises(DeadlineError):
        service.encode(["x " * 400] * 64, timeout=0.001)
    assert issubclass(DeadlineError, OverloadError)


def test_vectors_are_counted_from_where_they_begin() -> None:
    with EmbeddingService(BUNDLED) as service:
        good = [1.0] * 384
        for bad in ([1.0] * 3, [float("nan")] * 384, [0.0] * 384):
            with pytest.raises(InputError, match=r"vectors\[8\]"):
                service.accept([good, bad], first_index=7)


def test_a_misspelled_option_is_an_error(minilm: EmbeddingService) -> None:
    options: Any = {"time_out": 3}
    with pytest.raises(TypeError, match="time_out"):
        minilm.encode(["a"], **options)
    with pytest.raises(TypeError, match="time_out"):
        asyncio.run(minilm.aencode(["a"], **options))
