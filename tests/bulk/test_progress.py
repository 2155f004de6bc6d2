"""What a job says about its progress, with texts that take a known time on a clock of the test's own."""

import random
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from akidb_embeddings.bulk import chunks, display
from akidb_embeddings.bulk.chunks import make_chunks
from akidb_embeddings.bulk.display import Status
from akidb_embeddings.bulk.passages import PassageSplitter
from akidb_embeddings.bulk.progress import Progress
from akidb_embeddings.bulk.resume import open_journal
from akidb_embeddings.bulk.rows import Row, RowOrReject
from akidb_embeddings.bulk.run import embed_concurrently, embed_remaining
from akidb_embeddings.bulk.sources import open_source
from akidb_embeddings.bulk.writing import assemble_output
from akidb_embeddings.service.result import EmbeddingResult
from tests.bulk.inputs import write
from tests.bulk.jobs import JOB, StopError, embed, output, rows, run_job
from tests.fixtures import long_but

LIMIT = 256
PARTS = JOB | {"part_rows": 1024}
# Texts that are computed together; long ones come first in a chunk.
ROUND = 32


def cost(text: str) -> float:
    """Seconds for a text: some for each text, some for each token, and some for each pair of its tokens.

    A token of 250 costs 13 % more than one of 5: about what the bundled model takes on two cores.
    """
    tokens = min(len(text) / 4.4, LIMIT) + 2
    return 3e-4 + 170e-6 * tokens * (1 + tokens / 2000)


