"""Opening any input: which format it has, and the source that reads it."""

import os
from pathlib import Path

from akidb_embeddings.bulk.source import Fields, Source
from akidb_embeddings.bulk.streams import COMPRESSED, STDIN, ByteLines
from akidb_embeddings.bulk.table_sources import Csv, Parquet
from akidb_embeddings.bulk.text_sources import Folder, JsonLines, Lines
from akidb_embeddings.errors import InputError

__all__ = ["FORMATS", "Source", "open_source"]

FORMATS = ("jsonl", "csv", "parquet", "lines", "folder")
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet", ".txt": "lines"}


def open_source(
    path: str,
    *,
    format: str | None,  # noqa: A002
    text_field: str,
    id_field: str | None,
) -> Source:
    """The input's rows and rejects, in its order.

    Args:
        path: A file, ``.gz`` or ``.zst`` among them; a folder of .txt and .md files; ``-`` for standard input.
        format: One of FORMATS; None: by the name, and lines for standard input.
        text_field: The field or column with the text; ``meta.title`` leads into nested ones.
        id_field: That of the id, a string or a number; None: ids are the rows' numbers from 0, or the files' paths in
            a folder. Ids may repeat: rows keep their order, and telling would take memory that grows with the input.

    Raises:
        InputError: there is no such input, format or column, or the input is damaged.
        EmbeddingError: reading it needs a library that is not installed.
    """
    chosen = _format(path, format)
    if id_field is not None and chosen in ("lines", "folder"):
        raise InputError(
            f"{path} is read as {chosen}, which has no fields: leave the id field "
            f"{id_field!r} out, or give another format."
        )
    if chosen == "folder":
        return Folder(Path(path))
    fields = Fields(text_field, id_field)
    if chosen == "parquet" and (path == STDIN or path.endswith(COMPRESSED)):
        raise InputError(f"Parquet cannot be read from {path}: it is read from its end. Give the file itself.")
    file = ByteLines(path)
    try:
        facts = {"name": Path(path).name, "format": chosen, "size": file.total_bytes, "mtime_ns": file.mtime_ns}
        if chosen == "lines":
            return Lines(file, facts)
        facts |= {"text_field": text_field, "id_field": id_field}
        if chosen == "jsonl":
            return JsonLines(file, fields, facts)
        if chosen == "csv":
            return Csv(file, fields, facts)
        file.close()
        return Parquet(path, fields, facts, file.total_bytes or 0)
    except BaseException:
        file.close()
        raise


def _format(path: str, asked: str | None) -> str:
    if asked is not None and asked not in FORMATS:
        raise InputError(f"There is no input format {asked!r}; there are {', '.join(FORMATS)}.")
    if path == STDIN:
        if asked == "folder":
            raise InputError("Standard input is no folder; its format is jsonl, csv or lines.")
        return asked or "lines"
    is_folder = os.path.isdir(path)
    if is_folder or asked == "folder":
        if not is_folder:
            raise InputError(f"{path} is no folder{'' if os.path.exists(path) else '; there is nothing of that name'}.")
        if asked not in (None, "folder"):
            raise InputError(f"{path} is a folder, which is read as a folder of text files; give one {asked} file.")
        return "folder"
    if asked is not None:
        return asked
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist.")
    suffix = Path(path.removesuffix(".gz").removesuffix(".zst")).suffix.lower()
    if suffix not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise InputError(
            f"The name of {path} does not tell its format: {known} do, also with .gz or .zst. Give --format."
        )
    return _SUFFIXES[suffix]
