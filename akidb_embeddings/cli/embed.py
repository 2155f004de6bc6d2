"""``akidb-embed embed``: texts to vectors, as JSON lines or a NumPy file."""

import contextlib
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.options import (
    add_model_options,
    add_precision_option,
    add_prompt_options,
    configuration,
    open_service,
    prompt_options,
)
from akidb_embeddings.cli.output import note
from akidb_embeddings.cli.texts import Texts, read_texts
from akidb_embeddings.errors import InputError
from akidb_embeddings.service import WINDOW_TEXTS

if TYPE_CHECKING:
    from tqdm import tqdm

    from akidb_embeddings.service.result import EmbeddingResult
    from akidb_embeddings.service.service import EmbeddingService
    from akidb_embeddings.vectors.precision import Quantized

# Enough windows to keep the engine busy, and little to hold.
_CHUNK = 4 * WINDOW_TEXTS
_WORTH_A_BAR = 256

Results = Iterable[tuple[list[str], "EmbeddingResult"]]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts (default: the lines of standard input)")
    add_prompt_options(parser)
    parser.add_argument(
        "--format", choices=tuple(_FORMATS), default="jsonl", help="JSON lines or a NumPy array (default: jsonl)"
    )
    parser.add_argument("--base64", action="store_true", help="jsonl: vectors as base64 of their little-endian bytes")
    parser.add_argument("--output", metavar="FILE", default="-", help="where to write (default: standard output)")
    add_precision_option(parser)
    add_model_options(parser)


def _run(options: Namespace) -> int:
    if options.base64 and options.format == "npy":
        raise InputError("--base64 is for --format jsonl; npy has the bytes as they are")
    texts = read_texts(options.texts)
    to_terminal = options.output == "-" and sys.stdout.isatty()
    if options.format == "npy" and to_terminal:
        raise InputError("npy is binary and no sight for a terminal: give --output FILE, or redirect with > FILE")
    with open_service(configuration(options)) as service:
        prompt = service.resolve_prompt(**prompt_options(options))
        show_progress = sys.stderr.isatty() and not to_terminal
        embedding = _Embedding(service, texts, prompt, options.precision, show_progress)
        write = _base64_lines if options.base64 else _FORMATS[options.format]
        with _open_output(options.output) as stream, contextlib.closing(embedding):
            for piece in write(embedding.results(), embedding.empty):
                stream.write(piece)
                stream.flush()
        _report(options, service, embedding, prompt)
    return 0


class _Embedding:
    """The results of long input, stretch by stretch, with a progress bar and a count of what was cut."""

    def __init__(
        self, service: "EmbeddingService", texts: Texts, prompt: str, precision: str, show_progress: bool
    ) -> None:
        self._service, self._texts, self._prompt, self._show_progress = service, texts, prompt, show_progress
        self._precision = precision
        self._bar: tqdm[NoReturn] | None = None
        self.count = 0
        self.truncated = 0

    @property
    def empty(self) -> "Quantized":
        """What no texts give: an array ``[0, values a row]`` of the results' type."""
        import numpy as np

        from akidb_embeddings.vectors.precision import quantize

        return quantize(np.empty((0, self._service.dimension)), self._precision)

    def results(self) -> Results:
        """Stretches of texts, each with its result."""
        for chunk in self._texts.chunks(_CHUNK):
            if self._bar is None:
                self._bar = self._start_bar(len(chunk))
            with self._texts.numbered(self.count):
                result = self._service.encode(
                    chunk, prompt=self._prompt, progress=self._bar.update, precision=self._precision
                )
            self.count += len(chunk)
            self.truncated += sum(result.truncated)
            yield chunk, result

    def _start_bar(self, first: int) -> "tqdm[NoReturn]":
        """A first stretch that is not full is all there is; else nobody knows how much follows."""
        from tqdm import tqdm

        total = first if first < _CHUNK else None
        wanted = self._show_progress and (total is None or total > _WORTH_A_BAR)
        return tqdm(total=total, unit="text", disable=not wanted)

    def close(self) -> None:
        """Finish the bar, so that what follows it on the terminal begins on a line of its own."""
        if self._bar is not None:
            self._bar.close()


def _report(options: Namespace, service: "EmbeddingService", embedding: _Embedding, prompt: str) -> None:
    if options.format == "npy":  # which has no place for it
        fingerprint = service.fingerprint(prompt, precision=options.precision)
        note(f"{options.precision} [{embedding.count}, {embedding.empty.shape[1]}], fingerprint {fingerprint}")
    if embedding.truncated:
        limit, most = service.settings.max_tokens, service.checkpoint.max_tokens
        way_out = f"--max-tokens may be up to {most}" if limit < most else "the model takes no more"
        note(f"warning: {embedding.truncated} of {embedding.count} texts were cut at {limit} tokens; {way_out}")


@contextlib.contextmanager
def _open_output(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdout.buffer
        return
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(open(path, "wb"))
        except OSError as error:
            raise InputError(f"--output {path} cannot be written: {error.strerror}") from error
        yield stream


def _json_lines(results: Results, empty: "Quantized") -> Iterator[bytes]:
    """One object a line. Numbers are the shortest that give the same ones again in their precision."""
    for texts, result in results:
        yield _lines(texts, result, (f"[{', '.join(vector.astype(str).tolist())}]" for vector in result.vectors))


def _base64_lines(results: Results, empty: "Quantized") -> Iterator[bytes]:
    """The same with base64 in place of numbers."""
    from akidb_embeddings.vectors.precision import to_base64

    for texts, result in results:
        yield _lines(texts, result, map(json.dumps, to_base64(result.vectors)))


def _lines(texts: list[str], result: "EmbeddingResult", vectors: Iterable[str]) -> bytes:
    fingerprint = json.dumps(result.fingerprint)
    return "".join(
        f'{{"text": {json.dumps(text, ensure_ascii=False)}, "embedding": {vector}, "tokens": {tokens}, '
        f'"truncated": {json.dumps(cut)}, "fingerprint": {fingerprint}}}\n'
        for text, vector, tokens, cut in zip(texts, vectors, result.token_counts, result.truncated, strict=True)
    ).encode()


def _npy(results: Results, empty: "Quantized") -> Iterator[bytes]:
    """One array, a row a text. Its header has the count, so it is all kept until the end."""
    import io

    import numpy as np

    from akidb_embeddings.vectors.precision import little_endian

    vectors = [little_endian(result.vectors) for _, result in results]
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


_FORMATS: Mapping[str, Callable[[Results, "Quantized"], Iterator[bytes]]] = {"jsonl": _json_lines, "npy": _npy}

EMBED = Command(
    "embed texts: vectors as JSON lines or a NumPy file",
    _add_arguments,
    _run,
    'akidb-embed "first text" "second text" --prompt document --model minilm-l6-v2',
    """\
Texts are arguments; without any (or for a single -), the lines of standard input, UTF-8. A blank line is a text like
any other, so line n of the output belongs to line n of the input; the end of the last line is not a further text.

jsonl: one object a text, {"text", "embedding", "tokens", "truncated", "fingerprint"}: the tokens that the model saw,
whether there were more, and the name of the space that the vector lies in. Vectors of different fingerprints must not
be compared. Numbers give the same float32 when they are read again; with --base64, "embedding" is a string. Output
is written 2048 texts at a time.
npy: one array [texts, dimension], float32 unless --precision says otherwise; the fingerprint is printed on stderr.

--precision binary and ubinary have a bit for each dimension, and so an eighth as many bytes a text as dimensions.""",
    takes_texts=True,
)
