"""Running a job: reading, embedding and writing at the same time, and collecting rejects.

The same job gives the same bytes, even if it was killed and resumed. So texts are embedded in chunks that depend only
on their part, and that share no micro-batch: how a matrix product is rounded depends on all rows in it.
"""

import contextlib
import functools
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from akidb_embeddings.bulk.chunks import Chunk, make_chunks
from akidb_embeddings.bulk.concurrency import WriteBehind, map_in_order, read_ahead
from akidb_embeddings.bulk.first_rows import FirstRows, NothingEmbeddedError
from akidb_embeddings.bulk.journal import Journal
from akidb_embeddings.bulk.outputs import EmbeddedRows, Output
from akidb_embeddings.bulk.progress import Progress
from akidb_embeddings.bulk.rows import Problem, Reject, Row, RowOrReject
from akidb_embeddings.bulk.writing import EmbeddedChunk, PartsWriter
from akidb_embeddings.errors import EmbeddingError, InputError, UnusableVectorError, WorkerError

if TYPE_CHECKING:
    from akidb_embeddings.service.result import EmbeddingResult

_CHUNKS_AHEAD = 4
# Chunks embedded at a time: while one is computed, the next is tokenized.
_CHUNKS_AT_ONCE = 2
# If more texts of one chunk give no finite vector, the cause is not in the texts.
_MAX_UNUSABLE = 16

Outcome: TypeAlias = "EmbeddingResult | EmbeddingError"
# Maps lists of texts to one result or error per list, in order. Errors are values: the other lists are embedded.
EmbedFunction = Callable[[Iterator[list[str]]], Generator[Outcome]]


@dataclass(frozen=True)
class RejectPolicy:
    """How rows that cannot be embedded are handled.

    Attributes:
        strict: Whether the first one ends the run.
        limit: Reject texts with more tokens, which are the truncated ones; None to accept truncated texts.
    """

    strict: bool = False
    limit: int | None = None


def embed_concurrently(
    encode: Callable[..., "EmbeddingResult"], advance: Callable[[list[str], int], object] | None = None
) -> EmbedFunction:
    """Make an ``EmbedFunction`` from a function that may be called from several threads at once.

    Args:
        encode: Embeds a list of texts. With ``advance``, it must take ``progress`` as ``EmbeddingService.encode`` does.
        advance: Called with a list and a number of texts whenever that many more of it are done.
    """

    def attempt(texts: list[str]) -> Outcome:
        try:
            if advance is not None:
                return encode(texts, progress=functools.partial(advance, texts))
            return encode(texts)
        except EmbeddingError as error:
            return error

    return lambda lists: map_in_order(attempt, lists, _CHUNKS_AT_ONCE)


def embed_remaining(
    items: Iterable[RowOrReject],
    embed: EmbedFunction,
    output: Output,
    journal: Journal,
    progress: Progress,
    policy: RejectPolicy = RejectPolicy(),
    position: Callable[[], int | None] = lambda: None,
    scale: int = 1,
) -> None:
    """Embed the rows that are not in the journal yet.

    Args:
        items: Rows and rejects from row ``journal.rows_done`` on; iterated over on another thread.
        embed: Embeds lists of texts.
        output: Serializes the results.
        journal: Saves them.
        progress: Reports them.
        policy: How rejects are handled.
        position: See ``make_chunks``.
        scale: See ``make_chunks``.

    Raises:
        InputError: The input ends before row ``journal.rows_done``, or is damaged.
        NothingEmbeddedError: None of its rows, or of the first thousand, can be embedded. No part is kept.
        EmbeddingError: A row was rejected and ``policy.strict`` is set; or the disk cannot be written to, for example
            because it is full. Finished parts are kept, and the same job resumes after them.
    """
    _check_earlier_rejects(policy, journal)
    if journal.complete:
        return
    begun = _check_not_shortened(items, journal, progress, position)
    chunks = progress.watch(make_chunks(begun, journal.job, position, journal.rows_done, scale))
    progress.start(journal.counts.vectors)
    with (
        contextlib.closing(PartsWriter(output, journal)) as parts,
        WriteBehind(_CHUNKS_AHEAD) as writing,
        read_ahead(chunks, _CHUNKS_AHEAD) as read,
    ):
        with (
            _leave_nothing(journal, writing),
            contextlib.closing(_embed_chunks(read, embed, policy, progress)) as finished,
        ):
            for done in _check_rejects(finished, policy, journal):
                tokens = done.embedded.tokens if done.embedded else ()
                progress.finish(len(tokens), sum(tokens))
                writing.call(functools.partial(parts.add, done))
        writing.call(parts.end)
        writing.finish()
    progress.complete()


def _check_earlier_rejects(policy: RejectPolicy, journal: Journal) -> None:
    """Raise at the first reject that an earlier run has saved, if that is the rule."""
    for earlier in journal.rejects() if policy.strict else ():
        raise _strict_error(earlier["reason"], earlier["number"], earlier["line"], earlier["id"])


@contextlib.contextmanager
def _leave_nothing(journal: Journal, writing: WriteBehind) -> Iterator[None]:
    """Discard the parts of a job without any vector, so that they are not in the way of the right command."""
    try:
        yield
    except NothingEmbeddedError:
        writing.finish()
        journal.discard()
        raise


