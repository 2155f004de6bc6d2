"""``akidb-embed similarity``: the similarities of texts."""

import json
import shutil
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.near_misses import note_file_names
from akidb_embeddings.cli.options import (
    add_model_options,
    add_precision_option,
    add_prompt_options,
    add_vectors_option,
    configuration,
    open_service,
    prompt_options,
)
from akidb_embeddings.cli.output import shorten, warn_about_cuts
from akidb_embeddings.cli.texts import read_texts
from akidb_embeddings.errors import InputError
from akidb_embeddings.registry.outputs import DENSE, SPARSE, TOKENS

if TYPE_CHECKING:
    from akidb_embeddings.service.service import EmbeddingService
    from akidb_embeddings.vectors.precision import Similarities

_SHORTEST_LABEL = 12


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="two or more texts (default: the lines of standard input)"
    )
    parser.add_argument("--json", action="store_true", help="print texts, full matrix and fingerprint as JSON")
    add_prompt_options(parser)
    add_vectors_option(parser, (DENSE, SPARSE))
    add_precision_option(parser)
    add_model_options(parser)


def _run(options: Namespace) -> int:
    given = read_texts(options.texts)
    texts = list(given.items)
    if len(texts) < 2:
        raise InputError(f"similarity needs at least two texts, and got {len(texts)}")
    note_file_names(options.texts, "compared")
    with open_service(configuration(options), options) as service, given.renumber_errors(0):
        matrix, fingerprint = _similarities(service, texts, options)
    if options.json:
        content = {"texts": texts, "similarity": matrix.tolist(), "fingerprint": fingerprint}
        print(json.dumps(content, ensure_ascii=False))
    elif len(texts) == 2:
        print(f"{matrix[0, 1]:.4f}")
    else:
        print(_table(texts, matrix))
    return 0


def _similarities(service: "EmbeddingService", texts: list[str], options: Namespace) -> "tuple[Similarities, str]":
    """The similarities of texts [n, n], and the fingerprint of their vectors."""
    from akidb_embeddings.service.result import EmbeddingResult, SparseResult
    from akidb_embeddings.vectors.precision import similarity
    from akidb_embeddings.vectors.sparse import sparse_similarity

    output = options.output_kind or service.outputs[0]
    if output == TOKENS:
        raise InputError(
            "this model makes token vectors, which compare queries with documents, not texts with each other: "
            "akidb_embeddings.maxsim does that"
        )
    precision, prompt = options.precision, service.resolve_prompt(**prompt_options(options))
    found = service.encode(texts, output=output, prompt=prompt, precision=precision)
    warn_about_cuts(service, sum(found.truncated), len(texts), output, options.prompt_name)
    if isinstance(found, SparseResult):
        return sparse_similarity(found.vectors, found.vectors), found.fingerprint
    assert isinstance(found, EmbeddingResult)  # the only other one
    matrix = similarity(found.vectors, found.vectors, precision=precision, dimension=service.dimension)
    return matrix, found.fingerprint


def _table(texts: list[str], matrix: "Similarities") -> str:
    """One line per text: its number, its similarities to all texts, and its beginning.

    The beginning comes last, since the width of other scripts on a terminal is unknown.
    """
    digits = len(str(len(texts)))
    lines = [" " * digits + "".join(f"{number:>8}" for number in range(1, len(texts) + 1))]
    room = max(_SHORTEST_LABEL, shutil.get_terminal_size().columns - len(lines[0]) - 2)
    for number, (text, row) in enumerate(zip(texts, matrix, strict=True), start=1):
        numbers = "".join(f"{value:8.4f}" for value in row)
        lines.append(f"{number:>{digits}}{numbers}  {shorten(text, room)}")
    return "\n".join(lines)


SIMILARITY = Command(
    "print similarities of texts: one number for two, a table for more",
    _add_arguments,
    _run,
    'akidb-embed similarity "a cat" "a kitten" "a car" --model minilm-l6-v2',
    "Similarities of dense vectors are cosines, those of sparse ones dot products, as their models were trained.",
    takes_texts=True,
)
