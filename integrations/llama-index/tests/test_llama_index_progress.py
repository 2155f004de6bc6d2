"""Progress bars count every text of their own call, are closed, and come only if asked for."""

import asyncio
import io
from typing import Any

import pytest
import tqdm.auto
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index_helpers import MODEL, TEXTS
from llama_index_helpers import fake_model as fake_model
from llama_index_helpers import no_settings as no_settings

from akidb_embeddings import InputError
from tests.conftest import LONG, FakeModel, background


class Bars:
    """The bars that were made: what each was to count, did count, and whether it was closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[Any] = []

        class Bar(tqdm.auto.tqdm):  # type: ignore[type-arg]
            def __init__(self, *arguments: Any, **options: Any) -> None:
                self.updates: list[float] = []
                made.append(self)
                super().__init__(*arguments, **options | {"file": io.StringIO()})

            def update(self, n: float | None = 1) -> bool | None:
                self.updates.append(n or 0)
                return super().update(n)

        self.made = made
        monkeypatch.setattr(tqdm.auto, "tqdm", Bar)

    def check(self, count: int) -> None:
        """There was one, and it counted so many texts and is closed."""
        [bar] = self.made
        assert (bar.total, bar.n, sum(bar.updates)) == (count, count, count)
        assert min(bar.updates) >= 0
        assert bar.disable  # closed
        self.made.clear()


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> Bars:
    return Bars(monkeypatch)


@pytest.mark.parametrize("size", [2048, 7, 1])
async def test_a_bar_counts_every_text(
    fake: FakeModel, bars: Bars, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"text {number}" for number in range(50)]
    for workers in (1, 2, None):
        embedding = MLXEmbedding(MODEL, embed_batch_size=size, num_workers=workers)
        await embedding.aget_text_embedding_batch(texts, show_progress=True)
        bars.check(50)
        await embedding.acall([TextNode(text=text) for text in texts], show_progress=True)
        bars.check(50)
    embedding.get_text_embedding_batch(texts, show_progress=True)
    bars.check(50)
    embedding([TextNode(text=text) for text in texts], show_progress=True)
    bars.check(50)
    output = capsys.readouterr()
    assert output.out + output.err == ""  # no second bar of LlamaIndex's own


async def test_a_bar_counts_what_a_cache_had(fake: FakeModel, bars: Bars) -> None:
    texts = [f"text {number}" for number in range(50)]
    for size in (2048, 7):
        embedding = MLXEmbedding(MODEL, embeddings_cache=SimpleKVStore(), embed_batch_size=size)
        embedding.get_text_embedding_batch(texts[10:30])
        embedding.get_text_embedding_batch(texts[:40], show_progress=True)
        bars.check(40)
        await embedding.aget_text_embedding_batch(texts, show_progress=True)
        bars.check(50)
        await embedding.aget_text_embedding_batch(texts, show_progress=True)
        bars.check(50)


async def test_no_bar_unless_asked_for(fake: FakeModel, bars: Bars, capsys: pytest.CaptureFixture[str]) -> None:
    embedding = MLXEmbedding(MODEL, embed_batch_size=4)
    embedding.get_text_embedding_batch(TEXTS)
    embedding.get_text_embedding_batch(TEXTS, show_progress=False)
    await embedding.aget_text_embedding_batch(TEXTS)
    await embedding.aget_text_embedding("a")
    embedding.get_query_embedding("a")
    embedding([TextNode(text="a")])
    assert bars.made == []
    output = capsys.readouterr()
    assert output.out + output.err == ""


async def test_bars_of_calls_at_once_keep_apart(fake: FakeModel, bars: Bars) -> None:
    embedding = MLXEmbedding(MODEL, embed_batch_size=4)
    counts = [10, 20, 30]
    silent = background(lambda: embedding.get_text_embedding_batch(["a"] * 40))
    await asyncio.gather(
        *[embedding.aget_text_embedding_batch(["a"] * count, show_progress=True) for count in counts],
        embedding.aget_text_embedding_batch(["a"] * 50),
    )
    silent.result(LONG)
    assert sorted((bar.total, bar.n) for bar in bars.made) == [(count, count) for count in counts]


async def test_a_bar_of_a_failed_call_is_closed_and_does_not_pretend(fake: FakeModel, bars: Bars) -> None:
    embedding = MLXEmbedding(MODEL)
    wrong: list[Any] = ["a", None]
    with pytest.raises(InputError):
        embedding.get_text_embedding_batch(wrong, show_progress=True)
    with pytest.raises(InputError):
        await embedding.aget_text_embedding_batch(wrong, show_progress=True)
    assert [(bar.n, bar.disable) for bar in bars.made] == [(0, True)] * len(bars.made)
    bars.made.clear()
    embedding.get_text_embedding_batch(TEXTS)
    assert bars.made == []
