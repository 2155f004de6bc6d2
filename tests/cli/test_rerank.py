"""Documents by their relevance to a query: as a table and as JSON, against the golden scores, and what is told."""

import json
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import RerankService
from akidb_embeddings.cli import main
from akidb_embeddings.cli.near_misses import near_command
from tests.cli.tools import feed
from tests.fixtures import golden, model_path
from tests.golden.pairs import INSTRUCTION, PAIRS, QUESTION

BERT = ("--model", str(model_path("tiny-bert-reranker")))  # 512 tokens, identity
XLM = ("--model", str(model_path("tiny-xlm-roberta-reranker")))  # sigmoid
QWEN = ("--model", str(model_path("tiny-qwen3-reranker")))  # takes an instruction

# The golden pairs with one query, whose documents fit on a line each.
ROWS = [row for row, (query, text) in enumerate(PAIRS) if query == QUESTION and text and "\n" not in text]
DOCUMENTS = [PAIRS[row][1] for row in ROWS]
LONG = " ".join(["leaf"] * 600)


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["rerank", "--json", *arguments]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("model", ["tiny-bert-reranker", "tiny-xlm-roberta-reranker", "tiny-qwen3-reranker"])
@pytest.mark.parametrize("activation", ["model", "identity"])
def test_scores_and_order_are_the_golden_ones(
    model: str, activation: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, "".join(f"{text}\n" for text in DOCUMENTS).encode())
    found = listed(capsys, QUESTION, "--model", str(model_path(model)), "--activation", activation)
    name = "scores" if activation == "model" else "logits"
    wanted = golden(model)[name].reshape(-1)[ROWS]
    assert len(DOCUMENTS) > 20
    assert sorted(hit["index"] for hit in found) == list(range(len(DOCUMENTS)))
    np.testing.assert_allclose([hit["score"] for hit in found], wanted[[hit["index"] for hit in found]], atol=2e-4)
    assert [hit["index"] for hit in found[:3]] == np.argsort(-wanted, kind="stable")[:3].tolist()
    assert all(hit["text"] == DOCUMENTS[hit["index"]] for hit in found)


def test_json_says_everything_of_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, "a query", "naïve", "two words", *XLM)
    with RerankService(XLM[1]) as service:
        expected = service.score_details([("a query", "naïve"), ("a query", "two words")])
    first, second = found
    assert set(first) == {"index", "score", "text", "tokens", "truncated", "fingerprint"}
    assert first["score"] > second["score"]
    for hit in found:
        assert np.float32(hit["score"]) == expected.scores[hit["index"]]
        assert hit["tokens"] == expected.token_counts[hit["index"]]
        assert (hit["truncated"], hit["fingerprint"]) == (False, expected.fingerprint)


