"""``akidb-embed rerank``: documents by their relevance to a query."""

import json
import shutil
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from akidb_embeddings.cli.command import PROGRAM, Command
from akidb_embeddings.cli.near_misses import note_file_names
from akidb_embeddings.cli.options import add_reranker_options, open_reranker, rerank_configuration
from akidb_embeddings.cli.output import print_message, shorten
from akidb_embeddings.cli.texts import read_texts
from akidb_embeddings.errors import InputError

if TYPE_CHECKING:
    from akidb_embeddings.reranking.result import Hit, ScoreResult
    from akidb_embeddings.reranking.service import RerankService

_HEADING = ("RANK", "SCORE", "INDEX")
_SHORTEST_TEXT = 12
# Documents below which there is no progress bar.
_PROGRESS_BAR_MINIMUM = 64
# Truncated documents whose indices are told; --json has them all.
_INDICES = 5


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("query", nargs="?", metavar="QUERY", help="the query")
    parser.add_argument(
        "texts", nargs="*", metavar="DOCUMENT", help="the documents (default: the lines of standard input)"
    )
    parser.add_argument(
        "--top", dest="top_k", type=int, metavar="N", help="print only the best N documents (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list, the best document first")
    parser.add_argument(
        "--activation",
        metavar="NAME",
        default="model",
        help="what makes scores of the model's logits: model is as trained, sigmoid gives scores from 0 to 1, identity "
        "the logits themselves (default: model)",
    )
    parser.add_argument(
        "--max-over-passages",
        action="store_true",
        help="divide a document that is too long into passages, and take the best score (default: cut its end)",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--instruction",
        metavar="TEXT",
        default=SUPPRESS,
        help="what makes a document relevant, for models such as Qwen3-Reranker that take an instruction (default: the "
        "one they were trained with)",
    )
    group.add_argument(
        "--prompt",
        dest="prompt_name",
        metavar="NAME",
        default=SUPPRESS,
        help="one of the model's prompts instead (default: the model's default prompt, which most do not have)",
    )
    add_reranker_options(parser)


def _run(options: Namespace) -> int:
    query, arguments = options.query, options.texts
    if query is None and arguments:  # what comes after "--" is never the first positional argument for argparse
        query, *arguments = arguments
    if query is None:
        raise InputError("no query: give it as the first argument, and the documents after it or on standard input")
    if options.top_k is not None and options.top_k < 1:
        raise InputError(f"--top is {options.top_k}; it must be at least 1")
    from akidb_embeddings.reranking.calls import about_documents
    from akidb_embeddings.reranking.inputs import check_activation
    from akidb_embeddings.reranking.result import ranked

    check_activation(options.activation)
    given = read_texts(arguments, "document", advice="")
    note_file_names(arguments, "scored", f"To rank its lines: `{PROGRAM} rerank QUERY < {{}}`")
    texts = list(given.items)
    with (
        open_reranker(rerank_configuration(options), options) as service,
        given.renumber_errors(0),
        about_documents(),
    ):
        result = _score(service, query, texts, options)
        _report(service, result, options)
    hits = ranked(result, options.top_k)
    if options.json:
        print(json.dumps([_as_json(hit, texts, result) for hit in hits], ensure_ascii=False))
    elif hits:
        print(_table(hits, texts))
    return 0


def _score(service: "RerankService", query: str, texts: Sequence[str], options: Namespace) -> "ScoreResult":
    from tqdm import tqdm

    # Passages are only known when everything is tokenized.
    total, unit = (None, "passage") if options.max_over_passages else (len(texts), "document")
    is_shown = sys.stderr.isatty() and len(texts) > _PROGRESS_BAR_MINIMUM
    with tqdm(total=total, unit=unit, disable=not is_shown) as bar:
        return service.score_details(
            [(query, text) for text in texts],
            activation=options.activation,
            max_over_passages=options.max_over_passages,
            progress=bar.update,
            wait=True,
        )


def _report(service: "RerankService", result: "ScoreResult", options: Namespace) -> None:
    """Print a warning about documents that were not read whole."""
    cut = [index for index, is_cut in enumerate(result.truncated) if is_cut]
    if not cut:
        return
    limit, most = service.max_tokens, service.checkpoint.max_tokens
    shown = ", ".join(map(str, cut[:_INDICES])) + (", …" if len(cut) > _INDICES else "")
    ways = [f"--max-tokens may be up to {most}" if limit < most else "that is the model's limit"]
    if options.max_over_passages:
        what = f"the query was cut, so that passages of documents have room in {limit} tokens"
    else:
        what = (
            f"{len(cut)} of {len(result.truncated)} documents were cut (index {shown}): with the query, they have more "
            f"than {limit} tokens"
        )
        ways.append("--max-over-passages reads them whole")
    print_message(f"warning: {what}; {'; '.join(ways)}")


def _as_json(hit: "Hit", texts: Sequence[str], result: "ScoreResult") -> dict[str, Any]:
    return {
        "index": hit.index,
        "score": float(str(result.scores[hit.index])),  # the fewest digits that restore the same float32
        "text": texts[hit.index],
        "tokens": result.token_counts[hit.index],
        "truncated": hit.truncated,
        "fingerprint": result.fingerprint,
    }


def _table(hits: Sequence["Hit"], texts: Sequence[str]) -> str:
    """One line per document. Its beginning comes last, since the width of other scripts on a terminal is unknown."""
    rows = [(str(rank), f"{hit.score:.4f}", str(hit.index)) for rank, hit in enumerate(hits, start=1)]
    widths = [max(map(len, column)) for column in zip(_HEADING, *rows, strict=True)]
    room = max(_SHORTEST_TEXT, shutil.get_terminal_size().columns - sum(widths) - 2 * len(widths))
    lines = []
    for row, text in zip([_HEADING, *rows], ["TEXT", *(texts[hit.index] for hit in hits)], strict=True):
        numbers = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"{numbers}  {shorten(text, room)}".rstrip())
    return "\n".join(lines)


RERANK = Command(
    "order documents by their relevance to a query, with a reranker",
    _add_arguments,
    _run,
    'akidb-embed rerank "how do I await?" --model ms-marco-minilm-l6-v2 --top 5 < documents.txt',
    """\
Documents are the arguments after the query; without any, or for a single -, the lines of standard input in UTF-8. A
blank line is a document like any other. Prints a table: rank, score, the document's index, counted from 0 in the order
of the input, and the beginning of its text. Equal scores keep the order of the input.

--json: a list of {"index", "score", "text", "tokens", "truncated", "fingerprint"}: tokens is the number that the model
saw, query included; truncated says whether the pair had more; scores with different fingerprints must not be compared.
Documents that were cut are told on stderr, also those that are not among the best.""",
    takes_texts=True,
)
