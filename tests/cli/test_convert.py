"""``akidb-embed convert``, from a folder and from a repository."""

import json
from pathlib import Path

import pytest

from akidb_embeddings.cli import main
from tests.cli.tools import TINY
from tests.hub_server import HubServer


def test_a_folder_is_quantized_and_loads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", TINY[1], "small", "--bits", "8", "--group-size", "32"]) == 0
    shown = capsys.readouterr().out
    before = Path(TINY[1], "model.safetensors").stat().st_size
    after = Path("small/model.safetensors").stat().st_size
    assert after < before / 2
    assert shown.startswith(f"small: {before / 1e3:.0f} kB -> {after / 1e3:.3g} kB, ")
    assert shown.endswith(" tensors quantized to 8 bits, group size 32\n")
    config = json.loads(Path("small/config.json").read_text(encoding="utf-8"))
    assert config["quantization"] == {"group_size": 32, "bits": 8}
    assert main(["text", "--model", "./small"]) == 0


def test_without_bits_weights_stay(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", TINY[1], "same"]) == 0
    assert ", 0 of " in capsys.readouterr().out
    assert "quantization" not in json.loads(Path("same/config.json").read_text(encoding="utf-8"))


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
        ([TINY[1], "full", "--bits", "8"], 2, "full exists already"),
        (["minilm-l6-v2", "new", "--bits", "4"], 1, "is quantized already"),
        ([TINY[1], "new", "--bits", "8", "--group-size", "128"], 1, "divisible by group_size 128"),
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
