"""Copies of the reranker are equal whatever lies around, and other processes give the same scores."""

import copy
import json
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_akidb import MLXRerank
from langchain_fixtures import LONG
from langchain_fixtures import config_files as config_files
from langchain_rerank_fixtures import PASSAGES, QUERY, RERANKER, documents, ranking, reranker
from pydantic import ValidationError

from akidb_embeddings import RerankConfig, close_shared_rerankers

teardown_module = close_shared_rerankers

SETTINGS: dict[str, Any] = {
    "revision": "main",
    "max_tokens": 64,
    "truncate": "error",
    "instruction": "Find plants",
    "batch_size": 5,
    "memory": "compact",
    "compute": "strict",
    "warm_up": False,
    "keep_warm": 1.5,
    "max_queued_tokens": 1000,
    "auto_download": False,
    "cache_dir": "models",
    "top_n": None,
    "activation": "sigmoid",
    "max_over_passages": True,
}
COPIES: dict[str, Callable[[MLXRerank], MLXRerank]] = {
    "pickle": lambda ours: pickle.loads(pickle.dumps(ours)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda ours: ours.model_copy(),
    "deep model_copy": lambda ours: ours.model_copy(deep=True),
    "to_dict": lambda ours: MLXRerank.from_dict(ours.to_dict()),
    "json": lambda ours: MLXRerank.from_dict(json.loads(json.dumps(ours.to_dict()))),
    "model_dump": lambda ours: MLXRerank.model_validate(ours.model_dump()),
    "model_dump_json": lambda ours: MLXRerank.model_validate_json(ours.model_dump_json()),
}
copies = pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)


@copies
@pytest.mark.parametrize("settings", [{}, SETTINGS, {"prompt_name": "query"}], ids=["nothing", "most", "name"])
def test_copies_are_equal_whatever_files_lie_around(
    duplicate: Callable[[MLXRerank], MLXRerank], settings: dict[str, Any], files: Path
) -> None:
    ours = reranker(**settings)
    theirs = duplicate(ours)
    assert files.is_dir()
    assert theirs == ours
    assert hash(theirs) == hash(ours)
    assert repr(theirs) == repr(ours)
    assert theirs.config == ours.config
    assert theirs.to_dict() == ours.to_dict() == ours.model_dump()


@copies
def test_copies_give_the_same_scores(duplicate: Callable[[MLXRerank], MLXRerank]) -> None:
    ours = reranker(activation="sigmoid", top_n=4)
    expected = ranking(ours.compress_documents(documents(), QUERY))
    assert ranking(duplicate(ours).compress_documents(documents(), QUERY)) == expected
    assert len(pickle.dumps(ours)) < 4000


@copies
def test_copies_keep_what_a_file_set(duplicate: Callable[[MLXRerank], MLXRerank], files: Path) -> None:
    ours = MLXRerank()
    for file in files.glob("*.yaml"):
        file.unlink()
    theirs = duplicate(ours)
    assert theirs == ours
    assert (theirs.config.max_tokens, theirs.config.batch_size) == (10, 3)


@pytest.mark.parametrize("name", SETTINGS)
def test_objects_with_other_settings_differ(name: str) -> None:
    ours, other = reranker(), reranker(**{name: SETTINGS[name]})
    assert ours != other
    assert len({ours, other, reranker()}) == 2
    assert other.to_dict()[name] == SETTINGS[name]
    assert f"{name}={SETTINGS[name]!r}" in repr(other)


def test_it_equals_nothing_else() -> None:
    others: tuple[object, ...] = (str(RERANKER), reranker().config, reranker().to_dict())
    for other in others:
        assert reranker() != other


def test_a_repr_can_be_evaluated(files: Path) -> None:
    for file in files.glob("*.yaml"):
        file.unlink()
    ours = MLXRerank("bge-reranker-v2-m3", max_tokens=64, top_n=None)
    assert repr(ours) == (
        "MLXRerank(model_name='bge-reranker-v2-m3', max_tokens=64, top_n=None, activation='model', "
        "max_over_passages=False)"
    )
    assert eval(repr(ours), {"MLXRerank": MLXRerank}) == ours


def test_a_change_is_a_copy() -> None:
    """Threads may share an object, and a hash stays what it is."""
    ours = reranker()
    with pytest.raises(ValidationError, match="frozen"):
        ours.top_n = 5
    changed = ours.model_copy(update={"top_n": 5})
    assert (ours.top_n, changed) == (3, reranker(top_n=5))


def test_a_configuration_in_a_dictionary_is_whole() -> None:
    assert reranker().to_dict().keys() == RerankConfig().to_dict().keys() | {
        "top_n", "activation", "max_over_passages",
    }  # fmt: skip


def _rerank(ours: MLXRerank) -> list[dict[str, Any]]:
    return ours.rerank(PASSAGES, QUERY)


@pytest.mark.long
def test_a_spawned_process_gives_the_same_ranking() -> None:
    ours = reranker()
    expected = _rerank(ours)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(_rerank, ours).result(LONG)
    assert [one["index"] for one in found] == [one["index"] for one in expected]
    assert [one["relevance_score"] for one in found] == pytest.approx(
        [one["relevance_score"] for one in expected], abs=1e-5
    )
