"""Other tasks of an event loop run while texts are embedded.

On busy cores a loop is late whatever runs on it: with two busy processes beside it, the loop of a process that did
nothing else was late by up to 0.3 s, and that of a process that embedded by the same. So these tests measure what this
library decides: how long it runs on the loop, in CPU time, and how long it keeps Python's lock.
"""

import threading
import time
from asyncio import events
from collections.abc import Callable

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.service import job as job_module
from akidb_embeddings.service.adapter import ato_lists
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from tests.fixtures import BUNDLED, model_path

LIMIT = 0.05  # seconds
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "reading", "texts", "about"]
TEXTS = [" ".join(WORDS[(i * 7 + j) % len(WORDS)] for j in range(20 + i % 60)) for i in range(2000)]


@pytest.mark.long
@pytest.mark.parametrize("many_rows", [1024, 100], ids=["on the loop", "on a thread"])
async def test_no_step_on_the_loop_is_long(monkeypatch: pytest.MonkeyPatch, many_rows: int) -> None:
    monkeypatch.setattr(job_module, "_MANY_ROWS", many_rows)
    steps: list[float] = []
    run = events.Handle._run

    def measured(handle: events.Handle) -> object:
        started = time.thread_time()
        try:
            return run(handle)
        finally:
            steps.append(time.thread_time() - started)

    with EmbeddingService(str(model_path("tiny-bert"))) as service:
        expected = service.embed_documents(TEXTS[:600])
        monkeypatch.setattr(events.Handle, "_run", measured)
        vectors = await service.aembed_documents(TEXTS)
        await ato_lists(vectors)
        monkeypatch.setattr(events.Handle, "_run", run)
    assert (vectors[:600] == expected).all() or abs(vectors[:600] - expected).max() < 1e-6
    assert len(steps) > 10
    assert max(steps) < LIMIT


@pytest.mark.long
def test_tokenizing_leaves_the_lock_to_others() -> None:
    tokenizer = Tokenizer(read_checkpoint(BUNDLED), 256)
    texts = TEXTS * 4  # as many as a window for GPUs has
    assert min(longest_wait(lambda: tokenizer.encode(texts)) for _ in range(5)) < LIMIT


def longest_wait(work: Callable[[], object]) -> float:
    """How long this thread had to wait for Python's lock while another one worked."""
    worker = threading.Thread(target=work)
    worker.start()
    longest, last = 0.0, time.perf_counter()
    while worker.is_alive():
        time.sleep(0.0005)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    worker.join()
    return longest
