"""The service: right vectors for every caller at once, sync and async alike, and an error for whatever goes wrong."""

import asyncio
import hashlib
import inspect
import random
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.errors import ConfigurationError, InputError, NonFiniteVectorError, OverloadError
from akidb_embeddings.service import job as job_module
from akidb_embeddings.vectors.finish import Vectors
from tests.conftest import LONG, FakeModel, at_once, background, in_any_way, service
from tests.fixtures import BUNDLED, copy_model, cosines

pytestmark = pytest.mark.cores

WORDS = [
    "the",
    "a",
    "of",
    "river",
    "stone",
    "quickly",
    "über",
    "東京",
    "🦊",
    "naïve",
    "e=mc²",
    "don't",
    "1234",
    "x" * 30,
]


@pytest.fixture(scope="module")
def alone(minilm: EmbeddingService) -> dict[str, Vectors]:
    """Texts of many lengths and the vectors that they have when they come alone."""
    generator = random.Random(1)
    texts = [" ".join(generator.choices(WORDS, k=length)) for length in (0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 100, 300)]
    return {text: minilm.embed([text])[0] for text in [*texts, " ", "."]}


def check(vectors: Vectors, texts: list[str], alone: dict[str, Vectors]) -> None:
    assert len(vectors) == len(texts)
    assert cosines(vectors, np.stack([alone[text] for text in texts])).min() >= 0.99999


@pytest.mark.long
def test_sixteen_threads_and_an_event_loop_at_once(minilm: EmbeddingService, alone: dict[str, Vectors]) -> None:
    generator = random.Random(2)
    lists = [generator.choices(list(alone)[:10], k=1 + 3 * (i % 3)) for i in range(20)]

    async def on_a_loop() -> list[Vectors]:
        return await asyncio.gather(*[minilm.aembed(texts) for texts in lists[16:]])

    loop = background(lambda: asyncio.run(on_a_loop()))
    vectors = [*at_once(lambda caller: minilm.embed(lists[caller]), 16), *loop.result(LONG)]
    for got, texts in zip(vectors, lists, strict=True):
        check(got, texts, alone)


@pytest.mark.parametrize("batch_size", [1, 5, 128])
def test_batch_equals_single(alone: dict[str, Vectors], batch_size: int) -> None:
    texts = random.Random(batch_size).choices(list(alone), k=20)
    with service(batch_size=batch_size) as embedder:
        check(embedder.embed(texts), texts, alone)


@pytest.mark.long
def test_calls_that_are_alone_have_the_same_bits_whatever_is_computed_beside_them(minilm: EmbeddingService) -> None:
    generator = random.Random(3)
    lists = [[" ".join(generator.choices(WORDS, k=1 + n % 9)) for n in range(11 * caller)] for caller in range(1, 9)]
    undisturbed = [minilm.encode(texts).vectors for texts in lists]
    beside = at_once(lambda caller: minilm.encode(lists[caller], alone=caller % 4 != 0).vectors, 8)
    for caller in (1, 2, 3, 5, 6, 7):
        np.testing.assert_array_equal(beside[caller], undisturbed[caller])


@pytest.mark.long
def test_loops_in_many_threads_share_a_service(minilm: EmbeddingService, alone: dict[str, Vectors]) -> None:
    texts = list(alone)[:10]

    async def one_by_one() -> list[Vectors]:
        return await asyncio.gather(*[minilm.aembed_query(text) for text in texts])

    for vectors in at_once(lambda _: asyncio.run(one_by_one()), 6):
        check(np.stack(vectors), texts, alone)


async def test_vectors_may_be_made_inside_an_async_generator(fake: FakeModel) -> None:
    async def vectors(embedder: EmbeddingService) -> AsyncGenerator[Vectors, None]:
        async with embedder:
            for word in WORDS:
                yield await embedder.aembed([word])

    stream = vectors(await EmbeddingService.acreate(str(BUNDLED)))
    assert (await anext(stream)).shape == (await anext(stream)).shape == (1, 384)
    await stream.aclose()
    assert not engine_table._users


METHODS = ["encode", "embed", "embed_queries", "embed_documents", "embed_query", "close"]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_an_async_twin(name: str) -> None:
    method, twin = getattr(EmbeddingService, name), getattr(EmbeddingService, "a" + name)
    assert inspect.iscoroutinefunction(twin)
    assert inspect.signature(method) == inspect.signature(twin)
    public = {name for name, _ in inspect.getmembers(EmbeddingService, inspect.isfunction) if name[0] != "_"}
    assert public == {
        *METHODS,
        *("a" + name for name in METHODS),
        "accept",
        "count_tokens",
        "fingerprint",
        "token_limit",
        "resolve_prompt",
        "token_offsets",
        "token_strings",
        "with_options",
    }


async def test_twins_give_the_same_vectors(fake: FakeModel) -> None:
    with service(query_prompt="query: ", document_prompt="document: ") as embedder:
        for name in METHODS[1:-1]:
            texts: Any = "a text" if name == "embed_query" else ["a text", "another"]
            vectors = getattr(embedder, name)(texts)
            np.testing.assert_array_equal(vectors, await getattr(embedder, "a" + name)(texts))
            assert vectors.shape == ((384,) if name == "embed_query" else (2, 384))
        assert (
            len(
                {
                    tuple(one[0])
                    for one in (embedder.embed(["a"]), embedder.embed_queries(["a"]), embedder.embed_documents(["a"]))
                }
            )
            == 3
        )


