"""``akidb-embed doctor`` and ``verify``: what they print, and how they exit."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb_embeddings.cli import main
from akidb_embeddings.diagnostics import doctor, measure, verify
from akidb_embeddings.diagnostics.findings import Finding, FindingStatus
from akidb_embeddings.diagnostics.measure import Measurement, PlainMeasurement
from tests.cli.tools import TINY
from tests.diagnostics.rerankers import known
from tests.diagnostics.test_checks import with_nan
from tests.fixtures import DATA
from tests.hub_fixtures import use_registry
from tests.hub_server import HubServer


def examine_as(monkeypatch: pytest.MonkeyPatch, *checks: Finding) -> None:
    def examine(config_path: str | None = None) -> Iterator[Finding]:
        yield from checks

    monkeypatch.setattr(doctor, "examine", examine)


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_the_exit_code_is_the_worst_finding(
    status: FindingStatus, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examine_as(monkeypatch, Finding("one", status, "found", "do this"), Finding("two", "ok", "fine"))
    assert main(["doctor"]) == code
    word = "FAIL" if status == "fail" else status
    assert capsys.readouterr().out == (
        f"{word:<4}  one            found\n                     -> do this\nok    two            fine\n"
    )


@pytest.mark.long
def test_a_real_examination(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.yaml").write_text("embedding: {model_name: minilm-l6-v2}", encoding="utf-8")
    assert main(["doctor", "--config", "own.yaml"]) == 0
    assert "ok    model          minilm-l6-v2 (bundled): 384 dimensions" in capsys.readouterr().out
    assert main(["doctor", "--config", "nowhere.yaml"]) == 1
    assert "FAIL  configuration  ConfigurationError: nowhere.yaml: cannot be read" in capsys.readouterr().out


def test_measurements_with_and_without_comparison(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examine_as(monkeypatch)
    plain = PlainMeasurement(texts=4, seconds=5.0, gflops=2.34, openblas=(), difference=2e-7)
    monkeypatch.setattr(measure, "measure", lambda: Measurement(32, 128, 1.25, 13, 0.0104, plain, ""))
    assert main(["doctor", "--measure"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown == (
        "32 texts of 128 tokens akidb-embeddings 1.25 s (25.6 texts per second) "
        "plain mlx[cpu] 40.00 s (4 texts took 5.00 s, scaled by 8; MLX's own BLAS: 2.3 GFLOP/s) "
        "ratio 32.0 (same weights; vectors differ by at most 2e-07) "
        "one query of 13 tokens median latency 10.4 ms"
    )
    monkeypatch.setattr(measure, "measure", lambda: Measurement(32, 128, 1.25, 13, 0.0104, None, "none on this GPU"))
    assert main(["doctor", "--measure"]) == 0
    shown = capsys.readouterr().out
    assert "\n  none on this GPU\n" in shown
    assert "ratio" not in shown


@pytest.mark.long
def test_verify_says_which_model_it_takes_and_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "akidb-embed: qwen3-0.6b-4bit is not on this machine; verifying the bundled minilm-l6-v2\n"
    assert shown.out.startswith("minilm-l6-v2 (8 bits)\nok    finite                  all ")
    assert "\nok    alone and in a batch    lowest cosine " in shown.out
    assert "\nall 9 checks passed\n\nsimilarities published in https://" in shown.out
    assert "\n   0.6660  0.6649     -0.0011  The weather is lovely today.  It's so sunny outside!\n" in shown.out
    assert shown.out.endswith("reproduced: the largest difference is 0.0020, the tolerance 0.01 (8 bits)\n")


def test_verify_takes_the_configured_model_if_it_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    Path("embedding_config.yaml").write_text(f"embedding: {{model_name: {TINY[1]}, pooling: cls}}", encoding="utf-8")
    assert main(["verify"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith(f"{TINY[1]} (not quantized)\n")
    assert shown.out.endswith(
        "all 9 checks passed\nno similarities are published for it: "
        "the vectors could not be compared with the authors' own\n"
    )


@pytest.mark.long
def test_verify_fails_beyond_the_tolerance(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(verify, "tolerance", lambda bits: 0.001)
    assert main(["verify", "minilm-l6-v2", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown["model"], shown["bits"], shown["passed"]) == ("minilm-l6-v2", 8, False)
    assert [check["passed"] for check in shown["checks"]] == [True] * 9
    assert shown["checks"][1]["figure"] >= shown["checks"][1]["limit"] > 0.999
    published = shown["published"]
    assert (published["reproduced"], published["tolerance"], len(published["similarities"])) == (False, 0.001, 9)
    assert published["largest_difference"] == pytest.approx(0.002, abs=1e-4)
    assert published["similarities"][1]["published"] == 0.666


def test_verify_fails_for_a_broken_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = str(with_nan(tmp_path))
    assert main(["verify", broken]) == 1
    shown = capsys.readouterr().out
    assert "\nFAIL  finite " in shown
    assert shown.endswith("\n1 of 2 checks FAILED\n")
    assert main(["verify", broken, "--json", "--card", "minilm-l6-v2"]) == 1
    assert json.loads(capsys.readouterr().out)["published"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            [TINY[1], "--card", "none"],
            2,
            "--card is 'none'; similarities and scores are only published for qwen3-0.6b-4bit",
        ),
        (["nothing"], 1, "Unknown model 'nothing'"),
        (["gemma-300m-4bit", "--no-download"], 1, "is not on this machine"),
    ],
)
def test_verify_of_a_model_it_cannot_verify(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *arguments]) == code
    assert words in capsys.readouterr().err


# Rerankers


def tiny_reranker(name: str) -> str:
    return str(DATA / "models" / name)


@pytest.mark.long
def test_verify_of_a_reranker_by_its_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use_registry(monkeypatch, known("tiny-bert-reranker", activation="identity"))
    source = DATA / "models" / "tiny-bert-reranker"
    with HubServer() as hub:
        hub.add("org/tiny", {path.name: path.read_bytes() for path in source.iterdir()})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert main(["verify", "tiny", "--yes"]) == 0
        assert main(["verify", "org/tiny", "--json"]) == 0
    shown, as_json = capsys.readouterr().out.rsplit("\n{", 1)
    lines = shown.splitlines()
    assert lines[0] == "tiny (not quantized)"
    assert lines[10:12] == ["all 9 checks passed", ""]
    assert "\nok    activation              identity, as sentence-transformers applies to org/tiny\n" in shown
    assert lines[12] == "scores published in https://example.org/tiny"
    assert re.fullmatch(r" +-?\d\.\d{4}  -?\d\.\d{4} +[+-]0\.0000  how do the plants make sugar  The .*", lines[14])
    assert re.fullmatch(r"reproduced: the largest difference is 0\.0000, the tolerance 0\.\d+ \(.*\)", lines[-1])
    found = json.loads("{" + as_json)
    assert (found["model"], found["kind"], found["bits"], found["passed"]) == ("org/tiny", "reranker", None, True)
    published = found["published"]
    assert (published["reproduced"], published["same_order"], len(published["scores"])) == (True, True, 6)
    assert set(published["scores"][0]) == {"query", "document", "published", "computed"}


def test_verify_of_a_folder_of_a_reranker(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_reranker("tiny-xlm-roberta-reranker")
    assert main(["verify", folder]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.endswith(
        "all 8 checks passed\nno scores are published for it: the scores could not be compared with the authors' own\n"
    )
    use_registry(monkeypatch, known("tiny-bert-reranker"))
    assert main(["verify", folder, "--card", "tiny"]) == 1
    shown = capsys.readouterr()
    assert "\nNOT reproduced: the largest difference is " in shown.out
    assert shown.out.endswith(" (not quantized), and the documents are in another order\n")


@pytest.mark.long
def test_a_folder_that_does_not_say_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_reranker("tiny-qwen3-reranker")
    assert main(["verify", folder]) == 0
    assert f"note: {folder} does not say what it is" in capsys.readouterr().err
    assert main(["verify", folder, "--reranker"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "\nok    final tokens " in shown.out
    assert main(["verify", tiny_reranker("tiny-qwen3"), "--reranker"]) == 1
    assert "Transformer alone, or with LogitScore after it" in capsys.readouterr().err


def test_a_card_of_the_other_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", tiny_reranker("tiny-bert-reranker"), "--card", "minilm-l6-v2"]) == 2
    assert "--card is 'minilm-l6-v2', an embedding model, but " in capsys.readouterr().err