def test_a_table_of_the_best_within_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "45")
    texts = ["one", "two\nlines", "the stock market fell sharply on Monday", "", "four"]
    assert main(["rerank", "a query", *texts, "--top", "4", *XLM]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["RANK", "SCORE", "INDEX", "TEXT"]
    with RerankService(XLM[1]) as service:
        hits = service.rerank("a query", texts, top_k=4)
    cells = [row.split(maxsplit=3) for row in rows]
    assert [row[:3] for row in cells] == [
        [str(rank), f"{hit.score:.4f}", str(hit.index)] for rank, hit in enumerate(hits, start=1)
    ]
    shown = {int(row[2]): row[3] if len(row) > 3 else "" for row in cells}
    expected = {0: "one", 1: "two lines", 2: "the stock market fell s…", 3: "", 4: "four"}
    assert shown == {index: expected[index] for index in shown}
    assert 2 in shown
    assert all(len(row) <= 45 for row in rows)


@pytest.mark.parametrize(
    "arguments",
    [
        ["q", "a", "b", *BERT],
        [*BERT, "q", "a", "b"],
        ["q", *BERT, "a", "b"],
        ["q", "a", *BERT, "--", "b"],
        [*BERT, "--", "q", "a", "b"],
        ["q", *BERT, "--", "a", "b"],
    ],
)
def test_query_and_documents_stand_before_and_after_options(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(hit["text"] for hit in listed(capsys, *arguments)) == ["a", "b"]
    assert sorted(hit["text"] for hit in listed(capsys, *BERT, "q", "--", "--top", "-")) == ["-", "--top"]


@pytest.mark.parametrize("dash", [[], ["-"]])
def test_lines_of_standard_input_are_documents(
    dash: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, "one\r\n\nnaïve".encode())
    found = listed(capsys, "q", *dash, *BERT)
    assert sorted((hit["index"], hit["text"]) for hit in found) == [(0, "one"), (1, ""), (2, "naïve")]


def test_no_documents_are_an_empty_ranking(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    feed(monkeypatch, b"")
    assert listed(capsys, "q", *BERT) == []
    feed(monkeypatch, b"")
    assert main(["rerank", "q", *BERT]) == 0
    assert capsys.readouterr().out == ""


def test_an_instruction_replaces_the_trained_one(capsys: pytest.CaptureFixture[str]) -> None:
    rows = range(0, len(PAIRS), 5)
    row = next(row for row in rows if PAIRS[row][1].strip())
    [hit] = listed(capsys, *QWEN, "--activation", "identity", "--instruction", INSTRUCTION, "--", *PAIRS[row])
    wanted = golden("tiny-qwen3-reranker")["instruction_logits"].reshape(-1)[row // 5]
    assert hit["score"] == pytest.approx(wanted, abs=2e-4)


def test_the_section_of_the_configuration_counts(
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("own") / "own.yaml"
    file.write_text(f"rerank: {{model_name: {BERT[1]}, max_tokens: 9}}\nembedding: {{max_tokens: 3}}", encoding="utf-8")
    [hit] = listed(capsys, "q", LONG, "--config", str(file))
    assert (hit["tokens"], hit["truncated"]) == (9, True)
    [hit] = listed(capsys, "q", LONG, "--config", str(file), "--max-tokens", "11")
    assert (hit["tokens"], hit["truncated"]) == (11, True)


def test_truncated_documents_are_told_also_those_that_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rerank", "q", "a", LONG, "b", LONG, "--top", "1", *BERT]) == 0
    assert capsys.readouterr().err == (
        "akidb-embed: warning: 2 of 4 documents were cut (index 1, 3): with the query, they have more than 512 tokens; "
        "that is the model's limit; --max-over-passages reads them whole\n"
    )
    assert main(["rerank", "q", *["a b c d"] * 9, "--max-tokens", "6", *BERT]) == 0
    told = capsys.readouterr().err
    assert "9 of 9 documents were cut (index 0, 1, 2, 3, 4, …)" in told
    assert "--max-tokens may be up to 512" in told


def test_passages_are_read_instead_of_a_cut_document(capsys: pytest.CaptureFixture[str]) -> None:
    documents = ["a", " ".join(map(str, range(900)))]
    found = listed(capsys, "what is light", *documents, "--max-over-passages", *BERT)
    assert capsys.readouterr().err == ""
    with RerankService(BERT[1]) as service:
        expected = service.rerank("what is light", documents, max_over_passages=True)
        cut = service.rerank("what is light", documents)
    assert [(hit["index"], float(np.float32(hit["score"]))) for hit in found] == [
        (one.index, one.score) for one in expected
    ]
    assert not any(hit["truncated"] for hit in found)
    assert {hit.index: hit.score for hit in cut}[1] != {hit.index: hit.score for hit in expected}[1]


def test_a_query_that_passages_leave_no_room_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rerank", LONG, "a", LONG, "--max-over-passages", *BERT]) == 0
    assert "warning: the query was cut, so that passages of documents have room in 512" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*BERT], "no query: give it as the first argument"),
        (["q", "a", "--top", "0", *BERT], "--top is 0; it must be at least 1"),
        (["q", "a", "--top", "some", *BERT], "argument --top: invalid int value: 'some'"),
        (["q", "a", "--activation", "softmax", *BERT], "--activation is 'softmax'; allowed: 'model', "),
        (["q", "a", "--instruction", "find", *BERT], "--instruction is 'find', but this bert model takes none"),
        (["q", "a", "--instruction", "find", "--prompt", "x", *QWEN], "not allowed with argument"),
        (["q", "a", "--max-tokens", "600", *BERT], "--max-tokens is 600; the limit"),
        (["q", "a", LONG, "--truncate", "error", *BERT], "document 2 has "),
        (["q", "a", "--model", str(model_path("tiny-bert-labels"))], "gives 3 scores to each pair (contradiction, "),
        (["q", "a", "--model", "minilm-l6-v2"], "--model is 'minilm-l6-v2', an embedding model"),
        (["\udcff", "a", *BERT], "query has a lone surrogate"),
        (["q", "a", "\udcff", *BERT], "document 2 has a lone surrogate"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rerank", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_errors_name_the_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    feed(monkeypatch, f"a\n{LONG}\n".encode())
    assert main(["rerank", "q", "--truncate", "error", *BERT]) == 2
    assert "error: line 2 has " in capsys.readouterr().err


def test_a_file_of_documents_is_not_its_name(capsys: pytest.CaptureFixture[str], home: object) -> None:
    with open("my documents.txt", "w", encoding="utf-8") as file:
        file.write("one\ntwo\n")
    assert main(["rerank", "q", "my documents.txt", *BERT]) == 0
    assert capsys.readouterr().err == (
        "akidb-embed: note: the name 'my documents.txt' is scored, not what is in the file. To rank its lines: "
        "`akidb-embed rerank QUERY < 'my documents.txt'`\n"
    )


def test_json_lines_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    feed(monkeypatch, b'{"text": "a"}\n')
    assert main(["rerank", "q", *BERT]) == 0
    told = capsys.readouterr().err
    assert told == "akidb-embed: note: the first line is a JSON object, and lines are taken as they are.\n"


@pytest.mark.parametrize("word", ["rerank", "Rerank", "reranker", "re-rank", "rank", "score", "rer"])
def test_words_near_the_command(word: str) -> None:
    assert near_command(word, ["embed", "similarity", "rerank", "models"]) == "rerank"


def test_a_misspelled_command_with_texts_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rerankk", "a query", "a document", "--model", "no/model", "--no-download"]) == 2
    told = capsys.readouterr().err
    assert "did you mean `akidb-embed rerank --model no/model 'a query' 'a document'`?" in told


def test_help_names_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rerank", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "qwen3-reranker-0.6b-4bit",
        "(default: 8192, or the model's limit if less)",
        "(default: model)",
    ):
        assert words in shown
