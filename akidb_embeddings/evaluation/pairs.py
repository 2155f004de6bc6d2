"""Reading sentence pairs with similarity scores, in the formats in which such files are published."""

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from akidb_embeddings.errors import InputError

_SENTENCES = ("sentence1", "sentence2")
# Of the original, mteb's and sentence-transformers'; of stsb_multi_mt; of GLUE on the hub.
_SCORES = ("score", "similarity_score", "label")
# Columns of files without a header: three columns, or STSbenchmark's genre, filename, year, number, score, sentence1,
# sentence2, and in some lines licence and source.
_PLAIN = (0, 1, 2)
_STSBENCHMARK = (5, 6, 4)
_SUFFIXES = (".tsv", ".csv", ".jsonl")
_ALLOWED = (
    "Allowed are a header with sentence1, sentence2 and score (or similarity_score, label), three columns in this "
    "order without a header, and STSbenchmark's own seven."
)


@dataclass(frozen=True)
class PairTask:
    """Sentence pairs with human similarity scores.

    Attributes:
        name: The task's name.
        first: The first sentence of each pair.
        second: The second sentence of each pair.
        scores: The score of each pair.
        split: The split that was read; None if the file has none.
    """

    name: str
    first: Sequence[str]
    second: Sequence[str]
    scores: Sequence[float]
    split: str | None


class _Row(NamedTuple):
    line: int
    first: object
    second: object
    score: object
    split: object


def read_pairs(path: Path, split: str | None, expected_formats: str) -> PairTask:
    """Read sentence pairs.

    Args:
        path: A file, or a folder with one matching file.
        split: The split to read, if rows have a column ``split`` or file names end in it; None for test.
        expected_formats: What a task looks like, for error messages.

    Returns:
        The pairs.

    Raises:
        InputError: The file is missing or malformed; the message names file, line and what is allowed.
    """
    file = _find_file(path, split, expected_formats) if path.is_dir() else path
    kind = file.name.removesuffix(".gz")
    if not kind.endswith(_SUFFIXES):
        raise InputError(f"{file} is not a task. {expected_formats}")
    text = _read_text(file)
    rows = list(_json_rows(file, text) if kind.endswith(".jsonl") else _table_rows(file, text))
    if not rows:
        raise InputError(f"{file} is empty; one pair per line is expected.")
    has_splits = any(row.split is not None for row in rows)
    if has_splits:
        rows = _rows_in_split(file, rows, split or "test")
    elif split is not None and _split_of_name(file) != split:
        raise InputError(f"{file} has no column split, and its name does not end in {split}: leave out --split.")
    pairs = [_checked_pair(file, row) for row in rows]
    first, second, scores = (list(column) for column in zip(*pairs, strict=True))
    name = path.resolve().name if path.is_dir() else kind.rpartition(".")[0]
    return PairTask(name, first, second, scores, split or "test" if has_splits else split)


def _find_file(folder: Path, split: str | None, expected_formats: str) -> Path:
    """The folder's only file of pairs, or the only one whose name ends in the split: sts-test.csv, test.jsonl."""
    files = sorted(file for file in folder.iterdir() if file.name.removesuffix(".gz").endswith(_SUFFIXES))
    if not files:
        raise InputError(f"{folder} has no task in it. {expected_formats}")
    if len(files) > 1:
        files = [file for file in files if _split_of_name(file) == (split or "test")] or files
    if len(files) != 1:
        names = ", ".join(file.name for file in files)
        raise InputError(f"{folder} has {names}; name one of them, or choose a split with --split.")
    return files[0]


def _split_of_name(file: Path) -> str:
    """``dev`` of sts-dev.csv."""
    return re.split(r"[-_]", file.name.partition(".")[0])[-1]


def _read_text(file: Path) -> str:
    try:
        content = file.read_bytes()
        return (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file} cannot be read: {error}.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}, line {line} is not valid UTF-8: {error.reason}.") from None


def _json_rows(file: Path, text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file}, line {number} is not valid JSON: {error}.") from None
        if not isinstance(content, dict):
            raise InputError(f"{file}, line {number} is not a JSON object with sentence1, sentence2 and score.")
        score = next((content[name] for name in _SCORES if name in content), None)
        yield _Row(number, content.get("sentence1"), content.get("sentence2"), score, content.get("split"))


def _table_rows(file: Path, text: str) -> Iterator[_Row]:
    """Tab-separated rows without quoting, as in STSbenchmark (even as .csv); else comma-separated rows with quotes."""
    if "\t" in text.partition("\n")[0]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    places: list[int] | None = None
    try:
        for columns in reader:
            if not columns:
                continue
            if places is None:
                places, is_header = _column_positions(file, columns)
                if is_header:
                    continue
            if len(columns) <= max(places):
                raise InputError(f"{file}, line {reader.line_num} has {len(columns)} columns. {_ALLOWED}")
            first, second, score = (columns[place] for place in places[:3])
            yield _Row(reader.line_num, first, second, score, columns[places[3]] if len(places) > 3 else None)
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.line_num} cannot be read: {error}.") from None


def _column_positions(file: Path, columns: Sequence[str]) -> tuple[list[int], bool]:
    """Indices of the columns of sentences, score and split, and whether this line is a header."""
    names = [column.strip().lower() for column in columns]
    score = next((name for name in _SCORES if name in names), None)
    if score is not None and set(_SENTENCES) <= set(names):
        columns_used = [*_SENTENCES, score, *(["split"] if "split" in names else [])]
        return [names.index(name) for name in columns_used], True
    for places, fits in ((_PLAIN, len(columns) == 3), (_STSBENCHMARK, len(columns) >= 7)):
        if fits and _number(columns[places[2]]) is not None:
            return list(places), False
    raise InputError(f"{file}, line 1 has {len(columns)} columns: {', '.join(columns)[:200]}. {_ALLOWED}")


def _rows_in_split(file: Path, rows: Sequence[_Row], split: str) -> list[_Row]:
    """The rows of a split, where each row must say its own: one that does not would be left out of all."""
    for row in rows:
        if not isinstance(row.split, str) or not row.split:
            raise InputError(
                f"{file}, line {row.line} has no split, a string, which other lines have: give each line one, or none."
            )
    chosen = [row for row in rows if row.split == split]
    if not chosen:
        splits = ", ".join(sorted({str(row.split) for row in rows}))
        raise InputError(f"{file} has no rows of the split {split}; it has {splits}: choose one with --split.")
    return chosen


def _checked_pair(file: Path, row: _Row) -> tuple[str, str, float]:
    for name, sentence in zip(_SENTENCES, (row.first, row.second), strict=True):
        if not isinstance(sentence, str):
            raise InputError(f"{file}, line {row.line}: {name} is {sentence!r}; a string is expected.")
    score = _number(row.score)
    if score is None:
        raise InputError(f"{file}, line {row.line}: the score is {row.score!r}; a number is expected.")
    return str(row.first), str(row.second), score


def _number(value: object) -> float | None:
    """The value, a number or text, as a finite number; None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
