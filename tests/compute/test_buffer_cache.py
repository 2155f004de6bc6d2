"""The limit of MLX's cache with several models."""

from collections.abc import Iterator

import pytest

from akidb_embeddings.compute import buffer_cache
from akidb_embeddings.compute.buffer_cache import limit_cache, release_cache
from akidb_embeddings.compute.runtime import mx

MIB = 1 << 20


def current() -> int:
    limit = mx.set_cache_limit(0)
    mx.set_cache_limit(limit)
    return limit


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The limit as it was, whatever models other tests have."""
    before = current()
    monkeypatch.setattr(buffer_cache, "_limits", {})
    yield
    mx.set_cache_limit(before)


def test_a_small_model_does_not_take_a_large_one_s_cache() -> None:
    large, small = object(), object()
    limit_cache(large, 48 * MIB)
    limit_cache(small, 4 * MIB)
    assert current() == 48 * MIB
    release_cache(small)
    assert current() == 48 * MIB


def test_the_limit_falls_when_the_large_model_is_closed_or_needs_less() -> None:
    large, small = object(), object()
    limit_cache(large, 48 * MIB)
    limit_cache(small, 4 * MIB)
    limit_cache(large, 24 * MIB)
    assert current() == 24 * MIB
    release_cache(large)
    release_cache(large)
    assert current() == 4 * MIB
