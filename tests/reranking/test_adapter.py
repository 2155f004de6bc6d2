"""What rerank adapters share: rules of their own settings, and the best hits, with a word about truncation."""

import logging
from typing import Any

import pytest

from akidb_embeddings import RerankConfig, RerankService
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.reranking.adapter import SETTINGS, best
from akidb_embeddings.reranking.result import Hit
from tests.conftest import run_python
from tests.reranking.models import BERT, DOCUMENTS, QUERY, folder


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("top_n", [1, 1000, None], [0, -1, True, 2.0, "2"]),
        ("activation", ["model", "sigmoid", "identity"], ["softmax", None, 1]),
        ("max_over_passages", [True, False], [None, 1, "yes"]),
    ],
)
def test_settings_have_rules(name: str, allowed: list[Any], refused: list[Any]) -> None:
    for value in allowed:
        SETTINGS[name].check(name, value)
    for value in refused:
        with pytest.raises(ConfigurationError, match=name):
            SETTINGS[name].check(name, value)


def test_they_are_the_options_of_a_ranking() -> None:
    """An adapter's rules and the service's must not drift apart."""
    with RerankService(config=RerankConfig(model_name=str(folder(BERT)))) as service:
        for activation in ("model", "sigmoid", "identity"):
            SETTINGS["activation"].check("activation", activation)
            for over in (False, True):
                assert service.rerank(QUERY, DOCUMENTS[:2], activation=activation, max_over_passages=over)


def test_the_best_are_the_first() -> None:
    hits = [Hit(index, -float(index), False) for index in range(5)]
    with RerankService(config=RerankConfig(model_name=str(folder(BERT)))) as service:
        assert best(service, hits, 2) == hits[:2]
        assert best(service, hits, None) == best(service, hits, 9) == hits


def test_each_service_tells_of_its_first_truncation(caplog: pytest.LogCaptureFixture) -> None:
    for limit in (16, 32):
        with RerankService(config=RerankConfig(model_name=str(folder(BERT)), max_tokens=limit)) as service:
            for truncated in (False, True, True):
                best(service, [Hit(0, 1.0, False), Hit(1, 0.5, truncated)], 1)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(".")[0] for message in messages] == [
        f"1 of 2 documents were truncated: with the query, they have more than {limit} tokens" for limit in (16, 32)
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_importing_it_loads_little() -> None:
    code = "import sys, akidb_embeddings.reranking.adapter\nprint({'mlx', 'numpy', 'tokenizers'} & set(sys.modules))"
    assert run_python(code) == "set()\n"
