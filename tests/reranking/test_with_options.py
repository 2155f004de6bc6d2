"""A service with other options on the same model, and what an instruction must be."""

import numpy as np
import pytest

from akidb_embeddings import RerankService
from akidb_embeddings.errors import ConfigurationError, InputError, WorkerError
from tests.conftest import Threads
from tests.fixtures import model_path

PAIRS = [("how do plants make sugar", "from light"), ("a", "word " * 600)]


def test_longer_pairs_are_cut_or_refused_by_one_model(threads: Threads) -> None:
    with RerankService(str(model_path("tiny-bert-reranker"))) as service:
        expected = service.score_details(PAIRS, alone=True)
        assert expected.truncated == [False, True]
        with service.with_options(truncate="error") as strict:
            assert threads() == 1
            assert strict.config.truncate == "error"
            with pytest.raises(InputError, match=r"^pairs\[1\] has 1204 tokens") as caught:
                strict.score(PAIRS)
            assert (caught.value.index, caught.value.limit) == (1, 512)
            np.testing.assert_array_equal(strict.score(PAIRS[:1], alone=True), expected.scores[:1])
            with strict.with_options() as same:
                assert same.config == strict.config
        with service.with_options(truncate="end") as cut:
            np.testing.assert_array_equal(cut.score(PAIRS, alone=True), expected.scores)
            assert cut.fingerprint() == service.fingerprint()
        with pytest.raises(ConfigurationError, match="truncate is 'no'"):
            service.with_options(truncate="no")
    with pytest.raises(WorkerError, match="closed"):
        service.with_options()


def test_the_side_that_is_cut_is_the_tokenizers() -> None:
    with RerankService(str(model_path("tiny-bert-reranker"))) as service:
        assert service.truncation_side == "right"


@pytest.mark.parametrize("instruction", ["", " \n"])
def test_a_blank_instruction_is_named_as_it_was_given(instruction: str) -> None:
    with RerankService(str(model_path("tiny-qwen3-reranker"))) as service:
        with pytest.raises(InputError, match=r"^instruction is ") as caught:
            service.score(PAIRS, instruction=instruction)
        assert caught.value.field == "instruction"
