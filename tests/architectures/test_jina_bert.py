"""JinaBERT's slopes, which no tiny model has for all numbers of heads, and how its models are told from BERT's."""

import math
from pathlib import Path

import pytest

from akidb_embeddings import CheckpointError, EmbeddingService
from akidb_embeddings.architectures.jina_bert import alibi_slopes
from akidb_embeddings.checkpoint.architecture import find_architecture
from akidb_embeddings.registry.architectures import ARCHITECTURES
from tests.fixtures import copy_model, edit_json

CODE = {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"}


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 8, 12, 16, 20])
def test_slopes_are_those_of_the_authors_code(heads: int) -> None:
    def slopes(count: int) -> list[float]:
        if math.log2(count).is_integer():
            start = 2 ** (-(2 ** -(math.log2(count) - 3)))
            return [start * start**i for i in range(count)]
        closest = 2 ** math.floor(math.log2(count))
        return slopes(closest) + slopes(2 * closest)[0::2][: count - closest]

    assert alibi_slopes(heads) == pytest.approx(slopes(heads), rel=1e-12)


def test_slopes_of_the_published_sizes() -> None:
    assert alibi_slopes(8) == [2.0**-power for power in range(1, 9)]
    assert alibi_slopes(12) == [2.0**-power for power in (*range(1, 9), 0.5, 1.5, 2.5, 3.5)]


def test_a_bert_with_this_code_is_no_bert() -> None:
    bert = {"model_type": "bert"}
    assert find_architecture(bert) is ARCHITECTURES["bert"]
    assert find_architecture(bert | {"auto_map": CODE}) is ARCHITECTURES["jina_bert"]
    with pytest.raises(CheckpointError, match="remote code for this roberta model"):
        find_architecture({"model_type": "roberta", "auto_map": CODE})


def test_a_bert_with_alibi_and_without_the_code_is_refused(tmp_path: Path) -> None:
    folder = copy_model("tiny-jina", tmp_path / "model", auto_map=None)
    with pytest.raises(CheckpointError, match="position_embedding_type to 'alibi'"):
        EmbeddingService(str(folder))


def test_the_code_may_be_trusted_by_the_files_and_nothing_else(tmp_path: Path) -> None:
    """``model_args`` of the published sentence_bert_config.json; no code is run."""
    folder = copy_model("tiny-jina", tmp_path / "model")
    edit_json(folder / "sentence_bert_config.json", model_args={"trust_remote_code": True, "revision": "x"})
    with pytest.raises(CheckpointError, match="sets model_args to"):
        EmbeddingService(str(folder))
