"""Reading tasks to evaluate a model on: folders in BEIR's layout, and sentence pairs (see ``pairs``).

A BEIR folder has ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``), and judgements
(query, document, score) in ``qrels.tsv`` or ``qrels/test.tsv``. Everything is checked before a model is loaded.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from akidb_embeddings.errors import InputError
from akidb_embeddings.evaluation.pairs import PairTask, read_pairs

_CORPUS, _QUERIES = "corpus.jsonl", "queries.jsonl"
_WAY_OUT = "A task is a folder with corpus.jsonl, queries.jsonl and qrels.tsv, or a .tsv, .csv or .jsonl file of pairs."


class _Line(NamedTuple):
    number: int
    offset: int
    content: dict[str, Any]


@dataclass(frozen=True)
class Corpus:
    """Documents in a file: their ids, greatest first, and where the line of each begins.

    Texts are read when they are expected, so that a corpus need not fit into memory. The order of the ids is that of
    trec_eval's ties, and does not depend on the order of the file. ``titled``: how many have a title.
    """

    file: Path
    ids: Sequence[str]
    offsets: Sequence[int]
    titled: int

    def texts(self, begin: int, end: int, titles: bool) -> list[str]:
        """The texts of ``ids[begin:end]``; with ``titles``, title and text with a space between them."""
        texts = []
        with self.file.open("rb") as stream:
            for offset in self.offsets[begin:end]:
                stream.seek(offset)
                document = json.loads(stream.readline())
                title = document.get("title") if titles else None
                texts.append(f"{title} {document['text']}".strip() if title else document["text"])
        return texts


@dataclass(frozen=True)
class RetrievalTask:
    """Queries in the order of their ids, the corpus, and the judgements: query id -> document id -> score.

    Every query has judgements: ``unjudged`` is the number of those without, which are left out. ``merged`` is that of
    queries that an earlier one of the same text stands for.
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
        """Queries of the same text as one, with the judgements of all: the highest score where they differ."""
        first: dict[str, str] = {}
        judgements: dict[str, dict[str, int]] = {}
        for query, text in self.queries.items():
            together = judgements.setdefault(first.setdefault(text, query), {})
            for document, score in self.judgements[query].items():
                together[document] = max(score, together.get(document, score))
        queries = {query: text for text, query in first.items()}
        return replace(self, queries=queries, judgements=judgements, merged=self.merged + self.repeated)


def read_task(path: str | Path, split: str | None = None) -> RetrievalTask | PairTask:
    """The task in a folder or file; ``split`` as in ``qrels/SPLIT.tsv``, or as pairs name it (default: test).

    InputError names file, line and what is allowed: a file is missing or empty, a line cannot be read, an id is there
    twice, a judgement is for an unknown id.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"There is no {path}. {_WAY_OUT}")
    if path.is_dir() and ((path / _CORPUS).exists() or (path / _QUERIES).exists()):
        return _read_retrieval(path, split)
    return read_pairs(path, split, _WAY_OUT)


def _read_retrieval(path: Path, split: str | None) -> RetrievalTask:
    for name in (_CORPUS, _QUERIES):
        if not (path / name).is_file():
            raise InputError(f"{path} has no {name}. {_WAY_OUT}")
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
        raise InputError(f"{path} has qrels.tsv and qrels/test.tsv: remove one, or say --split test for the latter.")
    splits = ", ".join(sorted(file.stem for file in path.glob("qrels/*.tsv")))
    there = f" It has the splits {splits}: choose one with --split." if splits else ""
    raise InputError(f"{path} has no judgements: no {' or '.join(names)}.{there}")


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
        raise InputError(f"{file} is empty; it needs one document a line.")
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
        raise InputError(f"{file} is empty; it needs one query a line.")
    return queries


def _lines(file: Path) -> Iterator[_Line]:
    """The JSON objects of a file, blank lines left out."""
    offset = 0
    with file.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            if raw.strip():
                try:
                    content = json.loads(raw)  # from bytes, so that a byte order mark is no matter
                except (ValueError, RecursionError) as error:  # JSON's and UTF-8's errors, and thousands of brackets
                    raise InputError(f"{file}, line {number} is not valid JSON: {error}.") from None
                if not isinstance(content, dict):
                    raise InputError(f'{file}, line {number} is no JSON object like {{"_id": "1", "text": "…"}}.')
                yield _Line(number, offset, content)
            offset += len(raw)


def _id(file: Path, line: _Line, seen: Mapping[str, tuple[int, int]]) -> str:
    key = line.content.get("_id")
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str) or not key:
        raise InputError(f"{file}, line {line.number}: _id is {key!r}; a string that is not empty is expected.")
    if key in seen:
        raise InputError(f"{file}, line {line.number}: the id {key!r} is that of line {seen[key][0]}; ids are unique.")
    return key


def _text(file: Path, line: _Line, name: str) -> str:
    text = line.content.get(name)
    if not isinstance(text, str):
        raise InputError(f"{file}, line {line.number}: {name} is {text!r}; a string is expected.")
    return text


def _read_judgements(file: Path, documents: set[str], queries: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Query id -> document id -> score. The first line is a heading if its third column is no number."""
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
                raise InputError(f"{file}, line {number}: there is no {kind} {key!r} in {where}. Complete it, or judge "
                                 f"only what is there.")  # fmt: skip
        if judgements.setdefault(query, {}).setdefault(document, score) != score:
            raise InputError(
                f"{file}, line {number}: {query!r} and {document!r} have the score {score} here and "
                f"{judgements[query][document]} before; one is allowed."
            )
    if not judgements:
        raise InputError(f"{file} has no judgements; it needs query id, document id and score, one a line.")
    return judgements


def _score(columns: Sequence[str]) -> int | None:
    try:
        return int(columns[2]) if len(columns) == 3 else None
    except ValueError:
        return None
