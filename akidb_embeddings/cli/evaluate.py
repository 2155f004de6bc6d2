"""``akidb-embed evaluate``: the quality of a model's vectors on tasks in folders and files."""

import json
import sys
from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.options import add_model_options, configuration, open_service
from akidb_embeddings.cli.output import print_message, table
from akidb_embeddings.errors import InputError
from akidb_embeddings.extras import require

if TYPE_CHECKING:
    from akidb_embeddings.evaluation.metrics import Evaluation, ProgressCallback
    from akidb_embeddings.evaluation.pairs import PairTask
    from akidb_embeddings.evaluation.tasks import RetrievalTask
    from akidb_embeddings.service.service import EmbeddingService

_HEADINGS = {"ndcg@10": "NDCG@10", "mrr@10": "MRR@10"}


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--task",
        dest="tasks",
        metavar="DIR",
        action="append",
        required=True,
        help="a folder in BEIR's layout, or a file or folder of sentence pairs; may be repeated",
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="the part of a task: qrels/NAME.tsv, NAME.jsonl, or a value of the column split (default: test)",
    )
    parser.add_argument(
        "--titles",
        action=BooleanOptionalAction,
        default=True,
        help="embed a document's title and a space before its text, as BEIR and MTEB do (default: yes)",
    )
    parser.add_argument(
        "--merge-repeats",
        action="store_true",
        help="merge queries with equal texts, and their judgements (default: keep them separate)",
    )
    parser.add_argument(
        "--prompt",
        metavar="NAME",
        help="the model's prompt for both sentences of a pair (default: its STS prompt if it has one, else its default "
        "prompt)",
    )
    parser.add_argument(
        "--instruction",
        dest="task",
        metavar="TEXT",
        default=SUPPRESS,
        help="the instruction for queries, and for both sentences of a pair, for models whose query prompt contains "
        "one (default: the one they were trained with)",
    )
    parser.add_argument("--json", action="store_true", help="print figures and settings as JSON")
    add_model_options(parser)


def _run(options: Namespace) -> int:
    from akidb_embeddings.evaluation.metrics import count_texts
    from akidb_embeddings.evaluation.tasks import RetrievalTask, read_task

    require("evaluate", "Evaluation")
    tasks = [read_task(task, options.split) for task in options.tasks]
    if options.prompt and all(isinstance(task, RetrievalTask) for task in tasks):
        raise InputError(
            f"--prompt {options.prompt} is for sentence pairs. Queries and documents have their own prompts: set "
            "query_prompt_name and document_prompt_name in the configuration, or give --instruction."
        )
    if options.merge_repeats:
        tasks = [task.with_merged_queries() if isinstance(task, RetrievalTask) else task for task in tasks]
    results = []
    with open_service(configuration(options), options) as service:
        from tqdm import tqdm

        for task in tasks:
            with tqdm(total=count_texts(task), desc=task.name, unit="text", disable=not sys.stderr.isatty()) as bar:
                results.append(_evaluate(service, task, options, bar.update))
    if options.json:
        settings = {
            "model": results[0].settings["model"],
            "split": options.split,
            "merge_repeats": options.merge_repeats,
        }
        print(json.dumps(settings | {"tasks": [asdict(result) for result in results]}, ensure_ascii=False, indent=2))
    else:
        print(_report(results))
    for result in results:
        _warn(result)
    return 0


def _evaluate(
    service: "EmbeddingService", task: "RetrievalTask | PairTask", options: Namespace, progress: "ProgressCallback"
) -> "Evaluation":
    from akidb_embeddings.evaluation.metrics import evaluate_pairs, evaluate_retrieval
    from akidb_embeddings.evaluation.pairs import PairTask

    if isinstance(task, PairTask):
        return evaluate_pairs(service, task, prompt_name=options.prompt, progress=progress)
    return evaluate_retrieval(service, task, titles=options.titles, progress=progress)


def _report(results: Sequence["Evaluation"]) -> str:
    """A table of figures for each kind of task, then the settings of each task."""
    blocks = []
    for kind in ("retrieval", "sts"):
        of_kind = [result for result in results if result.kind == kind]
        if of_kind:
            heading = ["TASK", *(_HEADINGS.get(name, name.upper()) for name in of_kind[0].scores)]
            rows = [[result.task, *(f"{value:.4f}" for value in result.scores.values())] for result in of_kind]
            blocks.append(table([heading, *rows]))
    for result in results:
        settings = table([(f"  {name}", value) for name, value in _settings(result.settings)])
        blocks.append(f"{result.task}\n{settings}")
    return "\n\n".join(blocks)


def _settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            for kind, text in value.items():
                shown = json.dumps(text, ensure_ascii=False) if name == "prompts" else str(text)
                yield f"{label.removesuffix('s')}, {kind}", shown
        elif value is not None:
            yield label, {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _warn(result: "Evaluation") -> None:
    cut = sum(result.settings.get(f"{kind}_truncated", 0) for kind in ("documents", "queries", "texts"))
    if cut:
        print_message(f"warning: {cut} texts of {result.task} were cut at {result.settings['max_tokens']} tokens")


EVALUATE = Command(
    "measure quality: nDCG, recall and MRR of retrieval, correlation of sentence pairs",
    _add_arguments,
    _run,
    "akidb-embed evaluate --task ./scifact --model minilm-l6-v2",
    """\
A task is a folder in BEIR's layout: corpus.jsonl (_id, title, text), queries.jsonl (_id, text), and qrels.tsv or
qrels/test.tsv (query id, document id, score); or sentence pairs with a score, .tsv, .csv or .jsonl: columns sentence1,
sentence2 and score, or STSbenchmark's own files. Queries get the model's query prompt, documents its document prompt.

Search is exact, by cosine. Of equally similar documents, the one with the greater id ranks first, as in trec_eval, so
that the order of the files does not matter. docs/evaluation.md explains the figures, and how to run MTEB.""",
)
