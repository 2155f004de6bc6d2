"""Windows of texts: bounded, in order, with the caller's own indices in every error, and gone when the call is over."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from akidb_embeddings.checkpoint.settings import Settings
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.engine.engine import Engine
from akidb_embeddings.errors import InputError, NonFiniteVectorError, OverloadError, WorkerError
from akidb_embeddings.service import job as job_module
from akidb_embeddings.service.resources import Resources
from akidb_embeddings.service.vectors_job import VectorsJob
from akidb_embeddings.tokenization.tokenizer import Tokenized
from tests.conftest import LONG, FakeModel, Start, background, eventually, row, service, vector_of

LIMIT = 6
SETTINGS = Settings("mean", False, 4, LIMIT, {}, "")


def tokenize(texts: list[str], prompt: str = "", begin: int = 0) -> Tokenized:
    """A token a character, and at most six."""
    whole = [prompt + text for text in texts]
    counts = [len(text) for text in whole]
    return Tokenized([row(*map(ord, text[:LIMIT])) for text in whole], counts, [True] * len(whole))


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "WINDOW_TEXTS", 3)
    monkeypatch.setattr(job_module, "WINDOW_CHARACTERS", 20)


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def engine(start: Start, model: FakeModel) -> Engine:
    return start(model)


Make = Callable[..., VectorsJob]


@pytest.fixture
def make(engine: Engine) -> Make:
    def new(
        texts: list[str],
        prompt: str = "",
        timeout: float | None = None,
        progress: Any = None,
        wait: bool = False,
        **config: Any,
    ) -> VectorsJob:
        tokenizer: Any = SimpleNamespace(encode=tokenize)
        unused: Any = None  # a job is given its prompt
        resources = Resources(EmbeddingConfig(**config), SETTINGS, unused, unused, tokenizer, engine)
        return VectorsJob(resources, texts, prompt, timeout=timeout, progress=progress, wait=wait)

    return new


def run(job: VectorsJob) -> VectorsJob:
    """What ``EmbeddingService.encode`` does."""
    with job:
        job.run()
    return job


@pytest.mark.parametrize("seed", range(5))
def test_windows_cover_all_texts_once_and_are_bounded(make: Make, seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(50):
        texts = ["x" * generator.choice([0, 1, 5, 9, 19, 20, 21, 50]) for _ in range(generator.randrange(20))]
        windows = list(make(texts).windows())
        assert [index for begin, end in windows for index in range(begin, end)] == list(range(len(texts)))
        for begin, end in windows:
            assert 1 <= end - begin <= 3
            assert end - begin == 1 or sum(map(len, texts[begin:end])) <= 20


def test_results_come_in_order_with_counts_and_flags(make: Make) -> None:
    texts = ["abcdefgh", "a", "bb", "ccc", "abcdefg", "dddd", "a", "eeeeee", "x" * 30, "yy"]
    done: list[int] = []
    job = run(make(texts, progress=done.append))
    np.testing.assert_array_equal(job.vectors, [vector_of(row(*map(ord, text[:6]))) for text in texts])
    assert job.token_counts == [min(len(text), 6) for text in texts]
    assert job.truncated == [len(text) > 6 for text in texts]
    assert done == [3, 3, 2, 1, 1]


def test_the_prompt_goes_before_every_text(make: Make, model: FakeModel) -> None:
    run(make(["a", "bc"], prompt="p:"))
    assert sorted(model.rows) == [list(b"p:a"), list(b"p:bc")]


def test_no_texts_need_no_engine(make: Make, model: FakeModel) -> None:
    assert run(make([])).vectors.shape == (0, 4)
    assert model.forwards == []


def test_at_most_two_windows_are_in_the_engine(make: Make, engine: Engine, model: FakeModel) -> None:
    model.hold()
    with make(["ab"] * 30) as job:
        for begin, end in job.windows():
            if job.full:
                break
            job.submit(begin, job.tokenize(begin, end))
        assert begin == 6
        model.release()


@pytest.mark.parametrize("index", [0, 2, 3, 8])
def test_nan_names_the_callers_index_in_any_window(make: Make, model: FakeModel, index: int) -> None:
    model.spoilt.add(ord("!"))
    texts = ["abc"] * 10
    texts[index] = "a!"
    with pytest.raises(NonFiniteVectorError, match=rf"texts\[{index}\] \(2 tokens\)") as caught:
        run(make(texts))
    assert (caught.value.index, caught.value.tokens) == (index, 2)


@pytest.mark.parametrize("index", [0, 2, 3, 8])
def test_a_text_too_long_is_refused_by_its_index_and_count(make: Make, index: int) -> None:
    texts = ["abc"] * 10
    texts[index] = "abcdefgh"
    with pytest.raises(InputError, match=rf"texts\[{index}\] has 10 tokens with its prompt; the limit is 6"):
        run(make(texts, prompt="p:", truncate="error"))
    assert run(make(texts, truncate="end")).truncated == [i == index for i in range(10)]


def test_other_errors_pass_unchanged(make: Make, model: FakeModel) -> None:
    model.faults[ord("!")] = ValueError("boom")
    with pytest.raises(WorkerError, match="boom"):
        run(make(["abc"] * 5 + ["!"]))


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError])
def test_whatever_ends_a_job_takes_its_texts_out_of_the_queue(
    make: Make, engine: Engine, model: FakeModel, error: type[BaseException]
) -> None:
    model.hold()
    other = make(["zzz"])
    other.submit(0, other.tokenize(0, 1))
    model.entered()
    with pytest.raises(error), make(["abc"] * 6) as job:  # noqa: PT012
        for begin, end in job.windows():
            job.submit(begin, job.tokenize(begin, end))
        raise error
    model.release()
    run(make(["b"]))
    assert model.rows == [list(b"zzz"), list(b"b")]
    assert engine.waiting_tokens == 0


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), TimeoutError("mine"), NonFiniteVectorError(99, 5)])
@pytest.mark.parametrize("texts", [3, 12])
def test_progress_that_raises_ends_the_job_with_its_own_error(
    make: Make, engine: Engine, error: Exception, texts: int
) -> None:
    def progress(done: int) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run(make(["abc"] * texts, progress=progress))
    assert str(caught.value) == str(error)
    run(make(["b"]))
    assert engine.waiting_tokens == 0


def test_a_timeout_is_for_the_whole_call(make: Make, model: FakeModel) -> None:
    run(make(["abc"] * 12, timeout=LONG))
    job = make(["abc"] * 12, timeout=0.05)
    time.sleep(0.06)
    with pytest.raises(OverloadError, match="deadline"):
        run(job)


@pytest.mark.parametrize(("texts", "short"), [(["a" * 4000], True), (["a"] * 20, True), (["a"] * 60, False)])
def test_what_takes_long_to_tokenize_is_told_from_what_does_not(make: Make, texts: list[str], short: bool) -> None:
    assert make(texts, prompt="p" * 96).is_short(0, len(texts)) == short


def test_a_timeout_is_kept_while_others_are_computed(fake: FakeModel) -> None:
    """The caller gets its error in time, not when a round of somebody else's texts is over."""
    with service() as embedder:
        fake.hold()
        first = background(lambda: embedder.embed(["a"]))
        fake.entered()
        late = background(lambda: embedder.encode(["b"], timeout=0.05))
        try:
            with pytest.raises(OverloadError, match="deadline"):
                late.result(2)
        finally:
            fake.release()
        assert first.result(LONG).shape == (1, 384)
        assert len(fake.rows) == 1


