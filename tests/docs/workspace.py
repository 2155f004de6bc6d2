"""The folder in which a page's blocks run: empty but for what the documentation's commands read."""

import csv
import gzip
import json
import shutil
from pathlib import Path

from akidb_embeddings.hub.cache import Manifest, model_folder
from akidb_embeddings.registry import RERANKERS
from tests.docs.stand_ins import link_checkout
from tests.fixtures import model_path

_SENTENCES = (
    "Await suspends a coroutine until its awaitable is done.",
    "A class is a template for objects.",
    "A list can grow, a tuple cannot.",
    "An exception ends a block unless it is caught.",
)
_QUESTIONS = ("How do I await a coroutine?", "What is a class?")


# Tiny models of the same architectures stand in for rerankers that would have to be downloaded.
_RERANKERS = {
    "ms-marco-minilm-l6-v2": "tiny-bert-reranker",
    "bge-reranker-v2-m3": "tiny-xlm-roberta-reranker",
    "qwen3-reranker-0.6b": "tiny-qwen3-reranker",
    "qwen3-reranker-0.6b-4bit": "tiny-qwen3-reranker",
}


def make_workspace(folder: Path) -> None:
    """Write the files. The checkout is there, too, as links: readers are told to be at its root."""
    link_checkout(folder)
    with open(folder / "articles.jsonl", "w", encoding="utf-8") as file:
        for number, sentence in enumerate(_SENTENCES):
            file.write(json.dumps({"id": f"a{number}", "body": sentence}) + "\n")
    (folder / "documents.txt").write_text("\n".join(_SENTENCES) + "\n", encoding="utf-8")
    (folder / "lines.txt").write_text("\n".join(_SENTENCES) + "\n", encoding="utf-8")
    (folder / "dump.gz").write_bytes(gzip.compress((folder / "lines.txt").read_bytes()))
    (folder / "notes").mkdir()
    (folder / "notes" / "first.md").write_text(" ".join(_SENTENCES * 10), encoding="utf-8")
    _write_tasks(folder)


def write_cache(cache: Path) -> None:
    """Put rerankers into a cache of models, as if they had been downloaded."""
    for name, tiny in _RERANKERS.items():
        spec, folder = RERANKERS[name], model_folder(name, None, cache)
        if not folder.exists():
            shutil.copytree(model_path(tiny), folder)
            sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
            Manifest(name, spec.repo, spec.revision, spec.revision or "0" * 40, sizes, "").write(folder)


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
