"""Sentence pairs with scores, in the forms in which they are published."""

import gzip
import json
from pathlib import Path

import pytest

from akidb_embeddings.errors import InputError
from akidb_embeddings.evaluation.pairs import PairTask
from akidb_embeddings.evaluation.tasks import read_task
from tests.task_files import write_lines

EXPECTED = [('"Plane" taking off, now.', "A plane takes off.", 4.8), ("A man eats.", "A dog runs.", 0.0)]
TSV = [f"{first}\t{second}\t{score}" for first, second, score in EXPECTED]
CSV = ['"""Plane"" taking off, now.",A plane takes off.,4.8', "A man eats.,A dog runs.,0"]
ORIGINAL = [f"captions\tMSRvid\t2012test\t00{n}\t{s}\t{a}\t{b}" for n, (a, b, s) in enumerate(EXPECTED)]
GLUE = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"


def rows(task: object) -> list[tuple[str, str, float]]:
    assert isinstance(task, PairTask)
    return list(zip(task.first, task.second, task.scores, strict=True))


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("plain.tsv", TSV),
        ("headed.tsv", ["sentence1\tsentence2\tscore", *TSV]),
        ("stsb_multi_mt.csv", CSV),
        ("headed.csv", ["sentence1,sentence2,similarity_score", *CSV]),
        ("sts-test.csv", [ORIGINAL[0] + "\tlicence\tsource", ORIGINAL[1]]),
        ("glue.tsv", [GLUE, *(f"{n}\tg\tf\ty\t1\ts\tt\t{line}" for n, line in enumerate(TSV))]),
        (
            "mteb.jsonl",
            [json.dumps({"sentence1": a, "sentence2": b, "score": s, "genre": "x"}) for a, b, s in EXPECTED],
        ),
        ("hub.jsonl", [json.dumps({"label": s, "sentence2": b, "sentence1": a}) for a, b, s in EXPECTED]),
    ],
)
def test_a_published_form_is_read(name: str, lines: list[str], tmp_path: Path) -> None:
    file = write_lines(tmp_path / name, lines)
    task = read_task(file)
    assert rows(task) == EXPECTED
    assert isinstance(task, PairTask)
    assert task.name == file.stem
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert rows(read_task(packed)) == EXPECTED


def test_the_column_split_chooses_rows(tmp_path: Path) -> None:
    lines = ["split\tgenre\tscore\tsentence1\tsentence2", "train\tx\t1\ta\tb", "test\tx\t2\tc\td", "dev\tx\t3\te\tf"]
    file = write_lines(tmp_path / "stsbenchmark.tsv", lines)
    assert rows(read_task(file)) == [("c", "d", 2.0)]
    assert rows(read_task(file, "dev")) == [("e", "f", 3.0)]
    assert rows(read_task(tmp_path, "train")) == [("a", "b", 1.0)]
    with pytest.raises(InputError, match="has no rows of the split final; it has dev, test, train: choose one"):
        read_task(file, "final")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("absent.jsonl", ['{"split": "test", %s}', "", "{%s}", '{"split": "dev", %s}']),
        ("null.jsonl", ['{"split": "test", %s}', "", '{"split": null, %s}']),
        ("number.jsonl", ['{"split": "test", %s}', "", '{"split": 5, %s}']),
        ("empty.csv", ["split,sentence1,sentence2,score", "test,a,b,1", ",a,b,1"]),
    ],
)
def test_a_row_without_a_split_beside_others_with_one_is_named(tmp_path: Path, name: str, lines: list[str]) -> None:
    pair = '"sentence1": "a", "sentence2": "b", "score": 1'
    write_lines(tmp_path / name, [line.replace("%s", pair) for line in lines])
    with pytest.raises(InputError, match=rf"{name}, line 3 has no split, .* other lines have"):
        read_task(tmp_path / name, "test")


def test_a_folder_has_one_file_or_one_of_the_split(tmp_path: Path) -> None:
    folder = tmp_path / "stsb"
    write_lines(folder / "sts-test.csv", ORIGINAL)
    write_lines(folder / "readme.txt", ["no pairs"])
    assert rows(read_task(folder)) == EXPECTED
    write_lines(folder / "sts-dev.csv", ORIGINAL[:1])
    assert rows(read_task(folder)) == EXPECTED
    task = read_task(folder, "dev")
    assert rows(task) == EXPECTED[:1]
    assert isinstance(task, PairTask)
    assert (task.name, task.split) == ("stsb", "dev")
    with pytest.raises(InputError, match=r"has sts-dev\.csv, sts-test\.csv; name one of them"):
        read_task(folder, "train")


def test_a_split_that_a_file_does_not_have_is_refused(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "pairs.tsv", TSV)
    with pytest.raises(InputError, match=r"pairs\.tsv has no column split, and its name does not end in dev"):
        read_task(file, "dev")
    with pytest.raises(InputError, match=r"pairs\.tsv has no column split"):
        read_task(tmp_path, "dev")


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("a.tsv", [TSV[0], "only\ttwo"], r"line 2 has 2 columns\. Allowed are a header with sentence1, sentence2 and"),
        ("a.tsv", [TSV[0], "a\tb\tfine"], r"line 2: the score is 'fine'; a number is expected"),
        ("a.tsv", [TSV[0], "a\tb\tnan"], r"line 2: the score is 'nan'; a number is expected"),
        ("a.tsv", ["left\tright\tgold", *TSV], r"line 1 has 3 columns: left, right, gold\. Allowed are"),
        ("a.csv", ["a,b,1", '"c,d,1'], r"line 2 cannot be read: "),
        ("a.jsonl", ["", "{"], r"line 2 is not valid JSON"),
        ("a.jsonl", ["[]"], r"line 1 is not a JSON object with sentence1"),
        ("a.jsonl", ['{"sentence1": "a", "score": 1}'], r"line 1: sentence2 is None; a string is expected"),
        ("a.jsonl", ['{"sentence1": "a", "sentence2": "b"}'], r"line 1: the score is None; a number is expected"),
        ("a.jsonl", ['{"sentence1": "a", "sentence2": "b", "score": true}'], r"line 1: the score is True"),
        ("a.tsv", ["sentence1\tsentence2\tscore"], r"is empty; one pair per line is expected"),
        ("a.tsv", [], r"is empty; one pair per line is expected"),
        ("a.csv.gz", ["no gzip"], r"cannot be read: "),
    ],
)
def test_what_cannot_be_read_is_named(name: str, lines: list[str], message: str, tmp_path: Path) -> None:
    file = write_lines(tmp_path / name, lines)
    with pytest.raises(InputError, match=message) as raised:
        read_task(file)
    assert str(raised.value).startswith(str(file))


def test_a_file_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_bytes(b"a\tb\t1\nc\xff\td\t2\n")
    with pytest.raises(InputError, match=r"a\.tsv, line 2 is not valid UTF-8"):
        read_task(file)