@dataclass
class Clock:
    now: float = 1000.0
    seen: list[tuple[float, Status]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def timed(
    clock: Clock, progress: Progress, ends_at: float = 1.0
) -> Callable[[Iterator[list[str]]], Generator[EmbeddingResult]]:
    """An embed function that takes the texts' known time, and looks at the status whenever some are done."""

    def function(lists: Iterator[list[str]]) -> Generator[EmbeddingResult]:
        for texts in lists:
            ordered = sorted(texts, key=len, reverse=True)
            for begin in range(0, len(texts), ROUND):
                done = ordered[begin : begin + ROUND]
                clock.now += sum(map(cost, done))
                progress.advance(texts, len(done))
                clock.seen.append((clock.now, progress.status()))
            yield embed(texts)
            if (progress.status().share or 0) > ends_at:
                raise StopError

    return function


def embed_file(path: Path, clock: Clock, out: Path, ends_at: float = 1.0) -> Progress:
    """Embed a file as the command does; ``clock.seen`` gets what was shown."""
    clock.seen.clear()
    with (
        open_source(str(path), format=None, text_field="text", id_field=None) as source,
        open_journal(out, PARTS) as journal,
    ):
        source.skip = journal.rows_done
        progress = Progress(source.total_bytes, limit=LIMIT)
        function = timed(clock, progress, ends_at)
        embed_remaining(source, function, output(), journal, progress, position=lambda: source.read_bytes)
    return progress


def left(status: Status) -> int:
    """The seconds that a status says are left."""
    found = re.search(r"(?:(\d+):)?(\d+):(\d\d) left", status.line)
    assert found, status
    hours, minutes, seconds = (int(value or 0) for value in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def errors(clock: Clock, since: float = 0.1) -> list[float]:
    """How far off the time left was after the first tenth, relative to what was left; the last seconds in seconds."""
    begin, end = 1000.0, clock.now
    return [
        abs(left(status) - (end - now)) / max(end - now, 8)
        for now, status in clock.seen
        if now - begin > since * (end - begin) and end - now > 1
    ]


def texts(*lengths: int) -> list[str]:
    return ["x" * length for length in lengths]


RANDOM = random.Random(7)
SHORT = texts(*(RANDOM.randint(10, 60) for _ in range(6000)))
LONG = texts(*(RANDOM.randint(500, 1100) for _ in range(1500)))
MIXED = texts(*(RANDOM.choice((20, 50, 100, 300, 700, 1000)) for _ in range(6000)))
WITH_CUT = texts(*(RANDOM.choice((20, 50, 100, 300, 700, 1500, 6000)) for _ in range(6000)))
KINDS = {
    "short": SHORT,
    "long": LONG,
    "mixed": MIXED,
    "mixed, many cut": WITH_CUT,
    "short texts first": SHORT + LONG,
    "long texts first": LONG + SHORT,
    "ascending": sorted(MIXED, key=len),
    "descending": sorted(MIXED, key=len, reverse=True),
    "few": MIXED[:900],
}


@pytest.mark.parametrize("kind", long_but(KINDS, "mixed", "few"))
def test_the_time_left_is_within_a_quarter_after_the_first_tenth(kind: str, tmp_path: Path, clock: Clock) -> None:
    path = write(tmp_path / "in.jsonl", ({"text": text} for text in KINDS[kind]))
    embed_file(path, clock, tmp_path / "out.jsonl")
    assert max(errors(clock)) < 0.25


@pytest.mark.parametrize("suffix", long_but(["txt", "csv", "jsonl.gz"], "txt"))
def test_the_time_left_of_other_formats(suffix: str, tmp_path: Path, clock: Clock) -> None:
    words = [" ".join(RANDOM.choices(["time", "way", "water", "Straße", "number"], k=len(text) // 5)) for text in MIXED]
    heading = ["text"] if suffix == "csv" else []
    lines = "\n".join(heading + words) + "\n"
    path = write(tmp_path / f"in.{suffix}", ({"text": text} for text in words) if "json" in suffix else lines)
    embed_file(path, clock, tmp_path / "out.jsonl")
    assert max(errors(clock)) < 0.25


@pytest.mark.long
def test_the_time_left_cannot_know_that_the_rest_will_be_cut(tmp_path: Path, clock: Clock) -> None:
    """The limit of an estimate that has not read the rest: docs/bulk.md says so. It is right once the rest began."""
    path = write(tmp_path / "in.jsonl", ({"text": text} for text in SHORT * 3 + texts(*[12_000] * 1500)))
    embed_file(path, clock, tmp_path / "out.jsonl")
    assert errors(clock)[0] > 1
    assert max(errors(clock, since=0.5)) < 0.25


def test_it_is_not_done_before_every_text_is_embedded(tmp_path: Path, clock: Clock) -> None:
    """The whole input is read long before: it has five chunks."""
    path = write(tmp_path / "in.jsonl", ({"text": text} for text in MIXED[:2500]))
    progress = embed_file(path, clock, tmp_path / "out.jsonl")
    percentages = [status.percentage or 0 for _, status in clock.seen]
    assert percentages == sorted(percentages)
    assert percentages[-1] == 99
    begin, end = 1000.0, clock.now
    for now, status in clock.seen:
        assert abs((status.percentage or 0) - 100 * (now - begin) / (end - begin)) < 6
    assert progress.status().percentage == 100
    assert re.fullmatch(r"2,500 texts, [\d,]+ texts/s, [\d,]+ tokens/s", progress.status().line)
    counts = [int(status.line.partition(" ")[0].replace(",", "")) for _, status in clock.seen]
    assert counts == sorted({*counts})
    assert len(counts) > 2500 / ROUND
    assert clock.seen[-1][1].line.startswith("2,500 of 2,500 texts, 0:00 left, ")


@pytest.mark.long
def test_the_number_of_texts_is_estimated_until_the_input_was_read(tmp_path: Path, clock: Clock) -> None:
    path = write(tmp_path / "in.jsonl", ({"text": text} for text in MIXED))
    embed_file(path, clock, tmp_path / "out.jsonl")
    totals = [re.search(r" of (~?)([\d,]+) texts", status.line) for _, status in clock.seen]
    assert all(totals)
    numbers = [int(found[2].replace(",", "")) for found in totals if found]
    assert all(abs(number - 6000) < 600 for number in numbers)
    assert [found[0] for found in (totals[0], totals[-1]) if found] == [f" of ~{numbers[0]:,} texts", " of 6,000 texts"]


def test_a_chunk_of_half_a_minute_is_counted_text_by_text(clock: Clock) -> None:
    progress = Progress(None)
    progress.start()
    chunk = chunks.Chunk(rows(60))
    assert list(progress.watch(iter([chunk]))) == [chunk]
    texts = [row.text for row in chunk.rows]
    progress.begin(texts)
    seen = [progress.status()]
    for _ in range(30):
        clock.now += 1
        progress.advance(texts, 2)
        seen.append(progress.status())
    assert len({status.line for status in seen}) == 31
    assert len({status.percentage for status in seen}) == 31
    assert seen[10].line == "20 of 60 texts, 0:20 left, 2 texts/s"
    progress.finish(60, 600)
    assert progress.status().line == "60 of 60 texts, 0:00 left, 2 texts/s, 20 tokens/s"


def test_while_nothing_happens_the_time_left_gets_shorter_and_then_longer(clock: Clock) -> None:
    """Work comes in steps; but what stands still is not nearly done."""
    progress = Progress(None)
    progress.start()
    chunk = chunks.Chunk(rows(100))
    list(progress.watch(iter([chunk])))
    texts = [row.text for row in chunk.rows]
    progress.begin(texts)
    for _ in range(5):
        clock.now += 4
        progress.advance(texts, 10)
    assert left(progress.status()) == 20
    clock.now += 4
    assert left(progress.status()) == 16
    clock.now += 60
    assert left(progress.status()) > 40


def test_without_a_size_there_are_counts_and_no_percentage(tmp_path: Path, clock: Clock) -> None:
    progress = Progress(None)
    seen = list[Status]()

    def function(lists: Iterator[list[str]]) -> Generator[EmbeddingResult]:
        for texts in lists:
            clock.now += 10
            seen.append(progress.status())
            yield embed(texts)

    with open_journal(tmp_path / "out", PARTS) as journal:
        embed_remaining(rows(9000), function, output(), journal, progress)
    assert {status.percentage for status in seen[:8]} == {None}
    assert re.fullmatch(r"512 texts, 26 texts/s, \d+ tokens/s", seen[1].line)
    assert re.match(r"8,704 of 9,000 texts, \d:\d\d left, ", seen[-1].line)  # all of it was read meanwhile


@pytest.mark.long
def test_a_job_that_goes_on_begins_where_it_was(tmp_path: Path, clock: Clock) -> None:
    path = write(tmp_path / "in.jsonl", ({"text": text} for text in MIXED))
    with pytest.raises(StopError):
        embed_file(path, clock, tmp_path / "out.jsonl", ends_at=0.55)
    before = clock.seen[-1][1].percentage or 0
    begin = clock.now
    progress = embed_file(path, clock, tmp_path / "out.jsonl")
    first = clock.seen[0][1]
    assert before - 20 < (first.percentage or 0) <= before
    assert 2048 < int(first.line.partition(" ")[0].replace(",", "")) <= 3500
    for now, status in clock.seen:
        if now - begin > 0.1 * (clock.now - begin) and clock.now - now > 8:
            assert left(status) == pytest.approx(clock.now - now, rel=0.25)
    assert progress.texts < 4000
    assert progress.status().line.startswith("6,000 texts, ")


def test_a_list_that_is_embedded_again_is_not_counted_twice(clock: Clock) -> None:
    progress = Progress(None)
    progress.start()
    list(progress.watch(iter([chunks.Chunk(rows(4))])))
    texts = [row.text for row in rows(4)]
    progress.begin(texts)
    progress.advance(texts, 3)
    progress.advance(texts[:3], 3)
    progress.advance([*texts], 4)
    clock.now += 1
    assert progress.status().line.startswith("3 of 4 texts")
    progress.advance(texts, 3)
    assert progress.status().line.startswith("4 of 4 texts")
    progress.finish(3, 10)
    assert progress.status().line.startswith("3 of 3 texts")


def test_the_service_s_callback_reaches_the_count() -> None:
    seen = list[tuple[list[str], int]]()

    def encode(texts: list[str], progress: Callable[[int], object]) -> EmbeddingResult:
        progress(1)
        return embed(texts)

    function = embed_concurrently(encode, lambda texts, count: seen.append((texts, count)))
    assert len(list(function(iter([["a"], ["b", "c"]])))) == 2
    assert sorted(seen) == [(["a"], 1), (["b", "c"], 1)]


def test_passages_end_within_their_row() -> None:
    """A row of four passages is 100 bytes: each takes its share of them, not all at once."""
    position = [0]

    def items() -> Iterator[Row]:
        for number in range(3):
            position[0] += 100
            yield Row(number, str(number), "one. two. six. ten. " * 4)

    def words(text: str) -> list[tuple[int, int]]:
        return [found.span() for found in re.finditer(r"\w", text)]

    splitter = PassageSplitter(22, 0, words, lambda text: len(words(text)) + 2)
    found = [
        chunk.position
        for item in splitter.split_rows(items())
        for chunk in make_chunks([item], PARTS, lambda: position[0])
    ]
    assert found[0] == 100  # each alone: its beginning is not known
    ends = [chunk.position or 0 for chunk in _single(splitter.split_rows(items()), position)]
    assert ends == sorted(ends)
    assert ends[-1] in (299, 300)  # white space at the end is in no passage
    assert len({*ends[3:]}) == len(ends[3:])


def _single(items: Iterable[RowOrReject], position: list[int]) -> list[chunks.Chunk]:
    position[0] = 0
    return list(make_chunks(items, PARTS | {"part_rows": 1, "part_characters": 1}, lambda: position[0]))


def test_the_bar_is_drawn_while_the_work_is_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "_TICK", 0.01)
    count = [0]

    def status() -> Status:
        count[0] += 1
        return Status(f"{count[0]} {{texts}}", 0.999)

    with display.Display(status, None, bar=True):
        deadline = time.monotonic() + 10
        while count[0] < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
    drawn = capsys.readouterr().err
    assert re.search(r"\r 99%\|.*\| 3 {texts}", drawn)
    assert "100%" not in drawn
    assert drawn.endswith("\n")


def test_plain_lines_come_every_ten_seconds_whatever_the_work_does(clock: Clock) -> None:
    said = list[str]()
    shown = display.Display(lambda: Status("3 of 4 texts", 0.756), said.append, bar=False)
    for _ in range(60):
        clock.now += 0.5
        shown.show()
    shown.close()
    assert said == ["75% done: 3 of 4 texts"] * 3


def test_putting_the_output_together_has_a_display_of_its_own(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    progress = Progress(None, said.append)
    with progress.assembling(400_000_000) as step:
        step.advance(100_000_000)
        step.show()
        assert said == []
        clock.now += 10
        step.show()
        step.advance(300_000_000)
        step.save()
        clock.now += 10
        step.show()
    assert said == [
        "25% done: joining the parts, 100 of 400 MB, 0:30 left",
        "99% done: all parts are joined; waiting for the disk",
    ]


@pytest.mark.parametrize("form", ["jsonl", "npy", "parquet"])
def test_every_byte_of_the_parts_is_counted(form: str, tmp_path: Path) -> None:
    made, counts = output(form), list[int]()
    journal = run_job(rows(95), tmp_path / "whole", made, then=lambda journal: counts.append(made.size(journal.parts)))
    assert journal.finished
    read = list[int]()
    assemble = made.assemble
    made.assemble = lambda parts, folder, advance: assemble(parts, folder, read.append)  # type: ignore[method-assign]
    run_job(rows(95), tmp_path / "again", made)
    assert sum(read) == counts[0] > 0


def test_what_is_done_already_is_put_together_without_a_rate(tmp_path: Path) -> None:
    with open_journal(tmp_path / "out", JOB) as journal:
        embed_remaining(rows(5), embed_concurrently(embed), output(), journal, Progress(None))
    with open_journal(tmp_path / "out", JOB) as journal:
        assert journal.complete
        progress = Progress(None)
        embed_remaining(rows(5), embed_concurrently(embed), output(), journal, progress)
        assemble_output(output(), journal, progress)
    assert progress.texts == 0
