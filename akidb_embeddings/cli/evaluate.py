"""``akidb-embed evaluate``: the quality of a model's vectors on tasks in folders and files."""

import json
import sys
from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.options import (
    LOCATION_FIELDS,
    add_model_options,
    configuration,
    open_reranker,
    open_service,
    rerank_configuration,
)
from akidb_embeddings.cli.output import print_message, table
from akidb_embeddings.errors import EmbeddingError, InputError
from akidb_embeddings.extras import require

if TYPE_CHECKING:
    from akidb_embeddings.evaluation.metrics import Evaluation
    from akidb_embeddings.evaluation.pairs import PairTask
    from akidb_embeddings.evaluation.reranking import Reranker
    from akidb_embeddings.evaluation.tasks import RetrievalTask
    from akidb_embeddings.service.service import EmbeddingService

    Task = RetrievalTask | PairTask

_HEADINGS = {"ndcg@10": "NDCG@10", "mrr@10": "MRR@10"}
_RERANK_TOP = 100
# The names that fields of the reranker's configuration have among this command's options.
_RERANK_OPTIONS = {"model_name": "rerank", "instruction": "rerank_instruction"}


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
    _add_reranking_options(parser)
    add_model_options(parser)


def _add_reranking_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group(
        "reranking", "For retrieval. Further settings are those of the section `rerank:` of the configuration file."
    )
    group.add_argument(
        "--rerank",
        metavar="NAME",
        help="also score the best documents of every query with this reranker, and print the figures before and after",
    )
    group.add_argument(
        "--rerank-top",
        type=int,
        metavar="N",
        help=f"how many documents of every query are scored (default: {_RERANK_TOP})",
    )
    group.add_argument(
        "--rerank-instruction",
        metavar="TEXT",
        help="the instruction, for rerankers that take one (default: the one they were trained with)",
    )


def _run(options: Namespace) -> int:
    from akidb_embeddings.evaluation.tasks import RetrievalTask, read_task

    require("evaluate", "Evaluation")
    _check_reranking(options)
    tasks = [read_task(task, options.split) for task in options.tasks]
    _check_kinds(tasks, options)
    if options.merge_repeats:
        tasks = [task.with_merged_queries() if isinstance(task, RetrievalTask) else task for task in tasks]
    results: list[Evaluation] = []
    with ExitStack() as stack:
        reranker = _open_reranker(options, stack) if options.rerank else None
        service = stack.enter_context(open_service(configuration(options), options))
        for task in tasks:
            results += _evaluate(service, reranker, task, options)
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


def _check_reranking(options: Namespace) -> None:
    """Check the options for reranking, before anything is read."""
    given = {"--rerank-top": options.rerank_top, "--rerank-instruction": options.rerank_instruction}
    for name, value in given.items():
        if value is not None and options.rerank is None:
            raise InputError(f"{name} is for --rerank NAME, which is not given")
    if options.rerank_top is not None and options.rerank_top < 1:
        raise InputError(f"--rerank-top is {options.rerank_top}; it must be at least 1")


def _check_kinds(tasks: "Sequence[Task]", options: Namespace) -> None:
    """Check that every task, or one of them at least, is of the kind that an option is for."""
    from akidb_embeddings.evaluation.pairs import PairTask

    pairs = [task for task in tasks if isinstance(task, PairTask)]
    if options.prompt and not pairs:
        raise InputError(
            f"--prompt {options.prompt} is for sentence pairs. Queries and documents have their own prompts: set "
            "query_prompt_name and document_prompt_name in the configuration, or give --instruction."
        )
    if options.rerank and pairs:
        raise InputError(
            f"--rerank {options.rerank} is for retrieval, and {pairs[0].name} has sentence pairs, in which nothing is "
            "ranked: evaluate it in another run, without --rerank"
        )


def _open_reranker(options: Namespace, stack: ExitStack) -> "Reranker":
    from akidb_embeddings.evaluation.reranking import Reranker

    values = {"model_name": options.rerank}
    if options.rerank_instruction is not None:
        values["instruction"] = options.rerank_instruction
    config = rerank_configuration(options, LOCATION_FIELDS, **values)
    try:
        service = stack.enter_context(open_reranker(config, options))
    except EmbeddingError as error:
        if error.source or error.field not in _RERANK_OPTIONS:
            raise
        raise error.changed(field=_RERANK_OPTIONS[error.field]) from None
    return Reranker(service, options.rerank_top or _RERANK_TOP)


def _evaluate(
    service: "EmbeddingService", reranker: "Reranker | None", task: "Task", options: Namespace
) -> "Sequence[Evaluation]":
    """The figures of a task; with a reranker, those before and after."""
    from akidb_embeddings.evaluation.metrics import count_texts, evaluate_pairs, evaluate_retrieval
    from akidb_embeddings.evaluation.pairs import PairTask
    from akidb_embeddings.evaluation.reranking import evaluate_reranked

    with ExitStack() as stack:
        texts = _progress(stack, count_texts(task), task.name, "text")
        if isinstance(task, PairTask):
            return [evaluate_pairs(service, task, prompt_name=options.prompt, progress=texts)]
        if reranker is None:
            return [evaluate_retrieval(service, task, titles=options.titles, progress=texts)]
        pairs = _progress(stack, reranker.count_pairs(task), f"{task.name}, reranking", "pair")
        return evaluate_reranked(service, reranker, task, titles=options.titles, progress=texts, pair_progress=pairs)


def _progress(stack: ExitStack, total: int, name: str, unit: str) -> Callable[[int], object]:
    """Show a bar on a terminal. Returns what advances it."""
    from tqdm import tqdm

    return stack.enter_context(tqdm(total=total, desc=name, unit=unit, disable=not sys.stderr.isatty())).update


def _report(results: Sequence["Evaluation"]) -> str:
    """A table of figures for each kind of task, then the settings of each task."""
    blocks = []
    for kinds in (("retrieval", "reranking"), ("sts",)):
        of_kind = [result for result in results if result.kind in kinds]
        if of_kind:
            heading = ["TASK", *(_HEADINGS.get(name, name.upper()) for name in of_kind[0].scores)]
            rows = [[_label(result), *(f"{value:.4f}" for value in result.scores.values())] for result in of_kind]
            blocks.append(table([heading, *rows]))
    for result in results:
        settings = table([(f"  {name}", value) for name, value in _settings(result.settings)])
        blocks.append(f"{_label(result)}\n{settings}")
    return "\n\n".join(blocks)


def _label(result: "Evaluation") -> str:
    return f"{result.task}, reranked" if result.kind == "reranking" else result.task


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
    if cut := result.settings.get("pairs_truncated", 0):
        print_message(f"warning: {cut} pairs of {result.task} were cut at {result.settings['max_tokens']} tokens")


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
that the order of the files does not matter. With --rerank, the best documents of every query are ordered by the
reranker's scores, and all others stay behind them. docs/evaluation.md explains the figures, and how to run MTEB.""",
)
