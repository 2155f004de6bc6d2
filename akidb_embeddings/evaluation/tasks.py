"""Reading evaluation tasks: folders in BEIR's layout, and sentence pairs (see ``pairs``).

A BEIR folder has ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``), and judgements
(query, document, score) in ``qrels.tsv`` or ``qrels/test.tsv``. Everything is checked before a model is loaded.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from akidb_embeddings.errors import InputError
from akidb_embeddings.evaluation.pairs import PairTask, read_pairs

_CORPUS, _QUERIES = "corpus.jsonl", "queries.jsonl"
_TASK_FORMATS = (
    "A task is a folder with corpus.jsonl, queries.jsonl and qrels.tsv, or a .tsv, .csv or .jsonl file of pairs."
)


class _Line(NamedTuple):
    number: int
    offset: int
    content: dict[str, Any]


@dataclass(frozen=True)
class Corpus:
    """The documents of a file. Their texts are read on demand, so that a corpus need not fit into memory.

    Attributes:
        file: The file.
        ids: The documents' ids in descending order, which is how trec_eval breaks ties; the file's order is irrelevant.
        offsets: Where each document's line begins, in bytes.
        titled: How many documents have a title.
    """

    file: Path
    ids: Sequence[str]
    offsets: Sequence[int]
    titled: int

    def texts(self, places: Iterable[int], titles: bool) -> list[str]:
        """Read the texts of documents.

        Args:
            places: Indices into ``ids``.
            titles: Whether to put a document's title and a space before its text.

        Returns:
            One text per document.
        """
        texts = []
        with self.file.open("rb") as stream:
            for place in places:
                stream.seek(self.offsets[place])
                document = json.loads(stream.readline())
                title = document.get("title") if titles else None
                text = f"{title} {document['text']}" if title else document["text"]
                texts.append(text.strip())  # as BEIR and MTEB do
        return texts


@dataclass(frozen=True)
class RetrievalTask:
    """A retrieval task: queries, documents and judgements. Queries without judgements are left out.

    Attributes:
        name: The task's name.
        corpus: The documents.
        queries: Query id -> text, in the order of the ids.
        judgements: Query id -> document id -> score.
        unjudged: How many queries were left out.
        merged: How many queries were merged into an earlier one with the same text.
    """

    name: str
    corpus: Corpus
    queries: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]
    unjudged: int
    merged: int = 0

    @property
    def repeated(self) -> int:
        """How many queries have the text of an earlier one."""
        return len(self.queries) - len(set(self.queries.values()))

    def with_merged_queries(self) -> "RetrievalTask":
        """Merge queries with the same text and their judgements; where these differ, the highest score counts."""
        first: dict[str, str] = {}
        judgements: dict[str, dict[str, int]] = {}
        for query, text in self.queries.items():
            together = judgements.setdefault(first.setdefault(text, query), {})
            for document, score in self.judgements[query].items():
                together[document] = max(score, together.get(document, score))
        queries = {query: text for text, query in first.items()}
        return replace(self, queries=queries, judgements=judgements, merged=self.merged + self.repeated)


def read_task(path: str | Path, split: str | None = None) -> RetrievalTask | PairTask:
    """Read a task.

    Args:
        path: A folder in BEIR's layout, or a file or folder of sentence pairs.
        split: The split to read: ``qrels/SPLIT.tsv``, or as in ``read_pairs``; None for test.

    Returns:
        The task.

    Raises:
        InputError: A file is missing, empty or malformed, an id is not unique, or a judgement has an unknown id. The
            message names file, line and what is allowed.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist. {_TASK_FORMATS}")
    if path.is_dir() and ((path / _CORPUS).exists() or (path / _QUERIES).exists()):
        return _read_retrieval(path, split)
    return read_pairs(path, split, _TASK_FORMATS)


def _read_retrieval(path: Path, split: str | None) -> RetrievalTask:
    for name in (_CORPUS, _QUERIES):
        if not (path / name).is_file():
            raise InputError(f"{path} has no {name}. {_TASK_FORMATS}")
    file = _judgements_file(path, split)
    corpus, queries = _read_corpus(path / _CORPUS), _read_queries(path / _QUERIES)
    judgements = _read_judgements(file, set(corpus.ids), queries)
    judged = {query: queries[query] for query in sorted(judgements)}
    ordered = {query: judgements[query] for query in judged}
    return RetrievalTask(path.resolve().name, corpus, judged, ordered, len(queries) - len(judged))


