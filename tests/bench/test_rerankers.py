"""The random reranker, shrunk and whole; pairs of an exact length; scores that are the same or not."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from akidb_embeddings import RerankConfig, RerankService
from akidb_embeddings.errors import EmbeddingError
from bench.random_rerankers import MS_MARCO_MINILM_L6, RANDOM_RERANKER, random_reranker, write_reranker
from bench.rerankers import DOCUMENT_TOKENS, SideCounter, choose_reranker, difference, mixed_pairs, ranking
from bench.texts import Texts
from tests.fixtures import model_path

SMALL = {**MS_MARCO_MINILM_L6, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 32}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_reranker(tmp_path / "model", SMALL)
    return tmp_path / "model"


def test_scores_differ_and_are_finite(folder: Path) -> None:
    pairs = [("a question", text) for text in ("short", "some more words", "import this " * 300, "naïve 東京")]
    with RerankService(str(folder)) as service:
        result = service.score_details(pairs)
        assert (service.activation, len(service.labels), service.max_tokens) == ("identity", 1, 512)
    assert np.isfinite(result.scores).all()
    assert len(set(result.scores.tolist())) == 4
    assert result.truncated == [False, False, True, False]


def test_the_same_seed_gives_the_same_model(folder: Path) -> None:
    write_reranker(folder.parent / "again", SMALL)
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (folder.parent / "again" / file).read_bytes() == (folder / file).read_bytes()


def test_dimensions_are_the_real_ones(tmp_path: Path) -> None:
    """The published size: 22,713,601 parameters."""
    made = random_reranker(tmp_path)
    assert random_reranker(tmp_path) == made
    assert [path.name for path in made.parent.iterdir()] == [made.name]
    with safe_open(made / "model.safetensors", "np") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - it is no dict
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 22_713_601
    assert shapes["bert.embeddings.word_embeddings.weight"] == [30522, 384]
    assert shapes["classifier.weight"] == [1, 384]


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.random_rerankers.write_tensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_reranker(tmp_path / "model", SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tiny-bert-reranker", "tiny-xlm-roberta-reranker", "tiny-qwen3-reranker"])
def test_documents_have_an_exact_number_of_tokens(name: str) -> None:
    texts = Texts()
    with RerankService(str(model_path(name))) as service:
        counter = SideCounter(service.checkpoint)
        query, documents = ranking(texts, counter, 3)
        counts = service.score_details([(query, text) for text in documents]).token_counts
        shorter = service.score_details([(query, text) for text in texts.exact(counter, 100, 3)]).token_counts
    assert len(set(documents)) == 3
    assert len(set(counts)) == len(set(shorter)) == 1
    assert counts[0] - shorter[0] == DOCUMENT_TOKENS - 100


def test_mixed_pairs_have_documents_of_every_length(folder: Path) -> None:
    with RerankService(str(folder)) as service:
        pairs = mixed_pairs(Texts(), SideCounter(service.checkpoint), 64)
    assert len(set(pairs)) == len(pairs) == 64
    lengths = sorted(len(document.split()) for _, document in pairs)
    assert lengths[6] < 40
    assert lengths[-6] > 150


def test_which_reranker_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("bench.rerankers.random_reranker", lambda cache: cache / "made")
    for name in (None, RANDOM_RERANKER):
        found = choose_reranker(name)
        assert (found.label, found.folder) == (RANDOM_RERANKER, tmp_path / "made")
        assert found.config == RerankConfig(model_name=str(tmp_path / "made"))
    tiny = model_path("tiny-bert-reranker")
    found = choose_reranker(str(tiny))
    assert (found.label, found.folder, found.config.model_name) == (tiny.name, tiny, str(tiny))
    with pytest.raises(EmbeddingError, match="minilm-l6-v2"):
        choose_reranker("minilm-l6-v2")


def test_scores_are_compared_by_their_spread() -> None:
    ours = np.array([-2, 0, 1, 5], dtype=np.float32)
    assert difference(ours, ours + np.float32(1e-5)).startswith("scores differ by at most 1.0e-05, ")
    assert difference(ours, ours + np.float32(0.1)).startswith("OTHER SCORES: ")
    assert difference(ours, ours + np.float32(0.1), bfloat16=True).startswith("scores differ by at most 1.0e-01, ")
    assert difference(ours, ours[:3]).startswith("OTHER SCORES, (3,) instead of (4,)")
    assert difference(ours, np.array([np.nan] * 4, dtype=np.float32)).startswith("OTHER SCORES")
