"""``Embedder`` in Ray Data: the core's vectors, in order, with their ids, whatever happens to an actor."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from akidb_embeddings import ConfigurationError, EmbeddingService
from akidb_embeddings.compute.cores import available_cores
from akidb_embeddings.distributed import Embedder
from tests.fixtures import BUNDLED, cosines
from tests.ray.conftest import make_texts

TEXTS = make_texts(600)
MODEL: dict[str, Any] = {"model_name": str(BUNDLED)}

pytestmark = pytest.mark.usefixtures("two_nodes")


class Watched(Embedder):
    """As its base, slowly, and says in each row which process it was, on which node, and with how many threads."""

    def __call__(self, batch: Any) -> Any:
        time.sleep(0.1)
        result: Any = super().__call__(batch)
        facts = {
            "process": os.getpid(),
            "node": ray.get_runtime_context().get_node_id(),
            "service": id(self._service),
            "cores": available_cores(),
        }
        for name, value in facts.items():
            result = result.append_column(name, pa.array([value] * result.num_rows))
        return result


@pytest.fixture(autouse=True)
def _in_order_and_alone(two_nodes: Any) -> Iterator[None]:
    """Ray Data leaves actors of a dataset that failed, or that lost one, behind. They end with the connection."""
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()
    ray.init(address=two_nodes.address)


def dataset(texts: list[str]) -> "ray.data.Dataset":
    table = pa.table({"id": [f"row-{n}" for n in range(len(texts))], "body": texts, "other": range(len(texts))})
    return ray.data.from_arrow([table.slice(begin, 50) for begin in range(0, len(texts), 50)])


def embed(kind: type[Embedder] = Embedder, batch_format: str = "pyarrow", **options: Any) -> "ray.data.Dataset":
    return dataset(TEXTS).map_batches(
        kind,
        fn_constructor_kwargs={**MODEL, "text_column": "body", **options},
        batch_format=batch_format,
        batch_size=50,
        num_cpus=1,
        concurrency=2,
    )


def table_of(rows: "ray.data.Dataset") -> pa.Table:
    return pa.concat_tables(ray.get(rows.to_arrow_refs()))


def vectors_of(table: pa.Table) -> np.ndarray[Any, Any]:
    column = table["vector"].combine_chunks()
    return np.asarray(column.flatten()).reshape(len(column), -1)


def test_an_actor_on_each_node_gives_the_cores_vectors_in_order(minilm: EmbeddingService) -> None:
    table = table_of(embed(Watched))
    assert table["id"].to_pylist() == [f"row-{n}" for n in range(len(TEXTS))]
    assert table["body"].to_pylist() == TEXTS
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 384)
    expected = minilm.encode(TEXTS)
    assert cosines(vectors_of(table), expected.vectors).min() >= 0.99999
    assert table["token_count"].to_pylist() == expected.token_counts
    assert table["truncated"].to_pylist() == expected.truncated
    assert len(set(table["process"].to_pylist())) == len(set(table["node"].to_pylist())) == 2
    assert len(set(zip(table["process"].to_pylist(), table["service"].to_pylist(), strict=True))) == 2  # loaded once
    assert set(table["cores"].to_pylist()) == {1}  # though OMP_NUM_THREADS is 64


def test_numpy_batches_give_an_array_of_vectors(minilm: EmbeddingService) -> None:
    batch = next(iter(embed(batch_format="numpy").iter_batches(batch_size=None, batch_format="numpy")))
    assert batch["vector"].dtype == np.float32
    assert batch["vector"].shape == (50, 384)
    assert cosines(batch["vector"], minilm.embed(TEXTS[:50])).min() >= 0.99999
    assert batch["id"].tolist() == [f"row-{n}" for n in range(50)]


def test_from_files_to_files_with_options_prompts_and_precisions_of_the_service(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"dimensions": 64, "untrained_dimensions": True, "max_tokens": 8}
    form = {"prompt": "passage: ", "precision": "int8"}
    (tmp_path / "in").mkdir()
    for begin in range(0, len(TEXTS), 200):
        rows = {"number": range(begin, begin + 200), "body": TEXTS[begin : begin + 200]}
        pq.write_table(pa.table(rows), tmp_path / "in" / f"{begin:03d}.parquet")
    (
        ray.data.read_parquet(str(tmp_path / "in"))
        .select_columns(["number", "body"])
        .map_batches(
            Embedder,
            fn_constructor_kwargs={**MODEL, **settings, **form, "text_column": "body", "vector_column": "v"},
            batch_format="pyarrow",
            batch_size=100,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=1),  # the other CPU is for reading and writing
        )
        .write_parquet(str(tmp_path / "out"))
    )
    table = pq.read_table(tmp_path / "out").sort_by("number")  # which Arrow's threads may have changed
    assert table["body"].to_pylist() == TEXTS
    assert table.schema.field("v").type == pa.list_(pa.int8(), 64)
    with EmbeddingService(**MODEL, **settings) as service:
        expected = service.encode(TEXTS, prompt="passage: ", precision="int8")
    assert table["truncated"].to_pylist() == expected.truncated
    assert any(expected.truncated)
    vectors = table["v"].combine_chunks().flatten().to_numpy().reshape(-1, 64)
    assert cosines(vectors, expected.vectors).min() >= 0.999  # int8: what lies on an edge may be rounded either way


def test_a_missing_column_is_told() -> None:
    with pytest.raises(Exception, match="text_column is 'title'; the batch has 'id', 'body', 'other'"):
        embed(text_column="title").materialize()


def test_a_wrong_fingerprint_is_told(minilm: EmbeddingService) -> None:
    with pytest.raises(Exception, match=f"fingerprint {minilm.fingerprint()}, and another is expected"):
        embed(fingerprint="another").materialize()


@pytest.mark.parametrize("name", ["token_count", "truncated"])
def test_the_column_of_the_vectors_cannot_be_another_new_one(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"vector_column is '{name}'") as error:
        Embedder(vector_column=name, **MODEL)
    assert error.value.field == "vector_column"


def test_an_actor_killed_in_mid_run_loses_nothing(minilm: EmbeddingService) -> None:
    batches, killed = [], None
    for batch in embed(Watched).iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        if killed is None:
            killed = batch["process"][0].as_py()
            os.kill(killed, signal.SIGKILL)
        batches.append(batch)
    table = pa.concat_tables(batches)
    assert table["id"].to_pylist() == [f"row-{n}" for n in range(len(TEXTS))]
    assert cosines(vectors_of(table), minilm.embed(TEXTS)).min() >= 0.99999
    # Its successor takes part only if the other actor has left it anything by then.
    processes = table["process"].to_pylist()
    assert processes[0] == killed != processes[-1]