def _check_rejects(chunks: Iterator[EmbeddedChunk], policy: RejectPolicy, journal: Journal) -> Iterator[EmbeddedChunk]:
    """Pass chunks on; raise at the first reject if that is the rule, or if nothing but rejects comes."""
    first = FirstRows(journal.counts.vectors, journal.out if journal.out.exists() else None)
    for done in chunks:
        if policy.strict and done.rejects:
            reject = done.rejects[0]
            raise _strict_error(reject.reason, reject.number, reject.line, reject.id)
        first.add(done.rejects, embedded=done.embedded is not None)
        yield done
    first.end()


def _check_not_shortened(
    items: Iterable[RowOrReject], journal: Journal, progress: Progress, position: Callable[[], int | None]
) -> Iterator[RowOrReject]:
    """Pass the items on, set where ``progress`` starts, and check that a resumed input has rows after those done."""
    iterator, rows_done = iter(items), journal.rows_done
    for item in itertools.islice(iterator, 1):
        if rows_done:
            progress.start_at(position())
        yield item
        yield from iterator
        return
    if rows_done:  # a part is only finished when the row behind it has been read
        raise InputError(
            f"The input ends within the {rows_done:,} rows that are done, but had more rows before: it is another "
            "input, or was cut off."
        )


def _embed_chunks(
    chunks: Iterator[Chunk], embed: EmbedFunction, policy: RejectPolicy, progress: Progress
) -> Generator[EmbeddedChunk]:
    """Embed the chunks, in order."""
    waiting: deque[Chunk] = deque()

    def texts() -> Iterator[list[str]]:
        for chunk in chunks:
            waiting.append(chunk)
            listed = [row.text for row in chunk.rows]
            progress.begin(listed)
            yield listed

    with contextlib.closing(embed(texts())) as outcomes:
        for outcome in outcomes:
            yield _embedded_chunk(waiting.popleft(), outcome, embed, policy)


def _embedded_chunk(chunk: Chunk, outcome: Outcome, embed: EmbedFunction, policy: RejectPolicy) -> EmbeddedChunk:
    """The chunk's result. A row that has no vector becomes a reject, and the others are embedded again without it."""
    rows, rejects = list(chunk.rows), list(chunk.rejects)
    unusable = 0
    while isinstance(outcome, EmbeddingError):
        index = _text_index(outcome)
        unusable += isinstance(outcome, UnusableVectorError)
        if index is None or index >= len(rows) or unusable > _MAX_UNUSABLE:
            raise outcome
        reason = outcome.changed(field="the text", index=None).message()
        rejects.append(_make_reject(rows.pop(index), reason))
        [outcome] = embed(iter([[row.text for row in rows]]))
    embedded = EmbeddedRows(rows, outcome.vectors, outcome.token_counts, outcome.truncated) if rows else None
    if embedded and policy.limit is not None and any(embedded.truncated):
        reason = f"the text has more than {policy.limit} tokens with its prompt, and truncate is 'error'"
        cut = [row for row, truncated in zip(rows, embedded.truncated, strict=True) if truncated]
        rejects += [_make_reject(row, reason, Problem.TOO_MANY_TOKENS) for row in cut]
        embedded = _without_truncated(embedded)
    rejects.sort(key=lambda reject: reject.number)
    return EmbeddedChunk(embedded, rejects, chunk.next_row)


def _without_truncated(embedded: EmbeddedRows) -> EmbeddedRows | None:
    """The rows that are not truncated."""
    kept = [index for index, truncated in enumerate(embedded.truncated) if not truncated]
    if not kept:
        return None
    rows, tokens = [embedded.rows[index] for index in kept], [embedded.tokens[index] for index in kept]
    return EmbeddedRows(rows, embedded.vectors[kept], tokens, [False] * len(kept))


def _text_index(error: EmbeddingError) -> int | None:
    """The index of the text that caused the error; None if no text did."""
    is_of_a_text = isinstance(error, InputError | UnusableVectorError) and error.field in ("texts", "vectors")
    return error.index if is_of_a_text else None


def _make_reject(row: Row, reason: str, problem: Problem = Problem.OTHER) -> Reject:
    where = "" if row.end is None else f"characters {row.begin} to {row.end}: "
    return Reject(row.number, row.line, row.id, where + reason, problem)


def _strict_error(reason: str, number: int, line: int | None, key: str | None) -> EmbeddingError:
    where = f"line {line}" if line is not None else f"row {number}"
    name = "" if key in (None, str(number)) else f" (id {key!r})"
    return WorkerError(f"{where}{name}: {reason}. --strict ends the run here; without it, such rows are left out.")


def how_to_resume(journal: Journal, command: str = "the same command") -> str:
    """Describe what is saved of a job that was interrupted, and how to resume it.

    Args:
        journal: The job's journal.
        command: What to call the command that resumes it.
    """
    if not journal.parts:
        return "Nothing is finished yet; the same command starts from the beginning."
    if journal.complete:
        return f"All rows are embedded and kept in {journal.folder}; {command} assembles the output."
    return f"The first {journal.rows_done:,} rows are kept in {journal.folder}; {command} resumes after them."
