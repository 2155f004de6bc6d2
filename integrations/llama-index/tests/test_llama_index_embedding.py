"""MLXEmbedding's vectors are EmbeddingService's, to the last bit, and its arguments are refused or honoured."""

import asyncio
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import MetadataMode, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index_helpers import MODEL, TEXTS, count_texts, without_settings

from akidb_embeddings import (
    ConfigurationError,
    EmbeddingConfig,
    EmbeddingError,
    EmbeddingService,
    InputError,
    close_shared_services,
    shared_service,
)
from tests.conftest import mlx_threads, run_python
from tests.fixtures import BUNDLED, copy_model, model_path

PROMPTS: dict[str, Any] = {"query_prompt": "query: ", "document_prompt": "passage: "}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_settings(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def core() -> Iterator[EmbeddingService]:
    with EmbeddingService(config=EmbeddingConfig(model_name=MODEL, **PROMPTS)) as service:
        yield service


@pytest.fixture
def embedding() -> MLXEmbedding:
    return MLXEmbedding(MODEL, **PROMPTS)


def as_any(value: Any) -> Any:
    """A value that a type checker lets pass for any other."""
    return value


# Vectors


async def test_a_query_is_the_cores_query(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    for text in TEXTS:
        expected = core.embed_query(text).tolist()
        assert embedding.get_query_embedding(text) == expected
        assert await embedding.aget_query_embedding(text) == expected
    assert expected == core.embed(["query: " + text])[0].tolist()  # so the query prompt is before it
    assert expected != core.embed_documents([text])[0].tolist()


async def test_a_text_is_the_cores_document(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    for text in TEXTS:
        expected = core.embed_documents([text])[0].tolist()
        assert embedding.get_text_embedding(text) == expected
        assert await embedding.aget_text_embedding(text) == expected
    assert expected == core.embed(["passage: " + text])[0].tolist()


async def test_a_batch_is_the_cores_documents(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    expected = core.embed_documents(TEXTS).tolist()
    assert embedding.get_text_embedding_batch(TEXTS) == expected
    assert await embedding.aget_text_embedding_batch(TEXTS) == expected


async def test_a_batch_that_a_cache_partly_has_is_in_order(core: EmbeddingService) -> None:
    for is_async in (False, True):
        embedding = MLXEmbedding(MODEL, embeddings_cache=SimpleKVStore(), **PROMPTS)
        embedding.get_text_embedding_batch(TEXTS[1::2])
        got = (
            await embedding.aget_text_embedding_batch(TEXTS) if is_async else embedding.get_text_embedding_batch(TEXTS)
        )
        np.testing.assert_allclose(got, core.embed_documents(TEXTS), atol=1e-6)  # they came in two calls


async def test_slices_are_the_cores_on_these_slices(core: EmbeddingService) -> None:
    embedding = MLXEmbedding(MODEL, embed_batch_size=4, **PROMPTS)
    slices = [core.embed_documents(TEXTS[begin : begin + 4]).tolist() for begin in range(0, len(TEXTS), 4)]
    assert embedding.get_text_embedding_batch(TEXTS) == [vector for vectors in slices for vector in vectors]
    # The base class may have several slices in the engine at once, and these share micro-batches.
    got = await embedding.aget_text_embedding_batch(TEXTS)
    np.testing.assert_allclose(got, core.embed_documents(TEXTS), atol=1e-6)


async def test_more_texts_than_one_slice_holds() -> None:
    model = model_path("tiny-bert")
    texts = [f"text {number % 97} " + "word " * (number % 5) for number in range(2100)]
    embedding = MLXEmbedding(model)
    with EmbeddingService(model) as core:
        slices = [*core.embed_documents(texts[:2048]).tolist(), *core.embed_documents(texts[2048:]).tolist()]
        whole = core.embed_documents(texts)
    assert embedding.get_text_embedding_batch(texts) == slices
    np.testing.assert_allclose(slices, whole, atol=1e-6)
    np.testing.assert_allclose(await embedding.aget_text_embedding_batch(texts), whole, atol=1e-6)


async def test_the_inputs_of_an_aggregate_are_queries(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    seen: list[Any] = []

    def first(vectors: Any) -> Any:
        seen.append(vectors)
        return vectors[0]

    expected = [core.embed_query(text).tolist() for text in TEXTS]
    assert embedding.get_agg_embedding_from_queries(TEXTS, first) == expected[0]
    assert await embedding.aget_agg_embedding_from_queries(TEXTS, first) == expected[0]
    assert seen == [expected, expected]
    np.testing.assert_allclose(embedding.get_agg_embedding_from_queries(TEXTS), np.mean(expected, axis=0), atol=1e-9)


async def test_nodes_get_the_vectors_of_their_content(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    nodes = [TextNode(text=text, metadata={"place": number}) for number, text in enumerate(TEXTS)]
    contents = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
    expected = core.embed_documents(contents).tolist()
    assert embedding(nodes) is nodes
    assert [node.embedding for node in nodes] == expected
    again = [TextNode(text=text, metadata={"place": number}) for number, text in enumerate(TEXTS)]
    await embedding.acall(again)
    assert [node.embedding for node in again] == expected


async def test_vectors_are_lists_of_python_floats(embedding: MLXEmbedding) -> None:
    vectors = [
        embedding.get_query_embedding("a"),
        await embedding.aget_query_embedding("a"),
        embedding.get_text_embedding("a"),
        await embedding.aget_text_embedding("a"),
        *embedding.get_text_embedding_batch(["a", "b"]),
        *await embedding.aget_text_embedding_batch(["a", "b"]),
        *embedding.accept(np.ones((2, 384), dtype=np.float32)),
    ]
    for vector in vectors:
        assert type(vector) is list
        assert len(vector) == 384
        assert {type(value) for value in vector} == {float}


async def test_no_texts_give_no_vectors(embedding: MLXEmbedding) -> None:
    assert embedding.get_text_embedding_batch([]) == []
    assert await embedding.aget_text_embedding_batch([]) == []
    assert embedding.get_text_embedding_batch([], show_progress=True) == []
    assert await embedding.aget_text_embedding_batch([], show_progress=True) == []
    assert embedding([]) == []
    assert await embedding.acall([]) == []
    assert embedding.accept([]) == []


def test_cut_and_unnormalized_vectors() -> None:
    options: dict[str, Any] = {
        "dimensions": 64,
        "untrained_dimensions": True,
        "normalize": False,
        "pooling": "cls",
        "max_tokens": 8,
    }
    with EmbeddingService(MODEL, **options) as core:
        expected = core.embed_documents(TEXTS).tolist()
    got = MLXEmbedding(MODEL, **options).get_text_embedding_batch(TEXTS)
    assert got == expected
    assert {len(vector) for vector in got} == {64}


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("tiny-gemma3", {"query_prompt_name": "STS", "document_prompt_name": "Clustering"}),
        ("tiny-gemma3", {"task": "fact checking"}),
        ("tiny-qwen3", {"task": "Find the same."}),
    ],
)
async def test_prompts_by_name_and_task_are_the_cores(model: str, settings: dict[str, Any]) -> None:
    ours, plain = (MLXEmbedding(model_path(model), **values) for values in (settings, {}))
    with EmbeddingService(str(model_path(model)), **settings) as core:
        query, document = core.embed_query("fox").tolist(), core.embed_documents(["fox"])[0].tolist()
    assert ours.get_query_embedding("fox") == await ours.aget_query_embedding("fox") == query
    assert ours.get_text_embedding("fox") == document
    assert plain.get_query_embedding("fox") != query
    assert (plain.get_text_embedding("fox") == document) == ("task" in settings)


def test_sync_calls_work_inside_a_running_loop(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    async def inside() -> Any:
        return embedding.get_text_embedding_batch(TEXTS)

    assert asyncio.run(inside()) == core.embed_documents(TEXTS).tolist()


async def test_wrong_inputs_are_refused(embedding: MLXEmbedding) -> None:
    wrong: list[Any] = [None, 1, b"bytes", ["a"]]
    for text in wrong:
        for call in (embedding.get_query_embedding, embedding.get_text_embedding):
            with pytest.raises(InputError, match="string is wanted"):
                call(text)
        for acall in (embedding.aget_query_embedding, embedding.aget_text_embedding):
            with pytest.raises(InputError, match="string is wanted"):
                await acall(text)
        with pytest.raises(InputError, match=r"texts\[1\].*string is wanted"):
            embedding.get_text_embedding_batch(["a", text])
        with pytest.raises(InputError, match=r"texts\[1\].*string is wanted"):
            await embedding.aget_text_embedding_batch(["a", text])
    with pytest.raises(InputError, match="surrogate"):
        embedding.get_query_embedding("\ud800")


@pytest.mark.parametrize("texts", ["one text", b"bytes", None, 3])
async def test_a_batch_that_is_no_list_is_refused(embedding: MLXEmbedding, texts: Any) -> None:
    # A string would otherwise be taken for a list of its characters, and give as many vectors.
    with pytest.raises(InputError, match="texts is"):
        embedding.get_text_embedding_batch(texts)
    with pytest.raises(InputError, match="texts is"):
        await embedding.aget_text_embedding_batch(texts)


@pytest.mark.parametrize("bad", [None, "\ud800", "a text that is too long"], ids=["type", "surrogate", "length"])
async def test_an_error_names_the_callers_own_index(bad: Any) -> None:
    embedding = MLXEmbedding(MODEL, embed_batch_size=2, max_tokens=5, truncate="error")
    texts = ["a", "b", "c", bad]
    with pytest.raises(InputError, match=r"texts\[3\]"):
        embedding.get_text_embedding_batch(texts)
    with pytest.raises(InputError, match=r"texts\[3\]"):
        await embedding.aget_text_embedding_batch(texts)


async def test_long_texts_are_refused_if_asked() -> None:
    embedding = MLXEmbedding(MODEL, max_tokens=5, truncate="error")
    assert len(embedding.get_text_embedding("short")) == 384
    with pytest.raises(InputError, match="5"):
        embedding.get_query_embedding(TEXTS[0])
    with pytest.raises(InputError, match=r"texts\[1\]"):
        await embedding.aget_text_embedding_batch(["short", TEXTS[0]])


# Arguments


def test_no_unknown_argument_is_dropped() -> None:
    unknown = (
        "normalise",
        "max_lenght",
        "model",
        "backend",
        "target_devices",
        "show_progress_bar",
        "api_key",
        "class_name",
    )
    for name in unknown:
        with pytest.raises(ConfigurationError, match=name):
            MLXEmbedding(MODEL, **{name: as_any("x")})
    with pytest.raises(TypeError):
        MLXEmbedding(MODEL, *as_any(["mean"]))


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("normalise", "normalize"),
        ("query_promt", "query_prompt"),
        ("pool", "pooling"),
        ("embed_batchsize", "embed_batch_size"),
        ("num_worker", "num_workers"),
        ("callback_manger", "callback_manager"),
        ("embedding_cache", "embeddings_cache"),
    ],
)
def test_a_slip_of_the_pen_is_met_with_the_name_that_may_be_meant(typo: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Did you mean '{meant}'"):
        MLXEmbedding(MODEL, **{typo: as_any(1)})


@pytest.mark.parametrize(
    ("habit", "name", "value"),
    [
        ("max_length", "max_tokens", 64),
        ("query_instruction", "query_prompt", "query: "),
        ("text_instruction", "document_prompt", "passage: "),
        ("cache_folder", "cache_dir", "models"),
    ],
)
def test_names_of_habit(habit: str, name: str, value: Any) -> None:
    by_habit = MLXEmbedding(**{"model_name": MODEL, habit: value})
    assert by_habit == MLXEmbedding(**{"model_name": MODEL, name: value})
    assert getattr(by_habit, name) == value
    assert getattr(by_habit.config, name) == value
    for other in (value, None):
        with pytest.raises(ConfigurationError, match=rf"'{habit}' and '{name}'|'{name}' and '{habit}'"):
            MLXEmbedding(**{"model_name": MODEL, habit: value, name: other})


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("device", "cpu", "AKIDB_BACKEND=cpu"),
        ("device", None, "AKIDB_BACKEND=cpu"),
        ("trust_remote_code", True, "never run"),
        ("parallel_process", True, "uses all cores"),
    ],
)
def test_habits_without_a_meaning_here(name: str, value: Any, way_out: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=.*{way_out}.*Leave it out"):
        MLXEmbedding(**{"model_name": MODEL, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_name", ""),
        ("model_name", 3),
        ("pooling", "max"),
        ("normalize", "yes"),
        ("dimensions", 0),
        ("max_tokens", 0),
        ("max_tokens", "64"),
        ("truncate", "start"),
        ("query_prompt", 3),
        ("query_prompt_name", ""),
        ("task", 3),
        ("untrained_dimensions", 1),
        ("batch_size", 0),
        ("memory", "small"),
        ("cache_dir", 3),
        ("config", {"model_name": MODEL}),
        ("embed_batch_size", 0),
        ("embed_batch_size", 2049),
        ("embed_batch_size", "many"),
        ("num_workers", "two"),
        ("embeddings_cache", {}),
    ],
)
def test_wrong_values_are_configuration_errors(name: str, value: Any) -> None:
    with pytest.raises(EmbeddingError, match=name) as caught:
        MLXEmbedding(**{"model_name": MODEL, name: value})
    assert caught.type is ConfigurationError


def test_values_the_model_cannot_honour_are_refused_at_the_first_call() -> None:
    with pytest.raises(ConfigurationError, match=r"1000.*384"):
        MLXEmbedding(MODEL, dimensions=1000).get_text_embedding("a")
    with pytest.raises(ConfigurationError, match=r"64; .*384 alone"):
        MLXEmbedding(MODEL, dimensions=64).get_text_embedding("a")
    with pytest.raises(ConfigurationError, match=r"document_prompt_name is 'passage'; .*'document', 'query'"):
        MLXEmbedding(MODEL, document_prompt_name="passage").get_text_embedding("a")
    with pytest.raises(ConfigurationError, match=r"task is 'Find it', but .*query_prompt_name"):
        MLXEmbedding(MODEL, task="Find it").get_query_embedding("a")
    with pytest.raises(ConfigurationError, match=r"1000.*256"):
        MLXEmbedding(MODEL, max_tokens=1000).get_text_embedding("a")
    # Nobody chose the default limit, so it bows to the model's.
    assert shared_service(MLXEmbedding(MODEL).config).settings.max_tokens == 256
    assert shared_service(MLXEmbedding(MODEL, max_tokens=None).config).settings.max_tokens == 256


@pytest.fixture
def unnormalized(tmp_path: Path) -> Path:
    """A model that was trained without normalization, which the core warns of unless ``normalize`` is given."""
    model = copy_model("tiny-bert", tmp_path / "model")
    modules = json.loads((model / "modules.json").read_text())
    (model / "modules.json").write_text(json.dumps([one for one in modules if not one["type"].endswith("Normalize")]))
    return model


def test_a_departure_from_the_models_training_is_told(unnormalized: Path, caplog: pytest.LogCaptureFixture) -> None:
    MLXEmbedding(unnormalized).get_text_embedding("a")
    assert "trained without normalization" in caplog.text


@pytest.mark.parametrize("normalize", [True, False])
def test_one_that_is_asked_for_is_not(unnormalized: Path, normalize: bool, caplog: pytest.LogCaptureFixture) -> None:
    embedding = MLXEmbedding(unnormalized, normalize=normalize)
    for one in (embedding, pickle.loads(pickle.dumps(embedding))):
        one.get_text_embedding("a")
        close_shared_services()
    assert caplog.text == ""


def test_a_model_is_a_name_or_a_folder() -> None:
    expected = MLXEmbedding(MODEL).get_text_embedding("a")
    for name in (str(BUNDLED), BUNDLED):
        assert MLXEmbedding(name).get_text_embedding("a") == expected
        assert MLXEmbedding(model_name=name).model_name == str(BUNDLED)


def test_a_relative_folder_is_looked_for_where_the_process_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {name: MLXEmbedding(model_path(name)).get_text_embedding("a") for name in ("tiny-bert", "tiny-bert-cls")}
    got, versions = {}, set()
    for name in expected:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model").symlink_to(model_path(name))
        monkeypatch.chdir(folder)
        embedding = MLXEmbedding("./model")
        versions.add(embedding.to_dict()["model_version"])
        got[name] = embedding.get_text_embedding("a")
    assert got == expected
    assert len(versions) == 2


def test_a_whole_configuration() -> None:
    config = EmbeddingConfig(model_name=MODEL, dimensions=64, max_tokens=32, batch_size=4)
    assert MLXEmbedding(config=config).config == config
    changed = MLXEmbedding(config=config, dimensions=None, query_instruction="q: ", embed_batch_size=7)
    assert changed.config == config.with_values(dimensions=None, query_prompt="q: ")
    assert changed.embed_batch_size == 7
    assert MLXEmbedding("other/model", config=config).config == config.with_values(model_name="other/model")


def test_configuration_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.write_text("embedding:\n" + text)
        return file

    other = write("other.yaml", f"  model_name: {MODEL}\n  dimensions: 64\n")
    assert MLXEmbedding().model_name == EmbeddingConfig().model_name
    assert MLXEmbedding(config_path=other).config == EmbeddingConfig(model_name=MODEL, dimensions=64)
    write("embedding_config.yaml", f"  model_name: {MODEL}\n  max_tokens: 64\n  query_prompt: 'q: '\n")
    found = MLXEmbedding()
    assert (found.model_name, found.max_tokens, found.query_prompt) == (MODEL, 64, "q: ")
    assert MLXEmbedding(max_length=16, query_instruction=None).config == EmbeddingConfig(
        model_name=MODEL, max_tokens=16
    )
    assert MLXEmbedding(config=EmbeddingConfig(model_name=MODEL)).query_prompt is None
    monkeypatch.setenv("AKIDB_CONFIG", str(other))
    assert MLXEmbedding().config == EmbeddingConfig(model_name=MODEL, dimensions=64)
    monkeypatch.setenv("AKIDB_CONFIG", str(tmp_path / "missing.yaml"))
    with pytest.raises(ConfigurationError, match="AKIDB_CONFIG"):
        MLXEmbedding(MODEL)
    with pytest.raises(ConfigurationError, match=r"missing\.yaml"):
        MLXEmbedding(MODEL, config_path=tmp_path / "missing.yaml")


def test_max_tokens_of_none_is_the_default_whatever_a_file_says(tmp_path: Path) -> None:
    (tmp_path / "embedding_config.yaml").write_text("embedding:\n  max_tokens: 8\n")
    assert MLXEmbedding(MODEL).config.max_tokens == 8
    by_default = MLXEmbedding(MODEL, max_tokens=None)
    assert by_default.max_tokens is None
    assert not by_default.config.was_given("max_tokens")
    assert shared_service(by_default.config).settings.max_tokens == 256


# Cost


def test_neither_import_nor_construction_loads_a_model() -> None:
    output = run_python(
        "import sys, copy, pickle\n"
        "import akidb_embeddings\n"
        "print([name for name in sys.modules if name.startswith('llama_index')])\n"
        "import llama_index.core.base.embeddings.base\n"
        "before = set(sys.modules)\n"
        "from llama_index.embeddings.akidb import MLXEmbedding\n"
        f"e = MLXEmbedding({MODEL!r}, max_length=64)\n"
        "assert pickle.loads(pickle.dumps(e)) == e == copy.deepcopy(e) == e.model_copy()\n"
        "repr(e), e.to_payload(), e.model_dump(), e.config\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'mlx', 'tokenizers', 'huggingface_hub', 'torch', 'transformers', 'tqdm'}))\n"
        "print(sorted(set(sys.modules) & {'mlx', 'tokenizers', 'akidb_embeddings.service'}))\n"
    )
    assert output.splitlines() == ["[]", "[]", "[]"]


def test_equal_objects_share_an_engine() -> None:
    first, second = MLXEmbedding(MODEL), MLXEmbedding(model_name=MODEL, embed_batch_size=3)
    first.get_text_embedding("a")
    threads = mlx_threads()
    second.get_text_embedding("a")
    MLXEmbedding(MODEL, query_prompt="another way to use the same weights: ").get_query_embedding("a")
    assert mlx_threads() == threads
    assert shared_service(first.config) is shared_service(second.config)


def test_a_closed_service_comes_back(embedding: MLXEmbedding) -> None:
    before = embedding.get_text_embedding("a")
    close_shared_services()
    assert embedding.get_text_embedding("a") == before


# Given vectors


def test_given_vectors_are_checked(embedding: MLXEmbedding) -> None:
    with pytest.raises(InputError, match=r"vectors\[1\].*3.*384"):
        embedding.accept([[1.0] * 384, [1.0] * 3])
    with pytest.raises(InputError, match=r"2 vectors.*3 are wanted"):
        embedding.accept([[1.0] * 384] * 2, count=3)
    with pytest.raises(InputError, match=r"vectors\[1\].*NaN"):
        embedding.accept([[1.0] * 384, [float("nan")] * 384])
    with pytest.raises(InputError, match=r"vectors\[0\].*zero"):
        embedding.accept([[0.0] * 384])
    with pytest.raises(InputError, match=r"vectors\[0\].*384.*64"):
        MLXEmbedding(MODEL, dimensions=64, untrained_dimensions=True).accept([[1.0] * 384])


def test_given_vectors_are_normalized_as_configured(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    given = np.random.default_rng(0).normal(size=(3, 384))
    assert embedding.accept(given, count=3) == core.accept(given).tolist()
    np.testing.assert_allclose(np.linalg.norm(embedding.accept(given), axis=1), 1, atol=1e-6)
    assert MLXEmbedding(MODEL, normalize=False).accept(given) == given.astype(np.float32).tolist()
    computed = embedding.get_text_embedding_batch(TEXTS)
    np.testing.assert_allclose(embedding.accept(computed), computed, atol=1e-7)


def test_given_and_computed_vectors_in_one_index(monkeypatch: pytest.MonkeyPatch, embedding: MLXEmbedding) -> None:
    [elsewhere] = embedding.accept([embedding.get_text_embedding("Cats purr.")])
    given = TextNode(text="a picture", embedding=elsewhere)
    calls = count_texts(monkeypatch)
    index = VectorStoreIndex(
        [TextNode(text="Stocks fell."), given, TextNode(text="Bread rises.")], embed_model=embedding
    )
    assert calls == [2]
    [first, *_] = index.as_retriever(similarity_top_k=3).retrieve("What do cats do?")
    assert first.text == "a picture"
    assert given.embedding == elsewhere
