"""``akidb-embed embed``: texts to vectors, as JSON lines or a NumPy file."""

import contextlib
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NoReturn

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.options import (
    add_model_options,
    add_precision_option,
    add_prompt_options,
    add_vectors_option,
    configuration,
    open_service,
    prompt_options,
)
from akidb_embeddings.cli.output import print_message, warn_about_cuts
from akidb_embeddings.cli.output_file import check_is_not_input, open_output
from akidb_embeddings.cli.texts import Texts, read_texts
from akidb_embeddings.errors import InputError
from akidb_embeddings.registry.outputs import DENSE
from akidb_embeddings.service import WINDOW_TEXTS

if TYPE_CHECKING:
    from tqdm import tqdm

    from akidb_embeddings.service.result import Result
    from akidb_embeddings.service.service import EmbeddingService
    from akidb_embeddings.vectors.precision import Quantized
    from akidb_embeddings.vectors.sparse import SparseVector

# Texts per call of the service: enough to keep the engine busy, and little memory.
_CHUNK = 4 * WINDOW_TEXTS
# Texts below which an input that is read completely gets no progress bar.
_PROGRESS_BAR_MINIMUM = 256

Results = Iterable[tuple[list[str], "Result"]]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts (default: the lines of standard input)")
    add_prompt_options(parser)
    parser.add_argument(
        "--format",
        choices=tuple(_FORMATS),
        help="JSON lines or a NumPy array (default: npy for an --output that ends in .npy, else jsonl)",
    )
    parser.add_argument("--base64", action="store_true", help="jsonl: vectors as base64 of their little-endian bytes")
    parser.add_argument("--output", metavar="FILE", default="-", help="where to write (default: standard output)")
    add_vectors_option(parser)
    add_precision_option(parser)
    add_model_options(parser)


def _run(options: Namespace) -> int:
    options.format = _output_format(options.output, options.format)
    if options.base64 and options.format == "npy":
        raise InputError("--base64 is for JSON lines; npy is binary already")
    texts = read_texts(options.texts)
    if options.texts in ([], ["-"]):
        check_is_not_input(options.output)
    to_terminal = options.output == "-" and sys.stdout.isatty()
    if options.format == "npy" and to_terminal:
        raise InputError("npy is binary and cannot go to a terminal: give --output FILE, or redirect with > FILE")
    with open_service(configuration(options), options) as service:
        output = options.output_kind or service.outputs[0]
        if output != DENSE and (options.base64 or options.format == "npy"):
            form = "--base64" if options.base64 else "npy"
            raise InputError(f"{form} is for dense vectors, and these are {output!r}: leave it out, for JSON lines")
        show_progress = sys.stderr.isatty() and not to_terminal
        arguments = {**prompt_options(options), "output": output, "precision": options.precision}
        service.encode([], **arguments)  # a wrong option is an error before the output is opened
        embedding = _Embedding(service, texts, arguments, show_progress)
        write = _base64_lines if options.base64 else _FORMATS[options.format]
        with open_output(options.output) as stream, contextlib.closing(embedding):
            for piece in write(embedding.results(), embedding.empty):
                stream.write(piece)
                stream.flush()
        _report(options, service, embedding, output)
    return 0


def _output_format(output: str, asked: str | None) -> str:
    """The format that is asked for, or that the output's name stands for.

    Raises:
        InputError: The name stands for another format.
    """
    suffix = PurePath(output).suffix.lower()
    named = _SUFFIXES.get(suffix)
    if suffix in _OTHER_SUFFIXES:
        raise InputError(
            f"--output {output}: this command writes jsonl or npy, not {suffix}. {_OTHER_SUFFIXES[suffix]}"
        )
    if asked and named and asked != named:
        raise InputError(
            f"--output {output} ends in {suffix}, but --format is {asked}. Leave out --format, or give another name"
        )
    return asked or named or "jsonl"


class _Embedding:
    """The results of a long input, chunk by chunk, with a progress bar and a count of truncated texts."""

    def __init__(
        self, service: "EmbeddingService", texts: Texts, arguments: Mapping[str, Any], show_progress: bool
    ) -> None:
        """``arguments`` are those of ``EmbeddingService.encode``."""
        self._service, self._texts, self._arguments, self._show_progress = service, texts, arguments, show_progress
        self._bar: tqdm[NoReturn] | None = None
        self.count = 0
        self.truncated = 0

    @property
    def empty(self) -> "Quantized":
        """An array without rows, of the results' width and dtype."""
        import numpy as np

        from akidb_embeddings.vectors.precision import quantize

        return quantize(np.empty((0, self._service.dimension)), self._arguments["precision"])

    def results(self) -> Results:
        """Chunks of texts, each with its result."""
        for chunk in self._texts.chunks(_CHUNK):
            if self._bar is None:
                self._bar = self._start_bar(len(chunk))
            with self._texts.renumber_errors(self.count):
                result = self._service.encode(chunk, progress=self._bar.update, **self._arguments)
            self.count += len(chunk)
            self.truncated += sum(result.truncated)
            yield chunk, result

    def _start_bar(self, first: int) -> "tqdm[NoReturn]":
        """The total is known only if the first chunk is not full, and so is the whole input."""
        from tqdm import tqdm

        total = first if first < _CHUNK else None
        is_shown = self._show_progress and (total is None or total > _PROGRESS_BAR_MINIMUM)
        return tqdm(total=total, unit="text", disable=not is_shown)

    def close(self) -> None:
        """Finish the bar, so that further output begins on a new line."""
        if self._bar is not None:
            self._bar.close()


