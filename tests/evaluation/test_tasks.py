"""Folders in BEIR's layout: what is read, and what is refused with file and line."""

from pathlib import Path

import pytest

from akidb_embeddings.errors import InputError
from akidb_embeddings.evaluation.tasks import RetrievalTask, read_task
from tests.task_files import DOCUMENTS, JUDGEMENTS, QUERIES, write_beir, write_json_lines, write_lines


def read(folder: Path, split: str | None = None) -> RetrievalTask:
    task = read_task(folder, split)
    assert isinstance(task, RetrievalTask)
    return task


def texts(task: RetrievalTask, titles: bool) -> dict[str, str]:
    """Each id with the text that stands at its place, read in two blocks."""
    ids = task.corpus.ids
    found = task.corpus.texts([0], titles) + task.corpus.texts(range(1, len(ids)), titles)
    return dict(zip(ids, found, strict=True))


def test_a_folder_is_read(tmp_path: Path) -> None:
    task = read(write_beir(tmp_path / "pets"))
    assert task.name == "pets"
    assert list(task.queries) == ["q1", "q2", "q3"]
    assert task.unjudged == 1
    assert task.judgements == {"q1": {"cat": 2}, "q2": {"bread": 1, "cat": 0}, "q3": {"moon": 1}}
    assert list(task.corpus.ids) == ["moon", "code", "cat", "bread"]
    assert task.corpus.titled == 3


def test_titles_stand_before_texts_or_not(tmp_path: Path) -> None:
    task = read(write_beir(tmp_path))
    assert texts(task, titles=False) == {key: text for key, (_, text) in DOCUMENTS.items()}
    assert texts(task, titles=True) == {
        key: f"{title} {text}" if title else text for key, (title, text) in DOCUMENTS.items()
    }


def test_space_around_a_document_is_left_out_as_in_beir_and_mteb(tmp_path: Path) -> None:
    task = read(write_beir(tmp_path, {"moon": ("", " a \n"), "cat": ("T", "b "), "bread": (" T", "c")}))
    assert texts(task, titles=True) == {"moon": "a", "cat": "T b", "bread": "T c"}
    assert texts(task, titles=False) == {"moon": "a", "cat": "b", "bread": "c"}


def test_the_order_of_the_file_changes_nothing(tmp_path: Path) -> None:
    backwards = dict(reversed(DOCUMENTS.items())), dict(reversed(QUERIES.items())), JUDGEMENTS[::-1]
    one, other = read(write_beir(tmp_path / "a")), read(write_beir(tmp_path / "b", *backwards))
    assert one.corpus.ids == other.corpus.ids
    assert list(one.queries.items()) == list(other.queries.items())
    assert list(one.judgements) == list(other.judgements) == list(one.queries)
    assert texts(one, titles=True) == texts(other, titles=True)


