"""Tiny tasks on disk for the tests of evaluation."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Judgement = tuple[str, str, int]

DOCUMENTS = {
    "cat": ("Cats", "A cat is a small animal that catches mice."),
    "code": ("Python", "A programming language with significant whitespace."),
    "moon": ("", "The Moon orbits the Earth once a month."),
    "bread": ("Baking", "Bread is made of flour, water, salt and yeast."),
}
QUERIES = {
    "q1": "Which animal eats mice?",
    "q2": "What do I need to bake a loaf?",
    "q3": "How long does the Moon take around the Earth?",
    "q4": "nobody judged this one",
}
JUDGEMENTS: list[Judgement] = [("q1", "cat", 2), ("q2", "bread", 1), ("q2", "cat", 0), ("q3", "moon", 1)]


def write_lines(file: Path, lines: Iterable[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def write_json_lines(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    return write_lines(file, (json.dumps(row, ensure_ascii=False) for row in rows))


def write_beir(
    folder: Path,
    documents: Mapping[str, tuple[str, str]] = DOCUMENTS,
    queries: Mapping[str, str] = QUERIES,
    judgements: Sequence[Judgement] = JUDGEMENTS,
    qrels: str = "qrels.tsv",
) -> Path:
    """A folder in BEIR's layout, in the order of its arguments."""
    write_json_lines(
        folder / "corpus.jsonl",
        ({"_id": key, "title": title, "text": text} for key, (title, text) in documents.items()),
    )
    write_json_lines(folder / "queries.jsonl", ({"_id": key, "text": text} for key, text in queries.items()))
    rows = ("\t".join(map(str, row)) for row in judgements)
    write_lines(folder / qrels, ["query-id\tcorpus-id\tscore", *rows])
    return folder
