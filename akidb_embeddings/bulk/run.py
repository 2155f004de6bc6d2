"""A job from its source to its output: reading, embedding and writing side by side, and rejects on the way.

The same job gives the same bytes, whatever was killed when. So texts are embedded in chunks that depend on nothing but
the part they lie in, and that share no micro-batch: how a matrix product rounds depends on what else is in it.
"""

import contextlib
import functools
import itertools
import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from akidb_embeddings.bulk.ahead import WritingBehind, in_order, reading_ahead
from akidb_embeddings.bulk.chunks import Chunk, chunks
from akidb_embeddings.bulk.journal import REJECTS, Counts, Journal, OpenPart
from akidb_embeddings.bulk.outputs import Embedded, Output
from akidb_embeddings.bulk.progress import Progress
from akidb_embeddings.bulk.rows import Item, Reject, Row
from akidb_embeddings.errors import EmbeddingError, InputError, NonFiniteVectorError, WorkerError

if TYPE_CHECKING:
    from akidb_embeddings.service.result import EmbeddingResult

_CHUNKS_AHEAD = 4
# Chunks that are embedded at once: while one is computed, the next is tokenized.
_CHUNKS_AT_ONCE = 2
# More texts without a finite vector in one chunk than this, and it is not the texts.
_MOST_SPOILT = 16

Outcome: TypeAlias = "EmbeddingResult | EmbeddingError"
# Lists of texts to what became of each, in their order. An error is a value here: the other lists go on.
Embed = Callable[[Iterator[list[str]]], Generator[Outcome]]


@dataclass(frozen=True)
class _Done:
    """A chunk that is embedded; ``embedded`` is None where all of it was rejected."""

    embedded: Embedded | None
    rejects: Sequence[Reject]
    position: int | None
    next_row: int | None


@dataclass(frozen=True)
class Rules:
    """What becomes of rows that cannot be embedded.

    ``strict``: the first one ends the run. ``limit``: refuse texts of more tokens, which come back truncated; None:
    truncated ones are as good as others.
    """

    strict: bool = False
    limit: int | None = None


def side_by_side(encode: Callable[[list[str]], "EmbeddingResult"]) -> Embed:
    """An ``Embed`` of calls that may overlap, as those of ``EmbeddingService.encode`` may with ``alone``."""

    def attempt(texts: list[str]) -> Outcome:
        try:
            return encode(texts)
        except EmbeddingError as error:
            return error

    return lambda lists: in_order(attempt, lists, _CHUNKS_AT_ONCE)


