"""A job from its source to its output: reading, embedding and writing side by side, and rejects on the way.

The same job gives the same bytes, whatever was killed when. So texts are embedded in chunks that depend on nothing but
the part they lie in, and that share no micro-batch: how a matrix product rounds depends on what else is in it.
"""

import contextlib
import functools
import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from akidb_embeddings.bulk.ahead import WritingBehind, in_order, reading_ahead
from akidb_embeddings.bulk.journal import REJECTS, Counts, Journal, OpenPart
from akidb_embeddings.bulk.outputs import Embedded, Output
from akidb_embeddings.bulk.progress import Progress
from akidb_embeddings.bulk.rows import Item, Reject, Row
from akidb_embeddings.errors import EmbeddingError, InputError, NonFiniteVectorError, WorkerError

if TYPE_CHECKING:
    from akidb_embeddings.service import EmbeddingResult

# One window of the engine's (see ``job``): enough to sort by length, and a second or so of work on a CPU.
CHUNK_ROWS = 512
CHUNK_CHARACTERS = 1 << 20
_CHUNKS_AHEAD = 4
# Chunks that are embedded at once: while one is computed, the next is tokenized.
_CHUNKS_AT_ONCE = 2
# More texts without a finite vector in one chunk than this, and it is not the texts.
_MOST_SPOILT = 16
_INDEX = re.compile(r"^(?:texts|vectors)\[(\d+)\]")

Outcome: TypeAlias = "EmbeddingResult | EmbeddingError"
# Lists of texts to what became of each, in their order. An error is a value here: the other lists go on.
Embed = Callable[[Iterator[list[str]]], Generator[Outcome]]


@dataclass
class Chunk:
    """Rows of one part to be embedded together, and rejects among them.

    ``position``: the source's, after them. ``closes``: its part has no more; the part in which the input ends may have.
    """

    part: int
    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    position: int | None = None
    characters: int = 0
    closes: bool = False


@dataclass(frozen=True)
class _Done:
    """A chunk that is embedded; ``embedded`` is None where all of it was rejected."""

    part: int
    embedded: Embedded | None
    rejects: Sequence[Reject]
    position: int | None
    closes: bool


@dataclass(frozen=True)
class Rules:
    """What becomes of rows that cannot be embedded.

    ``strict``: the first one ends the run. ``limit``: refuse texts of more tokens, which come back truncated; None:
    truncated ones are as good as others. ``has_lines``: row n of the input is its line n + 1.
    """

    strict: bool = False
    limit: int | None = None
    has_lines: bool = False


def side_by_side(encode: Callable[[list[str]], "EmbeddingResult"]) -> Embed:
    """An ``Embed`` of calls that may overlap, as those of ``EmbeddingService.encode`` may with ``alone``."""

    def attempt(texts: list[str]) -> Outcome:
        try:
            return encode(texts)
        except EmbeddingError as error:
            return error

    return lambda lists: in_order(attempt, lists, _CHUNKS_AT_ONCE)


def run(
    items: Iterable[Item],
    embed: Embed,
    output: Output,
    journal: Journal,
    progress: Progress,
    rules: Rules = Rules(),
    position: Callable[[], int | None] = lambda: None,
) -> None:
    """Embed what the journal does not have yet, then put the output together and give it its name.

    ``items``: those from row ``journal.rows_done`` on; they are taken on another thread. ``position``: how many bytes
    of the input were read so far.

    Raises:
        EmbeddingError: a row was rejected and ``strict`` is set; or nothing can be written, on a full disk most likely.
            Finished parts stay, and the same job goes on after them.
    """
    if rules.strict:
        for reject in journal.rejects():
            raise _stop(reject["reason"], reject["number"], reject["line"], reject["id"])
    if not journal.complete:
        _fill(items, embed, output, journal, progress, rules, position)
    with _explained(journal):
        files = output.assemble(journal.parts, journal.assembly())
        if journal.counts.rejects:
            files[REJECTS] = _all_rejects(journal)
        journal.publish(files, output.layout.metadata)


