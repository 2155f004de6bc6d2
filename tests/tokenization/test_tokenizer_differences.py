"""Token ids of folders in which each key and file is changed, against those of transformers 5 and 4.57.

Where both agree, so does this library, or it refuses the folder. Where they differ, it follows one of them, with a
warning.
"""

import gzip
import json
from collections.abc import Set
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.errors import CheckpointError, InputError
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from tests.fixtures import DATA
from tests.golden.tokenizer_changes import changes
from tests.golden.tokenizer_folders import FAMILIES, TEXTS, Change, write_folder

Ids = list[list[int]]
CASES = [(family, name, change) for family in FAMILIES for name, change in changes(family)]
QUICK = {
    *("none", "no class", "no tokenizer_config.json", "class ElectraTokenizer", "class DistilBertTokenizerFast"),
    *("cased, tokenizer.json lowercases; no class", "cased, tokenizer.json lowercases; ElectraTokenizer"),
    *("strip_accents False", "no tokenizer_config.json, tokenizer.json is cased", "split_special_tokens True"),
    *("decoder: special", "decoder: normalized", "decoder: a gap", "additional_special_tokens: strings"),
    *("extra_special_tokens: strings", "additional_special_tokens: strings, in a map", "added_tokens.json: one"),
    *("add_eos_token True", "add_prefix_space True", "no post_processor", "a post_processor that adds nothing"),
}
# The two differ without a contradiction in the folder.
UNWARNED = {
    # The release of tokenizers decides whether a new normalizer applies to tokens that were added before it.
    "cased and a new token",
    "lowercased, tokenizer.json is cased, and a new token",
}
# RoBERTa's mask token, where tokenizer.json has none, takes the space before it in transformers 4 alone; and words
# that become added tokens get other flags.
UNWARNED_ROBERTA = {
    *(
        "no mask_token",
        "mask_token new",
        "mask_token new, in a map",
        "mask_token a word",
        "mask_token a word, in a map",
    ),
    *("added_tokens.json: a word", "added_tokens.json: a word, special"),
}


@cache
def golden_ids() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress((DATA / "golden" / "tokenizer-ids.json.gz").read_bytes()))
    return dict(content["families"])


def of_transformers(family: str, name: str) -> list[Ids | None]:
    """The ids in transformers 5 and in 4.57; None where it fails."""
    golden = golden_ids()[family]
    return [None if isinstance(row, str) else golden["encodings"][row] for row in golden["changes"][name]]


def of_this_library(folder: Path) -> tuple[Ids, bool]:
    """Our ids, and whether a warning says that the folder is ambiguous."""
    checkpoint = read_checkpoint(folder)
    larger = replace(checkpoint, config={**checkpoint.config, "vocab_size": 10_000})  # new tokens have new ids
    tokenizer = Tokenizer(larger, 500)
    return ids_of(tokenizer, list(TEXTS)), bool(tokenizer.ambiguities)


def ids_of(tokenizer: Tokenizer, texts: list[str]) -> Ids:
    try:
        return [ids.tolist() for ids in tokenizer.encode(texts).ids]
    except InputError:  # a text gives no tokens
        return [row for text in texts for row in ids_of(tokenizer, [text])] if len(texts) > 1 else [[]]


def test_every_case_has_golden_ids() -> None:
    assert {(family, name) for family, name, _ in CASES} == {
        (family, name) for family, golden in golden_ids().items() for name in golden["changes"]
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_the_settings_that_matter_most(family: str, tmp_path: Path) -> None:
    assert not problems(family, QUICK, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_every_setting_of_every_file(family: str, tmp_path: Path) -> None:
    assert not problems(family, {name for name, _ in changes(family)} - QUICK, tmp_path)


def problems(family: str, names: Set[str], folder: Path) -> list[str]:
    found = [
        problem_of(family, name, change, folder / str(index))
        for index, (name, change) in enumerate(changes(family))
        if name in names
    ]
    return [problem for problem in found if problem]


def problem_of(family: str, name: str, change: Change, folder: Path) -> str:
    """What is wrong with our ids; "" if nothing is."""
    five, four = of_transformers(family, name)
    try:
        ids, warned = of_this_library(write_folder(folder, family, change))
    except CheckpointError:
        return f"{name}: refused" if five is not None and five == four and not refused(name) else ""
    if five is not None and five == four:
        return "" if ids == five else f"{name}: not as both versions"
    if ids not in (five, four) and not warned and (five, four) != (None, None):
        return f"{name}: as neither version, and no warning"
    known = UNWARNED | (UNWARNED_ROBERTA if family == "roberta" else set())
    if five is not None and four is not None and not warned and name not in known:
        return f"{name}: the two differ, and no warning says so"
    return ""


def refused(name: str) -> bool:
    """Whether a folder may be refused that both versions read: without special tokens, the model's are missing."""
    return "post_processor" in name or name == "class GPTNeoXTokenizer"


def test_nothing_is_ambiguous_in_the_models_as_published(tmp_path: Path) -> None:
    warned = [
        family
        for family in FAMILIES
        if family != "bert-unigram" and of_this_library(write_folder(tmp_path / family, family, {}))[1]
    ]
    assert not warned
