"""The final token: appended where a conversion dropped it, left alone where the folder is complete."""

import json
import logging
from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.registry import MODELS, ModelSpec
from akidb_embeddings.service import reading
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from tests.fixtures import copy_model, edit_json
from tests.golden.tokenizer_folders import TEXTS
from tests.tokenization.test_tokenizer_differences import of_transformers

ADDS_NOTHING = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete sentence-transformers folder whose tokenizer appends nothing."""
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    edit_json(folder / "tokenizer.json", post_processor=ADDS_NOTHING)
    return folder


def ids(folder: Path, text: str, spec: ModelSpec | None = None) -> list[int]:
    checkpoint = read_checkpoint(folder, spec)
    result: list[int] = Tokenizer(checkpoint, checkpoint.max_tokens).encode([text]).ids[0].tolist()
    return result


def test_a_complete_folder_is_followed_and_a_warning_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    five, four = of_transformers("qwen3", "a post_processor that adds nothing")
    assert five == four
    assert five is not None
    assert [ids(folder, text) for text in TEXTS[1:]] == five[1:]
    with EmbeddingService(str(folder)):
        pass
    [warning] = [record.getMessage() for record in caplog.records if record.name.endswith("tokenizer")]
    assert warning.startswith(f"The tokenizer of {folder} ends no text with a token")


def test_an_incomplete_folder_gets_the_token_and_a_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = ids(folder, "a cat")
    (folder / "modules.json").unlink()
    assert ids(folder, "a cat") == [*plain, 397]
    with caplog.at_level(logging.INFO), EmbeddingService(str(folder)):
        pass
    assert f"The tokenizer of {folder} ends no text with a token; <|endoftext|> is appended." in caplog.messages


def test_a_model_of_the_registry_gets_the_token(folder: Path) -> None:
    spec = ModelSpec(**{**vars(MODELS["qwen3-0.6b"]), "dimension": 32})
    assert ids(folder, "a cat", spec) == [*ids(folder, "a cat"), 397]


def test_the_fingerprint_says_which_token_is_appended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry may decide that, and then the folder gives other vectors by the model's name than by its path."""
    spec = ModelSpec(**{**vars(MODELS["qwen3-0.6b"]), "dimension": 32})
    found = []
    for given in (None, spec):
        checkpoint = read_checkpoint(folder, given)
        monkeypatch.setattr(reading, "read_checkpoint", lambda *_, read=checkpoint: read)
        with EmbeddingService(folder) as service:
            found.append((service.count_tokens(["a cat"]), service.fingerprint()))
    (counts, name), (other_counts, other_name) = found
    assert counts != other_counts
    assert name != other_name


def test_a_model_of_the_registry_whose_tokenizer_decides_alone(folder: Path) -> None:
    spec = ModelSpec(**{**vars(MODELS["f2llm-v2-0.6b"]), "dimension": 32})
    assert ids(folder, "a cat", spec) == ids(folder, "a cat")
    (folder / "modules.json").unlink()
    assert ids(folder, "a cat", spec) == ids(folder, "a cat")[:-1]


def test_a_template_that_begins_texts_is_extended(tmp_path: Path) -> None:
    """A second template would fail in the tokenizers library."""
    folder = copy_model("tiny-gemma3-causal", tmp_path / "model")
    expected = ids(folder, "a cat")
    post_processor = json.loads((folder / "tokenizer.json").read_text())["post_processor"]
    post_processor["single"] = post_processor["single"][:2]
    edit_json(folder / "tokenizer.json", post_processor=post_processor)
    assert ids(folder, "a cat") == expected[:-1]
    (folder / "modules.json").unlink()
    assert ids(folder, "a cat") == expected