def fill(
    items: Iterable[Item],
    embed: Embed,
    output: Output,
    journal: Journal,
    progress: Progress,
    rules: Rules = Rules(),
    position: Callable[[], int | None] = lambda: None,
) -> None:
    """Embed what the journal does not have yet.

    ``items``: those from row ``journal.rows_done`` on; they are taken on another thread. ``position``: how many bytes
    of the input were read so far.

    Raises:
        EmbeddingError: a row was rejected and ``strict`` is set; or nothing can be written, on a full disk most likely.
            Finished parts stay, and the same job goes on after them.
    """
    if rules.strict:
        for earlier in journal.rejects():
            raise _stop(earlier["reason"], earlier["number"], earlier["line"], earlier["id"])
    if journal.complete:
        return
    begun = _begun(items, journal, progress, position)
    with (
        contextlib.closing(_Parts(output, journal)) as parts,
        WritingBehind(_CHUNKS_AHEAD) as writing,
        reading_ahead(chunks(begun, journal.job, position, journal.rows_done), _CHUNKS_AHEAD) as read,
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


def finish(output: Output, journal: Journal) -> None:
    """Put a complete journal's parts together, and give the output its name.

    EmbeddingError: nothing can be written. The parts stay, and the same job puts them together.
    """
    with _explained(journal), journal.assembly() as folder:
        files = output.assemble(journal.parts, folder)
        if journal.counts.rejects:
            files[REJECTS] = _all_rejects(journal, folder / REJECTS)
        journal.publish(files, output.layout.metadata)


def _begun(
    items: Iterable[Item], journal: Journal, progress: Progress, position: Callable[[], int | None]
) -> Iterator[Item]:
    """The items; ``progress`` hears where in the input they begin. InputError: there are none behind those done."""
    iterator, rows_done = iter(items), journal.rows_done
    for item in itertools.islice(iterator, 1):
        if rows_done:
            progress.begin_at(position())
        yield item
        yield from iterator
        return
    if rows_done:  # a part is finished when the row behind it was seen
        raise InputError(
            f"The input ends within the {rows_done:,} rows that are done, and there was more behind them: it is "
            "another input, or was cut off."
        )


class _Parts:
    """The writer's side: what is embedded goes to the part it belongs to. One thread at a time."""

    def __init__(self, output: Output, journal: Journal) -> None:
        self._output, self._journal = output, journal
        self._open: OpenPart | None = None
        self._counts, self._last_row = Counts(), -1

    def add(self, done: _Done) -> None:
        """Write a chunk, and finish its part if it has no more."""
        with _explained(self._journal):
            part = self._part()
            if done.embedded:
                part.write(self._output.pieces(done.embedded))
            part.write({REJECTS: b"".join(json.dumps(asdict(r)).encode() + b"\n" for r in done.rejects)})
            self._counts += self._count(done)
            if done.next_row is not None:
                self._finish(done.next_row)

    def end(self) -> None:
        """The input has no more."""
        with _explained(self._journal):
            self._finish(None)

    def close(self) -> None:
        """Throw away the part that is not finished, if there is one."""
        if self._open:
            self._open.discard()

    def _part(self) -> OpenPart:
        if self._open is None:
            self._open = self._journal.begin_part()
            self._open.write({REJECTS: b""})
        return self._open

    def _finish(self, next_row: int | None) -> None:
        self._journal.finish_part(self._part(), self._counts, next_row)
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
        reason = outcome.changed(field="the text", index=None).message()
        rejects.append(_reject(rows.pop(index), reason))
        [outcome] = embed(iter([[row.text for row in rows]]))
    embedded = Embedded(rows, outcome.vectors, outcome.token_counts, outcome.truncated) if rows else None
    if embedded and rules.limit is not None and any(embedded.truncated):
        reason = f"the text has more than {rules.limit} tokens with its prompt, and truncate is 'error'"
        cut = [row for row, truncated in zip(rows, embedded.truncated, strict=True) if truncated]
        rejects += [_reject(row, reason) for row in cut]
        embedded = _kept(embedded)
    rejects.sort(key=lambda reject: reject.number)
    return _Done(embedded, rejects, chunk.position, chunk.next_row)


def _kept(embedded: Embedded) -> Embedded | None:
    """Those that are not truncated."""
    kept = [index for index, truncated in enumerate(embedded.truncated) if not truncated]
    if not kept:
        return None
    rows, tokens = [embedded.rows[index] for index in kept], [embedded.tokens[index] for index in kept]
    return Embedded(rows, embedded.vectors[kept], tokens, [False] * len(kept))


def _index(error: EmbeddingError) -> int | None:
    """Which of the texts cannot be embedded; None where it is not the texts."""
    is_of_a_text = isinstance(error, InputError | NonFiniteVectorError) and error.field in ("texts", "vectors")
    return error.index if is_of_a_text else None


def _reject(row: Row, reason: str) -> Reject:
    where = "" if row.end is None else f"characters {row.begin} to {row.end}: "
    return Reject(row.number, row.line, row.id, where + reason)


def _stop(reason: str, number: int, line: int | None, key: str | None) -> EmbeddingError:
    where = f"line {line}" if line is not None else f"row {number}"
    name = "" if key in (None, str(number)) else f" (id {key!r})"
    return WorkerError(f"{where}{name}: {reason}. --strict ends the run there; without it, such rows are left out.")


def _all_rejects(journal: Journal, path: Path) -> Path:
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


def kept(journal: Journal, command: str = "the same command") -> str:
    """What is safe of a job that ends before its time, and how it goes on, by which ``command``."""
    if not journal.parts:
        return "Nothing is finished yet; the same command begins anew."
    if journal.complete:
        return f"All is embedded and kept in {journal.folder}; {command} puts it together."
    return f"The first {journal.rows_done:,} rows are kept in {journal.folder}; {command} goes on after them."
