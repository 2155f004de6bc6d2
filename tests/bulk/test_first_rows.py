"""Jobs of which no row can be embedded: an error that says what to change, and nothing is left of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb_embeddings.bulk.first_rows import FIRST_ROWS, FirstRows
from akidb_embeddings.bulk.progress import Progress
from akidb_embeddings.bulk.resume import open_journal
from akidb_embeddings.bulk.rows import Problem, Reject, Row, RowOrReject
from akidb_embeddings.bulk.run import embed_concurrently, embed_remaining
from akidb_embeddings.errors import InputError
from akidb_embeddings.service.result import EmbeddingResult
from tests.bulk.inputs import read, write
from tests.bulk.jobs import JOB, embed, json_lines, names, output, rows, run_job

PARTS = JOB | {"part_rows": 8192}


def bad(count: int, reason: str = "bad") -> list[RowOrReject]:
    return [Reject(number, number + 1, None, reason) for number in range(count)]


def told(items: list[RowOrReject]) -> str:
    """The error about these rejects, between what is always the same."""
    first = FirstRows(0)
    first.add([item for item in items if isinstance(item, Reject)], embedded=False)
    with pytest.raises(InputError) as error:
        first.end()
    message = str(error.value)
    assert " be embedded; " in message
    assert message.endswith(" Nothing was written.")
    return message.partition("; ")[2].removesuffix(" Nothing was written.")


def test_a_thousand_rejects_at_the_beginning_end_the_job(tmp_path: Path) -> None:
    def endless() -> Iterator[RowOrReject]:
        yield from bad(FIRST_ROWS + 1)
        raise AssertionError("it reads on")

    with pytest.raises(InputError, match=r"none of the first 1,000 rows can be embedded; line 1: bad\. Nothing was"):
        run_job(endless(), tmp_path / "out.jsonl", job=PARTS)
    assert names(tmp_path) == []


@pytest.mark.parametrize("count", [1, 5, 25])
def test_no_row_at_all_is_an_error_and_leaves_nothing(count: int, tmp_path: Path) -> None:
    """Also if some parts were finished: they have ten rows."""
    which = f"none of the {count} rows can" if count > 1 else "the only row cannot"
    with pytest.raises(InputError, match=rf"{which} be embedded; line 1: bad\. Nothing was written"):
        run_job(bad(count), tmp_path / "out.jsonl")
    assert names(tmp_path) == []
    run_job(rows(5), tmp_path / "out.jsonl", job=JOB | {"fingerprint": "another"})  # nothing is in its way
    assert len(json_lines(tmp_path / "out.jsonl")) == 5


def test_an_earlier_output_stays(tmp_path: Path) -> None:
    run_job(mixed := [*bad(3), *rows(9)[3:]], tmp_path / "out.jsonl")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["out.jsonl", "out.jsonl.json", "out.jsonl.rejects.jsonl"]
    with (
        pytest.raises(InputError, match="none of the 3 rows"),
        open_journal(tmp_path / "out.jsonl", JOB | {"fingerprint": "2"}, overwrite=True) as journal,
    ):
        embed_remaining(bad(3), embed_concurrently(embed), output(), journal, Progress(None))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    run_job(mixed, tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    "items",
    [
        [*bad(FIRST_ROWS - 1), Row(FIRST_ROWS, "x", "text")],
        [Row(0, "x", "text"), *bad(3 * FIRST_ROWS)[1:]],
        [*bad(600), *bad(1200, "bad in another way")[600:], Row(1200, "x", "text")],
    ],
)
def test_other_jobs_go_on(items: list[RowOrReject], tmp_path: Path) -> None:
    journal = run_job(items, tmp_path / "out.jsonl", job=PARTS)
    assert (journal.counts.rows, journal.counts.rejects) == (1, len(items) - 1)


@pytest.mark.long
def test_a_job_that_has_rows_goes_on_whatever_comes(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    items = [Row(0, "x", "text"), *bad(2010)[1:]]
    with pytest.raises(InputError, match="damaged"):
        run_job(_breaking(items[:25]), out)
    assert run_job(items, out).counts.rejects == 2009


def _breaking(items: list[RowOrReject]) -> Iterator[RowOrReject]:
    yield from items
    raise InputError("damaged")


def test_texts_that_the_model_refuses_count(tmp_path: Path) -> None:
    def refuse(texts: list[str]) -> EmbeddingResult:
        if texts:
            raise InputError(field="texts", index=0, reason="has no tokens")
        return embed(texts)

    with pytest.raises(InputError, match=r"none of the 5 rows can .*; line 1: the text has no tokens\. Nothing"):
        run_job([Row(n, str(n), "x", line=n + 1) for n in range(5)], tmp_path / "out.jsonl", embed=refuse)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("records", "text", "key", "advice"),
    [
        (
            [{"id": "a1", "title": "short", "body": "a longer one", "year": 3}] * 2,
            "text",
            None,
            "line 1: no field 'text'; the record has 'id', 'title', 'body', 'year'. Give --text-field body or "
            "--text-field title.",
        ),
        ([{"meta": {"text": "deep"}, "n": 1}] * 3, "text", None, "'meta', 'n'. Give --text-field meta.text."),
        ([{"text": None, "my body": "x"}], "text", None, "is null; a string is expected. Give --text-field 'my body'."),
        ([{"text": "x"}, {"body": "y"}, {"body": "z"}], "none", None, "the record has 'text'. Give --text-field body."),
        ([{"id": "x"}] * 2, "text", None, "the record has 'id'. Give --text-field id."),
        ([{"n": 1}], "text", None, "the record has 'n'. Name the field of the texts with --text-field."),
        (
            [{"title": "x", "_id": 7, "text": "t"}] * 2,
            "text",
            "id",
            "no field 'id'; the record has 'title', '_id', 'text'. Give --id-field _id, or leave out --id-field: the "
            "ids are then the rows' numbers.",
        ),
        ([{"name": "x", "text": "t"}], "text", "id", "Give --id-field name, or leave out --id-field"),
        ([{"text": "t"}], "text", "id", "the record has 'text'. Leave out --id-field: the ids are then"),
        (
            ["a text", "another"],
            "text",
            None,
            "line 1: not a JSON object. JSON lines have one JSON object on",
        ),
    ],
)
def test_the_error_says_which_option_is_likely_wrong(
    records: list[object], text: str, key: str | None, advice: str, tmp_path: Path
) -> None:
    items = read(write(tmp_path / "in.jsonl", records), text=text, key=key)
    assert advice in told(items)


@pytest.mark.parametrize(
    ("content", "form", "advice"),
    [
        (b"a text\nanother\n", "jsonl", "If each line is a text, give --format lines."),
        (b'[\n{\n"text": "x"\n}\n]\n', "jsonl", "`jq -c '.[]' FILE` prints a JSON array that way."),
        (b"text\na,b\nc,d\n", "csv", "2 columns; the header has 1. CSV has as many columns on each line as"),
        ("é\nü\n".encode("latin1"), "lines", "Convert the input to UTF-8, for example: iconv -f latin1 -t utf-8."),
    ],
)
def test_a_wrong_format_is_named(content: bytes, form: str, advice: str, tmp_path: Path) -> None:
    assert advice in told(read(write(tmp_path / "in.x", content), form))


@pytest.mark.parametrize("kind", Problem)
def test_every_kind_of_problem_has_a_whole_sentence(kind: Problem) -> None:
    assert told([Reject(4, None, None, "why not", kind)]).startswith("row 4: why not.")