def chunks(items: Iterable[Item], part_rows: int, position: Callable[[], int | None]) -> Iterator[Chunk]:
    """Items as chunks of at most ``CHUNK_ROWS`` rows and ``CHUNK_CHARACTERS``, or one longer text, of one part each."""
    chunk: Chunk | None = None
    for item in items:
        part = item.number // part_rows
        if chunk is not None and (part != chunk.part or _is_full(chunk, item)):
            chunk.position, chunk.closes = position(), part != chunk.part
            yield chunk
            chunk = None
        chunk = chunk or Chunk(part)
        if isinstance(item, Reject):
            chunk.rejects.append(item)
        else:
            chunk.rows.append(item)
            chunk.characters += len(item.text)
    if chunk is not None:
        chunk.position = position()
        yield chunk


def _is_full(chunk: Chunk, item: Item) -> bool:
    if isinstance(item, Reject) or not chunk.rows:
        return False
    return len(chunk.rows) == CHUNK_ROWS or chunk.characters + len(item.text) > CHUNK_CHARACTERS


def _fill(
    items: Iterable[Item],
    embed: Embed,
    output: Output,
    journal: Journal,
    progress: Progress,
    rules: Rules,
    position: Callable[[], int | None],
) -> None:
    """Embed and write what is not in a finished part."""
    part_rows = int(journal.job["part_rows"])
    with (
        contextlib.closing(_Parts(output, journal)) as parts,
        WritingBehind(_CHUNKS_AHEAD) as writing,
        reading_ahead(chunks(_begun(items, journal, progress, position), part_rows, position), _CHUNKS_AHEAD) as read,
    ):
        with contextlib.closing(_embedded(read, embed, rules)) as finished:
            for done in finished:
                if rules.strict and done.rejects:
                    reject = done.rejects[0]
                    raise _stop(reject.reason, reject.number, reject.line, reject.id)
                tokens = done.embedded.tokens if done.embedded else ()
                progress.update(len(tokens), sum(tokens), done.position)
                writing.call(functools.partial(parts.add, done))
        writing.call(parts.end)
        writing.finish()


def _begun(
    items: Iterable[Item], journal: Journal, progress: Progress, position: Callable[[], int | None]
) -> Iterator[Item]:
    """The items; ``progress`` hears where in the input they begin."""
    iterator = iter(items)
    for item in itertools.islice(iterator, 1):
        if journal.parts:
            progress.begin_at(position())
        yield item
    yield from iterator


class _Parts:
    """The writer's side: what is embedded goes to the part it belongs to. One thread at a time."""

    def __init__(self, output: Output, journal: Journal) -> None:
        self._output, self._journal = output, journal
        self._open: OpenPart | None = None
        self._counts, self._last_row = Counts(), -1

    def add(self, done: _Done) -> None:
        """Write a chunk; parts before its own that had no row at all are made, too."""
        with _explained(self._journal):
            while len(self._journal.parts) < done.part:
                self._finish(end=False)
            part = self._part()
            if done.embedded:
                part.write(self._output.pieces(done.embedded))
            part.write({REJECTS: b"".join(json.dumps(asdict(r)).encode() + b"\n" for r in done.rejects)})
            self._counts += self._count(done)
            if done.closes:
                self._finish(end=False)

    def end(self) -> None:
        """The input has no more."""
        with _explained(self._journal):
            self._finish(end=True)

    def close(self) -> None:
        """Throw away the part that is not finished, if there is one."""
        if self._open:
            self._open.discard()

    def _part(self) -> OpenPart:
        if self._open is None:
            self._open = self._journal.begin_part()
            self._open.write({REJECTS: b""})
        return self._open

    def _finish(self, end: bool) -> None:
        self._journal.finish_part(self._part(), self._counts, end)
        self._open, self._counts = None, Counts()

    def _count(self, done: _Done) -> Counts:
        if not done.embedded:
            return Counts(rejects=len(done.rejects))
        embedded = done.embedded
        rows = 0
        for row in embedded.rows:  # passages of a row have its number, and follow each other
            rows += row.number != self._last_row
            self._last_row = row.number
        cut, tokens = sum(embedded.truncated), sum(embedded.tokens)
        return Counts(rows, len(embedded.rows), len(done.rejects), cut, tokens)