def _judgements_file(path: Path, split: str | None) -> Path:
    names = ["qrels.tsv", "qrels/test.tsv"] if split is None else [f"qrels/{split}.tsv"]
    found = [path / name for name in names if (path / name).is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{path} has qrels.tsv and qrels/test.tsv: remove one, or give --split test for the latter.")
    splits = ", ".join(sorted(file.stem for file in path.glob("qrels/*.tsv")))
    hint = f" It has the splits {splits}: choose one with --split." if splits else ""
    raise InputError(f"{path} has no judgements: no {' or '.join(names)}.{hint}")


def _read_corpus(file: Path) -> Corpus:
    lines: dict[str, tuple[int, int]] = {}
    titled = 0
    for line in _lines(file):
        key = _id(file, line, lines)
        _text(file, line, "text")
        if "title" in line.content and line.content["title"] is not None:
            titled += bool(_text(file, line, "title"))
        lines[key] = (line.number, line.offset)
    if not lines:
        raise InputError(f"{file} is empty; one document per line is expected.")
    ids = sorted(lines, reverse=True)
    return Corpus(file, ids, [lines[key][1] for key in ids], titled)


def _read_queries(file: Path) -> dict[str, str]:
    lines: dict[str, tuple[int, int]] = {}
    queries: dict[str, str] = {}
    for line in _lines(file):
        key = _id(file, line, lines)
        lines[key] = (line.number, line.offset)
        queries[key] = _text(file, line, "text")
    if not queries:
        raise InputError(f"{file} is empty; one query per line is expected.")
    return queries


def _lines(file: Path) -> Iterator[_Line]:
    """The JSON objects of a file, without blank lines."""
    offset = 0
    with file.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            if raw.strip():
                try:
                    content = json.loads(raw)  # from bytes, so that a byte order mark is accepted
                except (ValueError, RecursionError) as error:  # invalid JSON or UTF-8, or too deeply nested
                    raise InputError(f"{file}, line {number} is not valid JSON: {error}.") from None
                if not isinstance(content, dict):
                    raise InputError(f'{file}, line {number} is not a JSON object like {{"_id": "1", "text": "…"}}.')
                yield _Line(number, offset, content)
            offset += len(raw)


def _id(file: Path, line: _Line, seen: Mapping[str, tuple[int, int]]) -> str:
    key = line.content.get("_id")
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str) or not key:
        raise InputError(f"{file}, line {line.number}: _id is {key!r}; a string that is not empty is expected.")
    if key in seen:
        raise InputError(f"{file}, line {line.number}: the id {key!r} is used in line {seen[key][0]}; ids are unique.")
    return key


def _text(file: Path, line: _Line, name: str) -> str:
    text = line.content.get(name)
    if not isinstance(text, str):
        raise InputError(f"{file}, line {line.number}: {name} is {text!r}; a string is expected.")
    return text


def _read_judgements(file: Path, documents: set[str], queries: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Query id -> document id -> score. The first line is a header if its third column is not a number."""
    judgements: dict[str, dict[str, int]] = {}
    for number, raw in enumerate(file.read_bytes().splitlines(), start=1):
        if not raw.strip():
            continue
        try:
            columns = raw.decode("utf-8-sig" if number == 1 else "utf-8").split("\t")
        except UnicodeDecodeError as error:
            raise InputError(f"{file}, line {number} is not valid UTF-8: {error.reason}.") from None
        score = _score(columns)
        if score is None and number == 1 and len(columns) == 3:
            continue
        if score is None:
            raise InputError(
                f"{file}, line {number} is not query id, document id and an integer score with tabs between them."
            )
        query, document, _ = columns
        for key, known, kind in ((query, queries, "query"), (document, documents, "document")):
            if key not in known:
                where = _QUERIES if kind == "query" else _CORPUS
                raise InputError(
                    f"{file}, line {number}: the {kind} {key!r} is not in {where}. Add it there, or remove the line."
                )
        if judgements.setdefault(query, {}).setdefault(document, score) != score:
            raise InputError(
                f"{file}, line {number}: {query!r} and {document!r} have the score {score} here and "
                f"{judgements[query][document]} in an earlier line; only one score is allowed."
            )
    if not judgements:
        raise InputError(f"{file} has no judgements; query id, document id and score are expected in each line.")
    return judgements


def _score(columns: Sequence[str]) -> int | None:
    try:
        return int(columns[2]) if len(columns) == 3 else None
    except ValueError:
        return None
