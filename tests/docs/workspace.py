"""The folder in which a page's blocks run: empty but for what the documentation's commands read."""

import csv
import gzip
import json
from pathlib import Path

from tests.docs.stand_ins import link_checkout

_SENTENCES = (
    "Await suspends a coroutine until its awaitable is done.",
    "A class is a template for objects.",
    "A list can grow, a tuple cannot.",
    "An exception ends a block unless it is caught.",
)
_QUESTIONS = ("How do I await a coroutine?", "What is a class?")


def make_workspace(folder: Path) -> None:
    """Write the files. The checkout is there, too, as links: readers are told to be at its root."""
    link_checkout(folder)
    with open(folder / "articles.jsonl", "w", encoding="utf-8") as file:
        for number, sentence in enumerate(_SENTENCES):
            file.write(json.dumps({"id": f"a{number}", "body": sentence}) + "\n")
    (folder / "lines.txt").write_text("\n".join(_SENTENCES) + "\n", encoding="utf-8")
    (folder / "dump.gz").write_bytes(gzip.compress((folder / "lines.txt").read_bytes()))
    (folder / "notes").mkdir()
    (folder / "notes" / "first.md").write_text(" ".join(_SENTENCES * 10), encoding="utf-8")
    _write_tasks(folder)


def _write_tasks(folder: Path) -> None:
    (folder / "scifact").mkdir()
    corpus = [{"_id": f"d{n}", "title": "", "text": sentence} for n, sentence in enumerate(_SENTENCES)]
    queries = [{"_id": f"q{n}", "text": question} for n, question in enumerate(_QUESTIONS)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "scifact" / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    judgements = "query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\n"
    (folder / "scifact" / "qrels.tsv").write_text(judgements, encoding="utf-8")
    with open(folder / "sts-test.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence1", "sentence2", "score"])
        writer.writerows([["a cat", "a kitten", 4.0], ["a cat", "a contract", 0.5], ["a dog", "a puppy", 4.5]])