def _embedded(chunks: Iterator[Chunk], embed: Embed, rules: Rules) -> Generator[_Done]:
    """The chunks with their vectors."""
    waiting: deque[Chunk] = deque()

    def texts() -> Iterator[list[str]]:
        for chunk in chunks:
            waiting.append(chunk)
            yield [row.text for row in chunk.rows]

    with contextlib.closing(embed(texts())) as outcomes:
        for outcome in outcomes:
            yield _done(waiting.popleft(), outcome, embed, rules)


def _done(chunk: Chunk, outcome: Outcome, embed: Embed, rules: Rules) -> _Done:
    """The chunk's vectors. A row that has none becomes a reject, and the others are computed without it."""
    rows, rejects = list(chunk.rows), list(chunk.rejects)
    spoilt = 0
    while isinstance(outcome, EmbeddingError):
        index = _index(outcome)
        spoilt += isinstance(outcome, NonFiniteVectorError)
        if index is None or index >= len(rows) or spoilt > _MOST_SPOILT:
            raise outcome
        reason = re.sub(r"\b(?:texts|vectors)\[\d+\]", "the text", str(outcome), count=1)
        rejects.append(_reject(rows.pop(index), reason, rules))
        [outcome] = embed(iter([[row.text for row in rows]]))
    embedded = Embedded(rows, outcome.vectors, outcome.token_counts, outcome.truncated) if rows else None
    if embedded and rules.limit is not None and any(embedded.truncated):
        reason = f"the text has more than {rules.limit} tokens with its prompt, and truncate is 'error'"
        cut = [row for row, truncated in zip(rows, embedded.truncated, strict=True) if truncated]
        rejects += [_reject(row, reason, rules) for row in cut]
        embedded = _kept(embedded)
    rejects.sort(key=lambda reject: reject.number)
    return _Done(chunk.part, embedded, rejects, chunk.position, chunk.closes)


def _kept(embedded: Embedded) -> Embedded | None:
    """Those that are not truncated."""
    kept = [index for index, truncated in enumerate(embedded.truncated) if not truncated]
    if not kept:
        return None
    rows, tokens = ([values[index] for index in kept] for values in (embedded.rows, embedded.tokens))
    return Embedded(rows, embedded.vectors[kept], tokens, [False] * len(kept))  # type: ignore[arg-type]


def _index(error: EmbeddingError) -> int | None:
    """Which of the texts cannot be embedded; None where it is not the texts."""
    if isinstance(error, NonFiniteVectorError):
        return error.index
    found = _INDEX.match(str(error)) if isinstance(error, InputError) else None
    return int(found[1]) if found else None


def _reject(row: Row, reason: str, rules: Rules) -> Reject:
    where = "" if row.end is None else f"characters {row.begin} to {row.end}: "
    return Reject(row.number, row.number + 1 if rules.has_lines else None, row.id, where + reason)


def _stop(reason: str, number: int, line: int | None, key: str | None) -> EmbeddingError:
    where = f"line {line}" if line is not None else f"row {number}"
    name = "" if key in (None, str(number)) else f" (id {key!r})"
    return WorkerError(f"{where}{name}: {reason}. --strict ends the run there; without it, such rows are left out.")


def _all_rejects(journal: Journal) -> Path:
    path = journal.folder / "final" / REJECTS
    with open(path, "w", encoding="utf-8") as stream:
        for reject in journal.rejects():
            stream.write(json.dumps(reject, ensure_ascii=False) + "\n")
    return path


@contextlib.contextmanager
def _explained(journal: Journal) -> Iterator[None]:
    """Turn what the system says of a disk into what became of the job."""
    try:
        yield
    except OSError as error:
        raise EmbeddingError(
            f"{error.filename or journal.folder} cannot be written: {error.strerror or error}."
        ) from error


def kept(journal: Journal) -> str:
    """What is safe of a job that ends before its time, and how it goes on."""
    if not journal.parts:
        return "Nothing is finished yet; the same command begins anew."
    return f"The first {journal.rows_done:,} rows are kept in {journal.folder}; the same command goes on after them."
