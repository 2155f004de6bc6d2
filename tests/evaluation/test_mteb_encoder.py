"""The encoder for MTEB, without MTEB: lists of batches for its data loaders, plain values for its metadata."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.errors import ArgumentError, ConfigurationError, InputError
from akidb_embeddings.evaluation.mteb_encoder import MTEBEncoder
from tests.conftest import run_python, service
from tests.fixtures import BUNDLED, copy_model, edit_json, model_path

PROMPTS = {
    "query": "q: ",
    "document": "d: ",
    "STS": "s: ",
    "Retrieval-query": "rq: ",
    "Clustering": "c: ",
    "SciFact": "sf: ",
    "SciFact-query": "sfq: ",
}


@dataclass
class Task:
    name: str = "NFCorpus"
    type: str = "Retrieval"


class PromptType(StrEnum):  # as mteb has it
    QUERY = "query"
    DOCUMENT = "document"


BATCHES: list[dict[str, Any]] = [{"text": ["one", "two"], "title": ["", ""]}, {"text": ["three"]}]


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MTEBEncoder]:
    """tiny-bert with many prompts and a default one."""
    folder = copy_model("tiny-bert", tmp_path_factory.mktemp("models") / "prompted")
    edit_json(folder / "config_sentence_transformers.json", prompts=PROMPTS, default_prompt_name="Clustering")
    with EmbeddingService(folder) as model:
        yield MTEBEncoder(model)


def encode(encoder: MTEBEncoder, batches: Any, task: Task, kind: str | None = None, **kwargs: Any) -> Any:
    return encoder.encode(batches, task_metadata=task, hf_split="test", hf_subset="default", prompt_type=kind, **kwargs)


@pytest.mark.parametrize(
    ("task", "kind", "prompt"),
    [
        (Task("SciFact"), "query", "sfq: "),
        (Task("SciFact"), "document", "sf: "),
        (Task("NFCorpus"), "query", "rq: "),
        (Task("NFCorpus"), "document", "d: "),
        (Task("NFCorpus"), PromptType.QUERY, "rq: "),
        (Task("NFCorpus", "Reranking"), PromptType.DOCUMENT, "d: "),
        (Task("NFCorpus", "Reranking"), "query", "q: "),
        (Task("STSBenchmark", "STS"), None, "s: "),
        (Task("STSBenchmark", "STS"), "query", "s: "),
        (Task("Banking77", "Classification"), None, "c: "),
    ],
)
def test_the_prompt_is_the_one_that_mteb_would_choose(
    prompted: MTEBEncoder, task: Task, kind: str | None, prompt: str
) -> None:
    assert prompted.prompt_for(task, kind) == prompt
    expected = prompted.service.encode(["one", "two", "three"], prompt=prompt).vectors
    np.testing.assert_allclose(encode(prompted, BATCHES, task, kind), expected, atol=1e-6)


def test_a_configured_prompt_goes_before_the_models_own(prompted: MTEBEncoder) -> None:
    with EmbeddingService(prompted.service.config.model_name, query_prompt="mine: ") as model:
        encoder = MTEBEncoder(model)
        assert encoder.prompt_for(Task("SciFact"), "query") == "mine: "
        assert encoder.prompt_for(Task("SciFact"), "document") == "sf: "
        assert encoder.prompt_for(Task("STSBenchmark", "STS")) == "s: "


@pytest.mark.parametrize(
    "settings", [{"task": "fact checking"}, {"query_prompt_name": "STS"}, {"query_prompt": "mine: "}]
)
def test_whatever_is_configured_for_queries_goes_first(settings: dict[str, Any]) -> None:
    with EmbeddingService(str(model_path("tiny-gemma3")), **settings) as service:
        encoder = MTEBEncoder(service)
        assert encoder.prompt_for(Task("SciFact", "Retrieval"), "query") == service.settings.prompt("query")
        assert encoder.prompt_for(Task("SciFact", "Retrieval"), "document") == "title: none | text: "


def test_a_batch_of_one_string_is_refused(minilm: EmbeddingService) -> None:
    with pytest.raises(InputError, match="texts is one str"):
        encode(MTEBEncoder(minilm), [{"text": "abc"}], Task())


def test_vectors_come_as_one_array_in_order(minilm: EmbeddingService) -> None:
    found = encode(MTEBEncoder(minilm), iter(BATCHES), Task(), "query", batch_size=2, show_progress_bar=True)
    assert (found.shape, found.dtype) == ((3, 384), np.float32)
    np.testing.assert_allclose(found, minilm.embed_queries(["one", "two", "three"]), atol=1e-6)
    assert encode(MTEBEncoder(minilm), [], Task()).shape == (0, 384)


def test_what_is_no_text_or_another_precision_is_refused(minilm: EmbeddingService) -> None:
    with pytest.raises(InputError, match="A batch has image and no text; only texts can be embedded"):
        encode(MTEBEncoder(minilm), [{"image": [object()]}], Task())
    with pytest.raises(InputError, match="precision is 'int8'; only float32 is supported"):
        encode(MTEBEncoder(minilm), BATCHES, Task(), precision="int8")
    assert len(encode(MTEBEncoder(minilm), BATCHES, Task(), precision="float32")) == 3


@pytest.mark.parametrize("other", ["image", "audio", "video"])
def test_what_comes_with_a_text_and_would_be_left_out_is_refused(minilm: EmbeddingService, other: str) -> None:
    with pytest.raises(InputError, match=f"A batch has {other} besides text; only texts can be embedded") as error:
        encode(MTEBEncoder(minilm), [*BATCHES, {"text": ["four"], other: [object()]}], Task())
    assert (error.value.field, error.value.index) == ("inputs", 2)


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("truncate_dim", 3, "make the service with dimensions=N"),
        ("normalize_embeddings", False, "normalize=False"),
        ("showprogress_bar", True, "Did you mean 'show_progress_bar'"),
    ],
)
def test_arguments_without_an_effect_are_refused(minilm: EmbeddingService, name: str, value: Any, advice: str) -> None:
    with pytest.raises(ArgumentError, match=advice) as error:
        encode(MTEBEncoder(minilm), BATCHES, Task(), **{name: value})
    assert error.value.field == name


def test_pairs_have_one_shape(minilm: EmbeddingService) -> None:
    encoder = MTEBEncoder(minilm)
    for first, second in ((1, 3), (2, 3)):
        with pytest.raises(InputError, match=rf"shape \({first}, 4\) and embeddings2 \({second}, 4\)"):
            encoder.similarity_pairwise(np.ones((first, 4)), np.ones((second, 4)))
    with pytest.raises(InputError, match="embeddings1 has the dtype"):
        encoder.similarity_pairwise([["a"]], [["b"]])
    assert encoder.similarity_pairwise(np.ones(4), np.ones((1, 4))).tolist() == [1]


def test_similarities_are_cosines(minilm: EmbeddingService) -> None:
    encoder = MTEBEncoder(minilm)
    a, b = [[3.0, 4.0], [1.0, 0.0]], [[6.0, 8.0], [0.0, 2.0], [-1.0, 0.0]]
    np.testing.assert_allclose(encoder.similarity(a, b), [[1, 0.8, -0.6], [0.6, 0, -1]], atol=1e-6)
    np.testing.assert_allclose(encoder.similarity_pairwise(a, b[:2]), [1, 0], atol=1e-6)
    np.testing.assert_allclose(encoder.similarity(a[0], b), [[1, 0.8, -0.6]], atol=1e-6)


def test_a_name_and_settings_make_a_service_of_its_own() -> None:
    encoder = MTEBEncoder(BUNDLED, None, embed_dim=128, untrained_dimensions=True, max_tokens=64)
    with encoder.service as model:
        assert (model.dimension, model.settings.max_tokens) == (128, 64)
        assert encode(encoder, BATCHES, Task()).shape == (3, 128)


def test_a_service_has_its_settings_already(minilm: EmbeddingService) -> None:
    with pytest.raises(ConfigurationError, match="A service has its settings; pooling, dimensions cannot be given"):
        MTEBEncoder(minilm, embed_dim=64, pooling="cls")
    with pytest.raises(ConfigurationError, match="device is 'cuda'; leave it out") as error:
        MTEBEncoder(minilm, device="cuda")
    assert error.value.field == "device"


class ModelMeta(SimpleNamespace):
    """In place of mteb's, which is made the same way."""

    @classmethod
    def create_empty(cls, overwrites: dict[str, Any]) -> "ModelMeta":
        return cls(**overwrites)