def test_a_full_queue_is_an_error_that_says_so(fake: FakeModel) -> None:
    with service(max_queued_tokens=5) as embedder:
        fake.hold()
        begun = background(lambda: embedder.embed(["a"]))
        fake.entered()
        waiting = background(lambda: embedder.embed(["a"]))
        assert eventually(lambda: embedder._resources.engine.waiting_tokens)
        with pytest.raises(OverloadError, match="max_queued_tokens is 5"):
            embedder.embed(["b"])
        fake.release()
        assert begun.result(LONG).shape == waiting.result(LONG).shape


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_call_alone_is_not_refused_for_its_own_windows(fake: FakeModel, way: str) -> None:
    """Whether a long list passes must not hang on how far the engine got when its second window came."""
    fake.tokens_per_batch = 8
    with service(max_queued_tokens=10) as embedder:
        fake.hold()
        later = threading.Timer(0.2, fake.release)
        later.start()
        texts = ["a"] * 9
        vectors = embedder.embed(texts) if way == "sync" else asyncio.run(embedder.aembed(texts))
        assert vectors.shape == (9, 384)
        later.join()


async def test_a_cancelled_task_takes_its_texts_out_of_the_queue(fake: FakeModel) -> None:
    async with service() as embedder:
        fake.hold()
        first = asyncio.create_task(embedder.aembed(["a"]))
        await asyncio.to_thread(fake.entered)
        cancelled = asyncio.create_task(embedder.aembed(["b"] * 9))
        while embedder._resources.engine.waiting_tokens < 12:
            await asyncio.sleep(0.001)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        fake.release()
        await first
        await embedder.aembed(["c"])
        assert len(fake.rows) == 2
        assert embedder._resources.engine.waiting_tokens == 0


@pytest.mark.parametrize("timeout", [None, LONG])
async def test_a_task_is_cancelled_even_when_its_vectors_have_just_come(fake: FakeModel, timeout: float | None) -> None:
    async with service() as embedder:
        fake.hold()
        task = asyncio.create_task(embedder.aencode(["a"], timeout=timeout))
        await asyncio.to_thread(fake.entered)
        fake.release()
        embedder.embed(["b"])  # blocks the loop until both are done
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