def test_texts_are_found_behind_a_mark_blank_lines_and_other_scripts(tmp_path: Path) -> None:
    write_beir(tmp_path, {"é": ("", "Grüße ☃"), "cat": ("", "b"), "moon": ("", "c"), "bread": ("", "d")})
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(b"\xef\xbb\xbf" + corpus.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert texts(read(tmp_path), titles=False) == {"é": "Grüße ☃", "cat": "b", "moon": "c", "bread": "d"}


def test_a_title_may_be_missing_or_null_and_an_id_a_number(tmp_path: Path) -> None:
    write_beir(tmp_path, judgements=[("q1", "7", 1)])
    write_json_lines(tmp_path / "corpus.jsonl", [{"_id": 7, "text": "a"}, {"_id": "8", "title": None, "text": "b"}])
    task = read(tmp_path)
    assert texts(task, titles=True) == {"7": "a", "8": "b"}
    assert task.corpus.titled == 0


def test_judgements_need_no_heading(tmp_path: Path) -> None:
    write_beir(tmp_path)
    rows = (tmp_path / "qrels.tsv").read_text().splitlines()[1:]
    write_lines(tmp_path / "qrels.tsv", [*rows, "", rows[1]])  # a repeated line says nothing else
    assert read(tmp_path).judgements == read(write_beir(tmp_path / "headed")).judgements


def test_a_split_names_the_file_of_judgements(tmp_path: Path) -> None:
    write_beir(tmp_path, qrels="qrels/test.tsv")
    write_beir(tmp_path, judgements=JUDGEMENTS[:1], qrels="qrels/dev.tsv")
    assert len(read(tmp_path).queries) == 3
    assert len(read(tmp_path, "dev").queries) == 1
    with pytest.raises(InputError, match=r"no judgements: no qrels/train\.tsv\. It has the splits dev, test: choose"):
        read(tmp_path, "train")
    write_beir(tmp_path)
    with pytest.raises(InputError, match=r"qrels\.tsv and qrels/test\.tsv: remove one, or give --split test"):
        read(tmp_path)


def test_repeated_queries_are_counted_and_merged_on_demand(tmp_path: Path) -> None:
    queries = {"q1": "a", "q2": "b", "q3": "a"}
    judgements = [("q1", "cat", 2), ("q2", "bread", 1), ("q3", "cat", 1), ("q3", "moon", 1)]
    task = read(write_beir(tmp_path, queries=queries, judgements=judgements))
    assert (task.repeated, task.merged) == (1, 0)
    merged = task.with_merged_queries()
    assert merged.queries == {"q1": "a", "q2": "b"}
    assert merged.judgements == {"q1": {"cat": 2, "moon": 1}, "q2": {"bread": 1}}
    assert (merged.repeated, merged.merged) == (0, 1)
    assert task.judgements["q1"] == {"cat": 2}


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("corpus.jsonl", '{"_id": "x", "text"', "corpus.jsonl, line 2 is not valid JSON: Expecting ':'"),
        ("corpus.jsonl", "[1]", "corpus.jsonl, line 2 is not a JSON object like"),
        ("corpus.jsonl", '{"text": "a"}', "corpus.jsonl, line 2: _id is None; a string that is not empty is expected"),
        ("corpus.jsonl", '{"_id": true, "text": "a"}', "corpus.jsonl, line 2: _id is True;"),
        ("corpus.jsonl", '{"_id": "cat", "text": "a"}', "corpus.jsonl, line 2: the id 'cat' is used in line 1;"),
        ("corpus.jsonl", '{"_id": "x"}', "corpus.jsonl, line 2: text is None; a string is expected."),
        ("corpus.jsonl", '{"_id": "x", "text": "a", "title": 3}', "corpus.jsonl, line 2: title is 3; a string"),
        ("corpus.jsonl", "[" * 100_000, "corpus.jsonl, line 2 is not valid JSON"),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}', "queries.jsonl, line 2: the id 'q1' is used in line 1;"),
        ("queries.jsonl", "nothing", "queries.jsonl, line 2 is not valid JSON"),
        ("qrels.tsv", "q1\tdog\t1", "qrels.tsv, line 2: the document 'dog' is not in corpus.jsonl. Add it there"),
        ("qrels.tsv", "q9\tcat\t1", "qrels.tsv, line 2: the query 'q9' is not in queries.jsonl."),
        ("qrels.tsv", "q1\tcat\thigh", "qrels.tsv, line 2 is not query id, document id and an integer score"),
        ("qrels.tsv", "q1 0 cat 1", "qrels.tsv, line 2 is not query id, document id and an integer score"),
        (
            "qrels.tsv",
            "q1\tcat\t1",
            "qrels.tsv, line 3: 'q1' and 'cat' have the score 2 here and 1 in an earlier line;",
        ),
    ],
)
def test_a_line_that_cannot_be_is_named(file: str, line: str, message: str, tmp_path: Path) -> None:
    write_beir(tmp_path)
    first, *rest = (tmp_path / file).read_text().splitlines()
    write_lines(tmp_path / file, [first, line, *rest])
    with pytest.raises(InputError) as raised:
        read(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / message}")


@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_file_that_is_not_utf8_is_named(file: str, tmp_path: Path) -> None:
    write_beir(tmp_path)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes() + b'{"_id": "\xff"}\n')
    with pytest.raises(InputError, match=rf"{file}, line \d+ is not valid"):
        read(tmp_path)


@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_an_empty_or_missing_file_is_named(file: str, tmp_path: Path) -> None:
    write_beir(tmp_path)
    write_lines(tmp_path / file, ["", " "])
    expected = (
        rf"{file} (is empty; one \w+ per line is|has no judgements; query id, document id and score are) expected"
    )
    with pytest.raises(InputError, match=expected):
        read(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match=rf"has no ({file}|judgements: no qrels\.tsv or qrels/test\.tsv)"):
        read(tmp_path)


def test_what_is_no_task_says_what_one_is(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path, write_lines(tmp_path / "notes.txt", ["a"])):
        with pytest.raises(
            InputError, match=r"A task is a folder with corpus\.jsonl, queries\.jsonl and qrels\.tsv, or"
        ):
            read_task(path)
