"""What is Gemma 3's own: the window's width, and which layers attend to all."""

import pytest

from akidb_embeddings.architectures.gemma3 import layer_types, symmetric_reach


@pytest.mark.parametrize(("window", "reach"), [(512, 256), (257, 256), (64, 32), (33, 32), (129, 128)])
def test_window_width_or_already_halved(window: int, reach: int) -> None:
    assert symmetric_reach(window) == reach


@pytest.mark.parametrize("key", ["sliding_window_pattern", "_sliding_window_pattern"])
def test_layer_types_from_the_pattern(key: str) -> None:
    kinds = layer_types({key: 3}, 7)
    assert [index for index, kind in enumerate(kinds) if kind == "full_attention"] == [2, 5]


def test_embeddinggemma_attends_fully_in_every_sixth_layer() -> None:
    kinds = layer_types({}, 24)
    assert [index for index, kind in enumerate(kinds) if kind == "full_attention"] == [5, 11, 17, 23]
    assert layer_types({"layer_types": ["full_attention"], "sliding_window_pattern": 6}, 1) == ["full_attention"]