@pytest.mark.parametrize("name", METHODS[:-1])
async def test_every_call_takes_the_same_options(fake: FakeModel, name: str) -> None:
    texts: Any = "a text" if name == "embed_query" else ["a text", "another"]

    async def call(way: str, **options: Any) -> None:
        result = getattr(embedder, way)(texts, **options)
        if inspect.isawaitable(result):
            await result

    with service() as embedder:
        for way in (name, "a" + name):
            told: list[int] = []
            await call(way, timeout=LONG, progress=told.append, wait=True)
            await call(way, timeout=None, progress=None, wait=False)
            assert sum(told) == (1 if name == "embed_query" else 2)
            with pytest.raises(OverloadError, match="deadline"):
                await call(way, timeout=0)
            with pytest.raises(TypeError, match="tiemout"):
                await call(way, tiemout=1)


def test_an_empty_list_gives_no_vectors_of_the_right_length(minilm: EmbeddingService) -> None:
    result = in_any_way(minilm, [])
    assert (result.vectors.shape, result.token_counts, result.truncated) == ((0, 384), [], [])
    for vectors in (minilm.embed(iter(())), minilm.embed_queries([]), minilm.embed_documents([]), minilm.accept([])):
        assert vectors.shape == (0, 384)
        assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("texts", "options", "reason"),
    [
        ("bare", {}, "texts is one str"),
        (["a", None], {}, r"texts\[1\] is None"),
        (["a"] * 9 + ["\ud800"], {}, r"texts\[9\] has a lone surrogate at character 0"),
        (["a", "bc\ud800"], {"prompt": "query: "}, r"texts\[1\] has a lone surrogate at character 2"),
        (["a"], {"prompt": "x", "prompt_name": "query"}, "prompt_name or prompt, not both"),
    ],
)
def test_input_errors_name_index_and_reason(
    fake: FakeModel, monkeypatch: pytest.MonkeyPatch, texts: Any, options: Any, reason: str
) -> None:
    monkeypatch.setattr(job_module, "WINDOW_TEXTS", 4)
    with service() as embedder, pytest.raises(InputError, match=reason):
        in_any_way(embedder, texts, **options)


def test_truncation_is_counted_flagged_or_refused(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "WINDOW_TEXTS", 2)
    texts = ["word " * count for count in (3, 254, 255, 0, 1000)]
    with service() as embedder:
        result = in_any_way(embedder, texts)
    assert result.token_counts == [5, 256, 256, 2, 256]
    assert result.truncated == [False, False, True, False, True]
    with service(truncate="error") as embedder:
        assert in_any_way(embedder, texts[:2]).truncated == [False, False]
        with pytest.raises(InputError, match=r"texts\[2\] has 257 tokens with its prompt; the limit is 256"):
            in_any_way(embedder, texts)
    with pytest.raises(ConfigurationError, match=r"max_tokens is 512.* is 256"):
        service(max_tokens=512)


def test_nan_names_the_callers_index_in_a_later_window(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "WINDOW_TEXTS", 2)
    with service() as embedder:
        embedder.embed(["fox"])
        fake.spoilt.add(fake.rows[-1][1])
        with pytest.raises(NonFiniteVectorError, match=r"texts\[5\] \(3 tokens\)"):
            in_any_way(embedder, ["a", "b", "c", "d", "e", "fox", "g"])
        assert in_any_way(embedder, ["a", "b"]).vectors.shape == (2, 384)


@pytest.mark.long
async def test_the_loop_ticks_while_bulk_is_embedded(minilm: EmbeddingService) -> None:
    bulk = asyncio.create_task(minilm.aembed(["some words of a text " * 30] * 16))
    begin, gaps, last = time.monotonic(), list[float](), time.monotonic()
    while not bulk.done():
        await asyncio.sleep(0.002)
        gaps.append(time.monotonic() - last)
        last = time.monotonic()
    assert (await bulk).shape == (16, 384)
    assert max(gaps) < (time.monotonic() - begin) / 2


async def test_nothing_slow_happens_on_the_loops_thread(
    fake: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long texts are tokenized elsewhere, and so are the model's files hashed for the fingerprint."""
    slow = list[tuple[str, threading.Thread]]()

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            slow.append((name, threading.current_thread()))
            return function(*arguments)

        return call

    monkeypatch.setattr(hashlib, "file_digest", noted("hash", hashlib.file_digest))
    new = copy_model(BUNDLED, tmp_path / "model")  # no file that this process has read is hashed again
    async with await EmbeddingService.acreate(str(new)) as embedder:
        tokenizer = embedder._resources.tokenizer
        monkeypatch.setattr(tokenizer, "encode", noted("tokenize", tokenizer.encode))
        await embedder.aencode(["word " * 1000] * 5)
    assert {name for name, _ in slow} == {"hash", "tokenize"}
    assert {name for name, thread in slow if thread is threading.main_thread()} == set()


def test_cut_texts_are_told_once_where_flags_are_lost(fake: FakeModel, caplog: pytest.LogCaptureFixture) -> None:
    with service() as embedder:
        embedder.encode(["word " * 300])
        assert not caplog.records
        embedder.embed(["short", "word " * 300])
        embedder.embed(["word " * 300])
    assert [record.getMessage() for record in caplog.records if "were truncated" in record.getMessage()] == [
        caplog.records[0].getMessage()
    ]
    assert "1 of 2 texts were truncated at 256 tokens" in caplog.text


def test_a_path_is_a_model_name_too() -> None:
    with EmbeddingService(BUNDLED) as embedder:
        assert embedder.config.model_name == str(BUNDLED)
