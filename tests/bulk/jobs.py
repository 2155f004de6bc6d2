"""Inputs of the bulk command, an ``embed`` with known vectors, and running a job in this process."""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from akidb_embeddings.bulk.journal import Journal, RowCounts
from akidb_embeddings.bulk.outputs import EmbeddedRows, Layout, Output, make_output
from akidb_embeddings.bulk.progress import Progress
from akidb_embeddings.bulk.resume import open_journal
from akidb_embeddings.bulk.rows import Reject, Row, RowOrReject
from akidb_embeddings.bulk.run import RejectPolicy, embed_concurrently, embed_remaining
from akidb_embeddings.bulk.writing import assemble_output
from akidb_embeddings.errors import InputError
from akidb_embeddings.service.result import EmbeddingResult
from akidb_embeddings.vectors.precision import Quantized, quantize

DIMENSION = 12
NO_RULES = RejectPolicy()
JOB = {
    "fingerprint": "space-1",
    "precision": "float32",
    "part_rows": 10,
    "part_characters": 10**6,
    "input": {"name": "texts.jsonl", "size": 7},
}


class StopError(Exception):
    """What ends a run in these tests."""


def metadata(precision: str = "float32", dimension: int = DIMENSION) -> dict[str, Any]:
    return {"fingerprint": "space-1", "model": "known", "precision": precision, "dimension": dimension}


def rows(count: int, begin: int = 0) -> list[Row]:
    return [Row(number, f"id-{number}", f"text number {number}") for number in range(begin, count)]


def mixed(count: int) -> list[RowOrReject]:
    """Every seventh row a reject, every eleventh a text that is too long."""
    return [
        Reject(row.number, row.number + 1, None, "no field 'text'")
        if row.number % 7 == 3
        else Row(row.number, row.id, row.text + (" and so on and on" if row.number % 11 == 5 else ""))
        for row in rows(count)
    ]


def breaking(items: list[RowOrReject]) -> Iterator[RowOrReject]:
    yield from items
    raise InputError("the input is damaged")


def vector(text: str, dimension: int = DIMENSION) -> Quantized:
    """A function of the text alone, finite and of length 1."""
    values = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(dimension)
    return (values / np.linalg.norm(values)).astype(np.float32)


def vectors(texts: Sequence[str], precision: str = "float32", dimension: int = DIMENSION) -> Quantized:
    return quantize(
        np.reshape([vector(text, dimension) for text in texts], (-1, dimension)).astype(np.float32), precision
    )


def embed(texts: list[str]) -> EmbeddingResult:
    """Two tokens more than words; texts of more than six words come back truncated."""
    words = [len(text.split()) for text in texts]
    return EmbeddingResult(vectors(texts), [min(n, 6) + 2 for n in words], [n > 6 for n in words], "space-1")


def embedded(items: Sequence[Row], precision: str = "float32", dimension: int = DIMENSION) -> EmbeddedRows:
    result = embed([row.text for row in items])
    made = vectors([row.text for row in items], precision, dimension)
    return EmbeddedRows(items, made, result.token_counts, result.truncated)


def output(form: str = "jsonl", **settings: Any) -> Output:
    return make_output(form, Layout(metadata(), **settings))


def run_job(
    items: Iterable[RowOrReject],
    out: Path,
    made: Output | None = None,
    *,
    embed: Callable[[list[str]], EmbeddingResult] = embed,
    policy: RejectPolicy = NO_RULES,
    job: dict[str, Any] = JOB,
    then: Callable[[Journal], object] = lambda journal: None,
) -> Journal:
    """A whole job; ``then`` sees its journal at the end."""
    with open_journal(out, job) as journal:
        rest = (item for item in items if item.number >= journal.rows_done)
        made = made or output()
        progress = Progress(None)
        embed_remaining(rest, embed_concurrently(embed), made, journal, progress, policy)
        assemble_output(made, journal, progress)
        then(journal)
    return journal


def finish_part(journal: Journal, content: bytes, end: bool = False) -> None:
    part = journal.begin_part()
    part.write({"lines": content, "rejects.jsonl": b""})
    journal.finish_part(
        part, RowCounts(rows=10, vectors=10, tokens=len(content)), None if end else journal.rows_done + 10
    )


def publish(journal: Journal, content: str, sides: Mapping[str, str] = MappingProxyType({})) -> None:
    """An output; ``sides`` are the files beside it, by the suffixes of their names."""
    with journal.assembly_folder() as folder:
        files = {suffix: folder / (suffix or "out") for suffix in ("", *sides)}
        for suffix, path in files.items():
            path.write_text(sides.get(suffix, content), encoding="utf-8")
        journal.publish(files, {})


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def every_file(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
