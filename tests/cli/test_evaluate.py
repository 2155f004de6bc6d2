"""The command: figures and settings as tables and JSON, several tasks, options, errors."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.cli import main
from akidb_embeddings.registry import MODELS
from tests.cli.tools import BUNDLED, TINY
from tests.fixtures import copy_model, edit_json, model_path
from tests.task_files import DOCUMENTS, write_beir, write_lines

RERANKER = str(model_path("tiny-bert-reranker"))
PAIRS = ["A man eats.\tSomeone is eating.\t5", "A cat sleeps.\tA kitten naps.\t4", "It rains.\tHe reads a book.\t0"]


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["evaluate", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_table_of_figures_and_one_of_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--task", str(write_beir(tmp_path / "tiny")), *BUNDLED]) == 0
    shown = capsys.readouterr()
    heading, figures, blank, name, *settings = shown.out.splitlines()
    assert heading.split() == ["TASK", "NDCG@10", "RECALL@1", "RECALL@10", "RECALL@100", "MRR@10"]
    assert figures.split() == ["tiny", *["1.0000"] * 5]
    assert (blank, name) == ("", "tiny")
    pairs = dict(line.strip().split("  ", 1) for line in settings)
    found = {label: value.strip() for label, value in pairs.items()}
    assert found["model"] == "minilm-l6-v2"
    assert found["precision"] == "float32"
    assert found["prompt, query"] == '""'
    assert found["fingerprint, document"].startswith("bert-8bit-mean-384-")
    assert (found["titles"], found["queries"], found["queries without judgements"]) == ("yes", "3", "1")
    assert float(found["seconds"]) > 0
    assert shown.err == ""


def test_json_has_every_task_with_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beir = write_beir(tmp_path / "tiny")
    pairs = write_lines(tmp_path / "pairs.tsv", PAIRS)
    found = evaluated(capsys, "--task", str(beir), "--task", str(pairs), "--no-titles", *BUNDLED)
    retrieval, sts = found["tasks"]
    assert found["model"] == "minilm-l6-v2"
    assert (retrieval["task"], retrieval["kind"]) == ("tiny", "retrieval")
    assert retrieval["scores"]["ndcg@10"] == 1.0
    assert retrieval["settings"]["titles"] is False
    assert retrieval["settings"]["dimensions"] == MODELS["minilm-l6-v2"].dimension
    assert (sts["task"], sts["kind"], sts["scores"]["spearman"]) == ("pairs", "sts", 1.0)
    assert sts["settings"]["pairs"] == 3


def test_kinds_of_tasks_have_tables_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, beir = write_lines(tmp_path / "pairs.tsv", PAIRS), write_beir(tmp_path / "tiny")
    assert main(["evaluate", "--task", str(pairs), "--task", str(beir), *BUNDLED]) == 0
    first, second, *_ = capsys.readouterr().out.split("\n\n")
    assert first.splitlines()[1].split()[0] == "tiny"
    heading, figures = second.splitlines()
    assert heading.split() == ["TASK", "SPEARMAN", "PEARSON"]
    assert figures.split()[:2] == ["pairs", "1.0000"]


def test_options_of_the_model_reach_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beir = str(write_beir(tmp_path))
    options = ["--dimensions", "16", "--untrained-dimensions", "--max-tokens", "8", "--pooling", "cls"]
    assert main(["evaluate", "--json", "--task", beir, *TINY, *options]) == 0
    shown = capsys.readouterr()
    settings = json.loads(shown.out)["tasks"][0]["settings"]
    assert (settings["dimensions"], settings["max_tokens"], settings["pooling"]) == (16, 8, "cls")
    assert settings["documents_truncated"] == 4
    cut = settings["documents_truncated"] + settings["queries_truncated"]
    assert shown.err == f"akidb-embed: warning: {cut} texts of {tmp_path.name} were cut at 8 tokens\n"


def test_repeated_queries_are_merged_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judgements = [("a", "cat", 1), ("b", "moon", 1)]
    beir = str(write_beir(tmp_path, DOCUMENTS, {"a": "same", "b": "same"}, judgements))
    each = evaluated(capsys, "--task", beir, *TINY)["tasks"][0]["settings"]
    assert (each["queries"], each["queries_repeated"], each["queries_merged"]) == (2, 1, 0)
    merged = evaluated(capsys, "--task", beir, "--merge-repeats", *TINY)["tasks"][0]["settings"]
    assert (merged["queries"], merged["queries_repeated"], merged["queries_merged"]) == (1, 0, 1)
    assert merged["judgements"] == 2


def test_an_instruction_is_for_queries_and_for_both_sentences_of_a_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beir, pairs = str(write_beir(tmp_path / "beir")), str(write_lines(tmp_path / "pairs.tsv", PAIRS))
    options = ["--model", str(model_path("tiny-qwen3")), "--instruction", "Match"]
    shown = evaluated(capsys, "--task", beir, "--task", pairs, *options)["tasks"]
    assert shown[0]["settings"]["prompts"] == {"query": "Instruct: Match\nQuery:", "document": ""}
    assert shown[1]["settings"]["prompts"] == {"both": "Instruct: Match\nQuery:"}


def test_a_prompt_for_pairs_is_no_option_without_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--task", str(write_beir(tmp_path)), *TINY, "--prompt", "query"]) == 2
    assert "--prompt query is for sentence pairs" in capsys.readouterr().err


def test_a_split_and_a_prompt_are_passed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = copy_model("tiny-bert", tmp_path / "model")
    edit_json(model / "config_sentence_transformers.json", prompts={"STS": "s: ", "other": "o: "})
    rows = [f"{split}\t{line}" for split in ("dev", "test") for line in PAIRS]
    pairs = write_lines(tmp_path / "pairs.tsv", ["split\tsentence1\tsentence2\tscore", *rows, "dev\ta\tb\t2"])
    arguments = ["--task", str(pairs), "--model", str(model)]
    own = evaluated(capsys, *arguments)["tasks"][0]["settings"]
    assert (own["pairs"], own["split"], own["prompts"]) == (3, "test", {"both": "s: "})
    asked = evaluated(capsys, *arguments, "--split", "dev", "--prompt", "other")["tasks"][0]["settings"]
    assert (asked["pairs"], asked["split"], asked["prompts"]) == (4, "dev", {"both": "o: "})


def test_a_reranker_gives_a_second_row_and_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--task", str(write_beir(tmp_path / "tiny")), "--rerank", RERANKER]
    assert main(["evaluate", *arguments, *BUNDLED]) == 0
    heading, before, after, blank, name, *settings = capsys.readouterr().out.splitlines()
    assert heading.split()[:2] == ["TASK", "NDCG@10"]
    assert before.split() == ["tiny", *["1.0000"] * 5]
    assert after.split()[:2] == ["tiny,", "reranked"]
    assert len(after.split()) == 7
    assert (blank, name) == ("", "tiny")
    own = settings[settings.index("tiny, reranked") :]
    shown = {label: value.strip() for label, value in (line.strip().split("  ", 1) for line in own[1:])}
    assert shown["model"] == RERANKER
    assert (shown["top"], shown["pairs"], shown["max tokens"]) == ("100", "12", "512")
    assert shown["fingerprint, pair"].startswith("bert-identity-")


def test_json_has_the_figures_before_and_after_reranking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--task", str(write_beir(tmp_path / "tiny")), *BUNDLED]
    plain = evaluated(capsys, *arguments)["tasks"]
    found = evaluated(capsys, *arguments, "--rerank", RERANKER, "--rerank-top", "2")["tasks"]
    assert [(task["task"], task["kind"]) for task in found] == [("tiny", "retrieval"), ("tiny", "reranking")]
    assert found[0]["scores"] == plain[0]["scores"]
    assert found[1]["scores"].keys() == plain[0]["scores"].keys()
    assert (found[1]["settings"]["top"], found[1]["settings"]["pairs"]) == (2, 6)


def test_the_reranker_has_its_section_and_its_instruction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_lines(tmp_path / "own.yaml", ["rerank: {max_tokens: 400, instruction: from the file}"])
    arguments = ["--task", str(write_beir(tmp_path / "tiny")), *TINY, "--config", str(file), "--max-tokens", "33"]
    arguments += ["--rerank", str(model_path("tiny-qwen3-reranker"))]
    settings = evaluated(capsys, *arguments)["tasks"][1]["settings"]
    assert (settings["max_tokens"], settings["instruction"]) == (400, "from the file")
    settings = evaluated(capsys, *arguments, "--rerank-instruction", "Match")["tasks"][1]["settings"]
    assert settings["instruction"] == "Match"


def test_pairs_that_were_cut_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_lines(tmp_path / "own.yaml", ["rerank: {max_tokens: 9}"])
    beir = str(write_beir(tmp_path / "tiny"))
    assert main(["evaluate", "--task", beir, *BUNDLED, "--config", str(file), "--rerank", RERANKER]) == 0
    assert capsys.readouterr().err == "akidb-embed: warning: 12 pairs of tiny were cut at 9 tokens\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rerank-top", "5"], "--rerank-top is for --rerank NAME, which is not given"),
        (["--rerank-instruction", "x"], "--rerank-instruction is for --rerank NAME, which is not given"),
        (["--rerank", "RERANKER", "--rerank-top", "0"], "--rerank-top is 0; it must be at least 1"),
        (["--rerank", "RERANKER", "--rerank-top", "-3"], "--rerank-top is -3; it must be at least 1"),
        (["--rerank", "RERANKER", "--rerank-top", "some"], "--rerank-top: invalid int value: 'some'"),
        (["--rerank", "RERANKER", "--task", "pairs.tsv"], "is for retrieval, and pairs has sentence pairs"),
        (["--rerank", "minilm-l6-v2"], "--rerank is 'minilm-l6-v2', an embedding model"),
        (["--rerank", "RERANKER", "--rerank-instruction", "x"], "--rerank-instruction is 'x', but this bert model"),
        (["--rerank", str(model_path("tiny-bert-labels"))], "gives 3 scores to each pair"),
    ],
)
def test_wrong_usage_of_a_reranker_is_told_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_beir(tmp_path / "tiny")
    write_lines(tmp_path / "pairs.tsv", PAIRS)
    arguments = [RERANKER if word == "RERANKER" else word for word in arguments]
    assert main(["evaluate", "--task", "tiny", *arguments, *TINY]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "nowhere"], "nowhere does not exist. A task is a folder with corpus.jsonl"),
        ([], "the following arguments are required: --task"),
        (["--task", "tiny", "--split", "dev"], "has no judgements: no qrels/dev.tsv"),
        (["--task", "pairs.tsv", "--prompt", "nothing"], "prompt_name is 'nothing'; this model has"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_beir(tmp_path / "tiny")
    write_lines(tmp_path / "pairs.tsv", PAIRS)
    assert main(["evaluate", *arguments, *TINY]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_tasks_are_read_before_a_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--task", "nowhere", "--model", "no/such-model", "--no-download"]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main(["evaluate", "--task", "nowhere"]) == 2
    assert "Evaluation needs scikit-learn: " in capsys.readouterr().err