def _report(options: Namespace, service: "EmbeddingService", embedding: _Embedding, output: str) -> None:
    if options.format == "npy":  # the file has no place for it
        prompt = service.resolve_prompt(**prompt_options(options))
        fingerprint = service.fingerprint(prompt, precision=options.precision)
        print_message(f"{options.precision} [{embedding.count}, {embedding.empty.shape[1]}], fingerprint {fingerprint}")
    warn_about_cuts(service, embedding.truncated, embedding.count, output, options.prompt_name)


def _json_lines(results: Results, empty: "Quantized") -> Iterator[bytes]:
    """One object per line. Numbers have the fewest digits that restore the same value in their precision."""
    for texts, result in results:
        yield _lines(texts, result, map(_as_json, result.vectors))


def _as_json(vector: "Quantized | SparseVector") -> str:
    """A dense vector [dimension], sparse weights, or the vectors [tokens, dimension] of a text's tokens."""
    from akidb_embeddings.vectors.sparse import SparseVector

    if isinstance(vector, SparseVector):
        return f'{{"indices": {_as_json(vector.indices)}, "values": {_as_json(vector.values)}}}'
    numbers = map(_as_json, vector) if vector.ndim > 1 else vector.astype(str).tolist()
    return f"[{', '.join(numbers)}]"


def _base64_lines(results: Results, empty: "Quantized") -> Iterator[bytes]:
    """One object per line, with vectors as base64."""
    from akidb_embeddings.vectors.precision import to_base64

    for texts, result in results:
        yield _lines(texts, result, map(json.dumps, to_base64(_dense(result))))


def _lines(texts: list[str], result: "Result", vectors: Iterable[str]) -> bytes:
    fingerprint = json.dumps(result.fingerprint)
    return "".join(
        f'{{"text": {json.dumps(text, ensure_ascii=False)}, "embedding": {vector}, "tokens": {tokens}, '
        f'"truncated": {json.dumps(cut)}, "fingerprint": {fingerprint}}}\n'
        for text, vector, tokens, cut in zip(texts, vectors, result.token_counts, result.truncated, strict=True)
    ).encode()


def _npy(results: Results, empty: "Quantized") -> Iterator[bytes]:
    """One array, one row per text. Its header contains the count, so all rows are kept until the end."""
    import io

    import numpy as np

    from akidb_embeddings.vectors.precision import little_endian

    vectors = [little_endian(_dense(result)) for _, result in results]
    header = io.BytesIO()
    form = {
        "descr": little_endian(empty).dtype.str,
        "fortran_order": False,
        "shape": (sum(map(len, vectors)), empty.shape[1]),
    }
    np.lib.format.write_array_header_1_0(header, form)
    yield header.getvalue()
    for part in vectors:
        yield part.tobytes()


def _dense(result: "Result") -> "Quantized":
    """The vectors of a result; the options have been checked."""
    from akidb_embeddings.service.result import EmbeddingResult

    assert isinstance(result, EmbeddingResult)
    return result.vectors


_SUFFIXES = {".npy": "npy", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_OTHER_SUFFIXES = {
    ".parquet": "`akidb-embed file` writes Parquet",
    ".npz": "Give a name in .npy",
    ".csv": "Give a name in .jsonl or .npy",
    ".json": "Give a name in .jsonl: one object per line",
    ".txt": "Give a name in .jsonl or .npy",
    ".gz": "To compress JSON lines, send them to gzip",
    ".zst": "To compress JSON lines, send them to zstd",
}
_FORMATS: Mapping[str, Callable[[Results, "Quantized"], Iterator[bytes]]] = {"jsonl": _json_lines, "npy": _npy}

EMBED = Command(
    "embed texts: vectors as JSON lines or a NumPy file",
    _add_arguments,
    _run,
    'akidb-embed "first text" "second text" --prompt document --model minilm-l6-v2',
    """\
Texts are the arguments; without any, or for a single -, the lines of standard input in UTF-8. A blank line is a text
like any other, so line n of the output belongs to line n of the input; a final line break does not begin another text.

jsonl: one object per text, {"text", "embedding", "tokens", "truncated", "fingerprint"}: the number of tokens that the
model saw, whether the text had more, and the name of the space that the vector lies in. Vectors with different
fingerprints must not be compared. Reading the numbers restores the same float32 values; with --base64, "embedding" is a
string. With --vectors sparse it is {"indices", "values"}, the ids of tokens and their weights; with --vectors tokens it
is a list of vectors, and --prompt must be query or document. Output is written for 2048 texts at a time.
npy: one array [texts, dimension], float32 unless --precision says otherwise; the fingerprint is printed on stderr.

The name of --output chooses the format if --format does not: .npy is a NumPy array, any other name JSON lines. A name
that stands for another format than --format is an error.

--precision binary and ubinary have one bit per dimension: a text takes dimension / 8 bytes, rounded up.""",
    takes_texts=True,
)