@pytest.fixture
def mteb(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mteb.models.model_meta")
    vars(module).update(ModelMeta=ModelMeta, ScoringFunction=SimpleNamespace(COSINE="cosine"))
    for name in ("mteb", "mteb.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.usefixtures("mteb")
def test_results_are_filed_by_model_and_settings(minilm: EmbeddingService) -> None:
    meta = MTEBEncoder(minilm).mteb_model_meta
    assert meta.name == "local/minilm-l6-v2"
    assert (meta.embed_dim, meta.max_tokens, meta.similarity_fn_name) == (384, 256, "cosine")
    assert meta.revision.startswith("bert-8bit-mean-384-")
    assert MTEBEncoder(minilm).mteb_model_meta.revision == meta.revision
    for changed in ({"query_prompt": "query: "}, {"max_tokens": 64}, {"pooling": "cls"}):
        with service(**changed) as model:
            assert MTEBEncoder(model).mteb_model_meta.revision != meta.revision
    with EmbeddingService("minilm-l6-v2") as known:
        assert MTEBEncoder(known).mteb_model_meta.name == "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.usefixtures("mteb")
def test_mteb_may_set_the_metadata_it_loaded_by(minilm: EmbeddingService) -> None:
    encoder = MTEBEncoder(minilm)
    own = ModelMeta(name="owner/name")
    encoder.mteb_model_meta = own
    assert encoder.mteb_model_meta is own


def test_neither_mteb_nor_torch_nor_mlx_is_imported_with_it() -> None:
    code = "import sys; import akidb_embeddings.mteb_encoder; print(*{'mteb', 'torch', 'mlx'} & set(sys.modules))"
    assert not run_python(code).split()
