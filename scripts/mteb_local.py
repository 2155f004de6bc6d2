"""Run MTEB itself on a folder in BEIR's layout, and compare its nDCG@10 with that of ``akidb-embed evaluate``.

Run: ``python scripts/mteb_local.py DIR --model minilm-l6-v2``, in an environment that also has the extra ``evaluate``
and ``mteb>=2``, which brings PyTorch. Nothing is downloaded but the model, if it is not there. Exits with 1 where the
two differ by more than 0.00005, that is, in what a table shows.
"""

import argparse
import datetime
from typing import Any

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from akidb_embeddings.evaluation.metrics import evaluate_retrieval
from akidb_embeddings.evaluation.mteb_encoder import MTEBEncoder
from akidb_embeddings.evaluation.tasks import RetrievalTask, read_task

_TOLERANCE = 5e-5


def local_task(task: RetrievalTask, titles: bool) -> Any:
    """An ``AbsTaskRetrieval`` of a folder's queries, documents and judgements."""
    documents = task.corpus.texts(range(len(task.corpus.ids)), titles)

    class LocalTask(AbsTaskRetrieval):  # type: ignore[misc]  # mteb is not installed where types are checked
        metadata = TaskMetadata(
            name="LocalRetrieval",
            dataset={"path": "local/folder", "revision": "1"},
            description=f"The folder {task.name}.",
            reference=None,
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            date=("2000-01-01", datetime.datetime.now(datetime.UTC).date().isoformat()),
            domains=[],
            task_subtypes=[],
            license="not specified",
            annotations_creators="derived",
            dialect=[],
            sample_creation="found",
            bibtex_citation="",
        )

        def load_data(self, *_: object, **__: object) -> None:
            corpus = [{"id": key, "text": text} for key, text in zip(task.corpus.ids, documents, strict=True)]
            queries = [{"id": key, "text": text} for key, text in task.queries.items()]
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": Dataset.from_list(corpus),
                        "queries": Dataset.from_list(queries),
                        "relevant_docs": {key: dict(of) for key, of in task.judgements.items()},
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return LocalTask()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", metavar="DIR", help="corpus.jsonl, queries.jsonl and qrels.tsv")
    parser.add_argument("--model", default="minilm-l6-v2", help="a registry name, a repository or a folder")
    parser.add_argument("--titles", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    task = read_task(options.task)
    if not isinstance(task, RetrievalTask):
        parser.error(f"{options.task} is no folder in BEIR's layout")
    encoder = MTEBEncoder(options.model)
    assert isinstance(encoder, mteb.EncoderProtocol)
    with encoder.service as service:
        result = mteb.evaluate(encoder, local_task(task, options.titles), cache=None, show_progress_bar=False)
        ours = evaluate_retrieval(service, task, titles=options.titles).scores
    theirs = result.task_results[0].scores["test"][0]
    meta = encoder.mteb_model_meta
    print(f"{task.name}: {len(task.queries)} queries, {len(task.corpus.ids)} documents; {meta.name} {meta.revision}")
    print(f"{'':<11} {'MTEB':>8} {'evaluate':>9}")
    for name in ours:
        print(f"{name:<11} {theirs[name.replace('@', '_at_')]:8.5f} {ours[name]:9.5f}")
    return int(abs(theirs["ndcg_at_10"] - ours["ndcg@10"]) > _TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())
