"""Warnings about folders that transformers 4 and 5 read differently: once per load, with the key and both meanings."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.processors import Sequence

from akidb_embeddings import EmbeddingService
from akidb_embeddings.tokenization import tokenizer_versions
from tests.fixtures import BUNDLED, TINY, copy_model, edit_json, model_path


def warnings(folder: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    with EmbeddingService(str(folder)):
        pass
    return [record.getMessage() for record in caplog.records if record.name.endswith("tokenization.tokenizer")]


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        (
            "tiny-gemma3",
            {"add_eos_token": False},
            "add_bos_token, add_eos_token: transformers 4 adds the tokens",
        ),
        (
            "tiny-modernbert",
            {"add_prefix_space": True},
            "add_prefix_space: transformers 4 takes True, transformers 5",
        ),
        (
            "tiny-bert",
            {"cls_token": "[MASK]"},
            "post_processor: transformers 5 builds that of BertTokenizer with",
        ),
        ("tiny-bert", {"image_token": "<img>"}, "image_token: transformers 5 adds '<img>'"),
        (
            "tiny-xlm-roberta",
            {"tokenizer_class": "BertTokenizer"},
            "tokenizer_class: BertTokenizer is made for",
        ),
        ("tiny-bert", {"tokenizer_class": "OwnTokenizer"}, "tokenizer_class: OwnTokenizer is not known here"),
    ],
)
def test_an_ambiguous_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, settings: dict[str, Any], expected: str
) -> None:
    folder = copy_model(name, tmp_path / "model")
    edit_json(folder / "tokenizer_config.json", **settings)
    [warning] = warnings(folder, caplog)
    assert warning.startswith(f"The tokenizer of {folder} is ambiguous. {expected}")
    assert "transformers 4" in warning or "not known" in warning


@pytest.mark.parametrize("path", [*map(model_path, TINY), BUNDLED], ids=[*TINY, "bundled"])
def test_no_published_layout_is_ambiguous(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not warnings(path, caplog)


def test_a_part_that_panics_is_no_other_meaning() -> None:
    """Two templates in a sequence are not implemented in Rust: an exception that is no ``Exception``."""
    tokenizer = FastTokenizer.from_file(str(model_path("tiny-bert") / "tokenizer.json"))
    own = tokenizer.post_processor
    tokenizer.post_processor = Sequence([own, own])
    assert tokenizer_versions._text_ids(tokenizer, "a") is None
