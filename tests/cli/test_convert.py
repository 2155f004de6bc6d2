"""``akidb-embed convert``, from a folder and from a repository."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.checkpoint.reranker import read_reranker
from akidb_embeddings.cli import main
from akidb_embeddings.registry import MODELS
from tests.cli.tools import TINY
from tests.diagnostics.rerankers import known
from tests.fixtures import DATA
from tests.hub_fixtures import use_registry
from tests.hub_server import HubServer
from tests.random_models import BERT, random_model

GEMMA = DATA / "models" / "tiny-gemma3"


def test_a_folder_is_quantized_and_loads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", TINY[1], "small", "--bits", "8", "--group-size", "32"]) == 0
    shown, quality = capsys.readouterr().out.splitlines()
    before = Path(TINY[1], "model.safetensors").stat().st_size
    after = Path("small/model.safetensors").stat().st_size
    assert after < before / 2
    assert shown.startswith(f"small: {before / 1e3:.0f} kB -> {after / 1e3:.3g} kB, ")
    assert shown.endswith(" tensors quantized to 8 bits, group size 32")
    assert re.fullmatch(
        r'quality: cosine to full precision mean 0\.999\d*, worst 0\.99\d* \(text \d+ of \d+: ".+"\)', quality
    )
    config = json.loads(Path("small/config.json").read_text(encoding="utf-8"))
    assert config["quantization"] == {"group_size": 32, "bits": 8}
    assert main(["text", "--model", "./small"]) == 0


def test_without_bits_weights_stay(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", TINY[1], "same", "--no-quality"]) == 0
    shown = capsys.readouterr()
    assert ", 0 of " in shown.out
    assert "quality" not in shown.out + shown.err
    assert "quantization" not in json.loads(Path("same/config.json").read_text(encoding="utf-8"))


def test_mixed_dtype_and_what_was_kept_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    model = random_model(Path("model").absolute(), {**BERT, "intermediate_size": 96})
    (model / "1_Pooling" / "config.json").unlink()
    assert main(["convert", "./model", "new", "--bits", "4", "--mixed", "--dtype", "bfloat16"]) == 0
    shown, quality = capsys.readouterr().out.splitlines()
    assert shown.endswith(
        " tensors quantized to 4 bits, group size 64, token embeddings to 8 bits, "
        "2 matrices kept, with rows that do not divide into groups of 64, the rest in bfloat16"
    )
    assert quality.endswith("; the model does not say how to pool, so mean was used")


@pytest.mark.long
def test_what_the_registry_knows_goes_into_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {path.relative_to(TINY[1]).as_posix(): path.read_bytes() for path in Path(TINY[1]).rglob("*.*")}
    del files["1_Pooling/config.json"], files["modules.json"]
    known = MODELS["bge-small-en-v1.5"]
    spec = replace(known, name="tiny", repo="org/tiny", revision=None, dimension=32, prompts={"query": "find: "})
    use_registry(monkeypatch, spec)
    with HubServer() as hub:
        hub.add("org/tiny", files)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert main(["convert", "tiny", "new"]) == 0
    assert read_checkpoint(Path("new")).pooling == "cls"


@pytest.mark.long
def test_a_repository_is_downloaded(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    files = {path.relative_to(TINY[1]).as_posix(): path.read_bytes() for path in Path(TINY[1]).rglob("*.*")}
    with HubServer() as hub:
        hub.add("org/tiny", files)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert main(["convert", "org/tiny", "first", "--no-download"]) == 1
        assert not Path("first").exists()
        assert main(["convert", "org/tiny", "second", "--cache-dir", "cache"]) == 0
    assert (home / "cache/models/org--tiny").is_dir()
    assert Path("second/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([TINY[1], "new", "--bits", "7"], 2, "argument --bits: invalid choice: 7"),
        ([TINY[1], "new", "--group-size", "32"], 2, "give --bits too"),
        ([TINY[1], "new", "--mixed"], 2, "--mixed says how to quantize: give --bits too"),
        (
            [TINY[1], "new", "--bits", "8", "--mixed"],
            2,
            "Set --bits, which is 8, to one of 2, 3, 4, 5, 6, or leave --mixed out",
        ),
        (
            [str(GEMMA), "new", "--dtype", "float16"],
            2,
            "--dtype is float16, but activations of gemma3_text models overflow it. Give bfloat16",
        ),
        ([TINY[1], "full", "--bits", "8"], 2, "full already exists"),
        (["minilm-l6-v2", "new", "--bits", "4"], 1, "is already quantized"),
        ([TINY[1], "new", "--bits", "8", "--group-size", "128"], 1, "--group-size is 128, but no matrix of"),
        ([TINY[1]], 2, "the following arguments are required: DEST"),
    ],
)
def test_what_cannot_be_converted(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("full").mkdir()
    Path("full/file").touch()
    assert main(["convert", *arguments]) == code
    assert words in capsys.readouterr().err
    assert not Path("new").exists()


# Rerankers


def test_a_reranker_is_quantized_and_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    source = str(DATA / "models" / "tiny-bert-reranker")
    assert main(["convert", source, "small", "--bits", "8", "--group-size", "32"]) == 0
    printed = capsys.readouterr()
    assert "converting, then comparing scores" in printed.err
    shown, quality = printed.out.splitlines()
    assert shown.endswith(", 15 of 41 tensors quantized to 8 bits, group size 32")
    assert re.fullmatch(
        r"quality: 3\d of 36 times two documents are in the order of full precision; logits, which have a spread of "
        r'10\.40, differ by at most 0\.\d+ \(pair \d+ of 24: ".+", ".+"\)',
        quality,
    )
    assert main(["rerank", "--model", "./small", "a query", "one document", "another one"]) == 0
    assert main(["verify", "./small"]) == 0


def test_a_reranker_of_the_registry_says_in_its_folder_what_only_the_registry_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = DATA / "models" / "tiny-qwen3-reranker"
    use_registry(monkeypatch, known(source.name, activation="identity", max_tokens=300, instruction="Find proof"))
    with HubServer() as hub:
        hub.add("org/tiny", {path.name: path.read_bytes() for path in source.iterdir()})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert main(["convert", "tiny", "new", "--bits", "4", "--group-size", "32", "--no-quality"]) == 0
    found = read_reranker(Path("new"))
    assert (found.activation, found.max_tokens, found.default_prompt) == ("identity", 300, "Find proof")


def test_a_language_model_that_does_not_say_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    source = str(DATA / "models" / "tiny-qwen3-reranker")
    assert main(["convert", source, "vectors", "--no-quality"]) == 0
    assert f"note: {source} does not say what it is" in capsys.readouterr().err
    assert main(["convert", source, "scores", "--no-quality", "--reranker"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["convert", "scores", "again", "--no-quality"]) == 0
    assert capsys.readouterr().err == ""
    assert read_reranker(Path("again")).activation == "sigmoid"
