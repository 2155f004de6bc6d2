"""Reading sources in tests: their items, and files to read them from."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from akidb_embeddings.bulk.rows import Reject, Row, RowOrReject
from akidb_embeddings.bulk.sources import open_source


def read(
    path: Path | str, format_: str | None = None, text: str = "text", key: str | None = None, skip: int = 0
) -> list[RowOrReject]:
    with open_source(str(path), format=format_, text_field=text, id_field=key) as source:
        source.skip = skip
        return list(source)


def write(path: Path, content: bytes | str | Iterable[object]) -> Path:
    """Bytes, text, or values as JSON lines; compressed as the name says."""
    if not isinstance(content, bytes | str):
        content = "".join(json.dumps(value) + "\n" for value in content)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(compressed(path.suffix, data))
    return path


def compressed(suffix: str, data: bytes) -> bytes:
    if suffix == ".gz":
        return gzip.compress(data)
    return bytes(pa.compress(data, "zstd", asbytes=True)) if suffix == ".zst" else data


def texts(items: list[RowOrReject]) -> list[str]:
    assert all(isinstance(item, Row) for item in items), items
    return [item.text for item in items if isinstance(item, Row)]


def reasons(items: list[RowOrReject]) -> dict[int | None, str]:
    """Line -> reason."""
    return {item.line: item.reason for item in items if isinstance(item, Reject)}


def table(path: Path, row_group_size: int = 1000, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path
