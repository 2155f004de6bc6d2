"""Token ids: special tokens, truncation, counts, and texts that cannot be tokenized."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.errors import CheckpointError, ConfigurationError, InputError
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from tests.fixtures import BUNDLED, TINY, copy_model, edit_json, golden, model_path
from tests.golden.texts import TEXTS, counted_text


def tokenizer(name: str | Path, max_tokens: int | None = None) -> Tokenizer:
    checkpoint = read_checkpoint(name if isinstance(name, Path) else model_path(name))
    return Tokenizer(checkpoint, max_tokens or checkpoint.max_tokens)


@pytest.mark.parametrize("name", [*TINY, "all-minilm-l6-v2"])
def test_counts_before_and_after_truncation(name: str) -> None:
    tokens = tokenizer(name).encode(TEXTS, exact_counts=True)
    assert [len(ids) for ids in tokens.ids] == golden(name)["token_counts"].tolist()
    assert tokens.counts == golden(name)["full_token_counts"].tolist()
    assert {ids.dtype for ids in tokens.ids} == {np.dtype(np.int32)}


def test_truncation_keeps_the_special_tokens() -> None:
    whole, cut = (tokenizer("tiny-bert", limit).encode([counted_text(50)]) for limit in (None, 10))
    [all_ids], [kept] = whole.ids, cut.ids
    assert kept.tolist() == [*all_ids[:9], all_ids[-1]]
    assert (cut.counts, cut.truncated) == ([52], [True])
    assert whole.truncated == [False]


def test_exactly_the_limit_is_not_truncated() -> None:
    assert tokenizer("tiny-bert", 12).encode([counted_text(10), counted_text(11)]).truncated == [False, True]


def test_truncation_from_the_left_where_the_model_says_so(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "tokenizer_config.json", truncation_side="left")
    [all_ids] = tokenizer(folder).encode([counted_text(50)]).ids
    assert tokenizer(folder, 10).encode([counted_text(50)]).ids[0].tolist() == [all_ids[0], *all_ids[-9:]]


def without_end_token(folder: Path) -> Path:
    """As old conversions are: without the post-processor, and without sentence-transformers' files."""
    (folder / "modules.json").unlink()
    post_processor = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    edit_json(folder / "tokenizer.json", post_processor=post_processor)
    return folder


def test_a_missing_end_token_is_appended_and_counted(tmp_path: Path) -> None:
    bare = without_end_token(copy_model("tiny-qwen3", tmp_path / "model"))
    for limit in (None, 10):
        expected, given = tokenizer("tiny-qwen3", limit).encode(TEXTS), tokenizer(bare, limit).encode(TEXTS)
        assert [ids.tolist() for ids in given.ids] == [ids.tolist() for ids in expected.ids]
        assert given.counts == expected.counts


def test_an_end_token_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    folder = without_end_token(copy_model("tiny-qwen3", tmp_path / "model"))
    text = (folder / "tokenizer.json").read_text().replace("<|endoftext|>", "<|other|>")
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"<\|endoftext\|>"):
        tokenizer(folder)


def test_another_end_token_of_the_tokenizers_own_is_left_alone(tmp_path: Path) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    content = json.loads((folder / "tokenizer.json").read_text())
    text = json.dumps(content["post_processor"]).replace("<|endoftext|>", "<|im_end|>")
    other = next(token["id"] for token in content["added_tokens"] if token["content"] == "<|im_end|>")
    end = next(token["id"] for token in content["added_tokens"] if token["content"] == "<|endoftext|>")
    edit_json(folder / "tokenizer.json", post_processor=json.loads(text.replace(f"[{end}]", f"[{other}]")))
    assert tokenizer(folder).encode(["a"]).ids[0][-1] == other


def test_truncation_side_of_tokenizer_json_counts_where_nothing_else_says(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    truncation = {"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    edit_json(folder / "tokenizer.json", truncation=truncation)
    edit_json(folder / "tokenizer_config.json", truncation_side=None)
    [all_ids] = tokenizer("tiny-bert").encode([counted_text(50)]).ids
    assert tokenizer(folder, 10).encode([counted_text(50)]).ids[0].tolist() == [all_ids[0], *all_ids[-9:]]


def test_padding_of_tokenizer_json_does_not_hide_the_end_token(tmp_path: Path) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    padding = {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
               "pad_type_id": 0, "pad_token": "a"}  # fmt: skip
    edit_json(folder / "tokenizer.json", padding=padding)
    for limit in (None, 16):
        expected, given = (tokenizer(name, limit).encode(TEXTS) for name in ("tiny-qwen3", folder))
        assert [ids.tolist() for ids in given.ids] == [ids.tolist() for ids in expected.ids]
        assert given.counts == expected.counts


def test_bert_without_its_special_tokens_is_refused(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "tokenizer.json", post_processor=None)
    with pytest.raises(CheckpointError, match="adds 0 special tokens"):
        tokenizer(folder)


def test_bert_goes_by_tokenizer_config_for_case_and_accents(tmp_path: Path) -> None:
    """As transformers does, whatever tokenizer.json's own normalizer says."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    cased = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
             "lowercase": False}  # fmt: skip
    edit_json(folder / "tokenizer.json", normalizer=cased)
    texts = ["The CAT", "caf\u00e9"]
    expected, given = (tokenizer(name).encode(texts) for name in ("tiny-bert", folder))
    assert [ids.tolist() for ids in given.ids] == [ids.tolist() for ids in expected.ids]
    edit_json(folder / "tokenizer_config.json", do_lower_case=False)
    assert tokenizer(folder).encode(texts).ids[0].tolist() != expected.ids[0].tolist()


def test_lowercasing_of_sentence_bert_config(tmp_path: Path) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    assert tokenizer(folder).encode(["ABC"]).ids[0].tolist() != tokenizer(folder).encode(["abc"]).ids[0].tolist()
    edit_json(folder / "sentence_bert_config.json", do_lower_case=True, max_seq_length=64)
    assert tokenizer(folder).encode(["ABC"]).ids[0].tolist() == tokenizer(folder).encode(["abc"]).ids[0].tolist()


def test_a_lone_surrogate_names_text_and_character() -> None:
    with pytest.raises(InputError, match=r"texts\[7\] has a lone surrogate at character 2"):
        tokenizer("tiny-bert").encode(["fine", "ab\ud800"], first_index=6)


def test_a_text_without_tokens_names_it(tmp_path: Path) -> None:
    folder = without_end_token(copy_model("tiny-qwen3", tmp_path / "model"))
    edit_json(folder / "1_Pooling" / "config.json", pooling_mode_lasttoken=False, pooling_mode_mean_tokens=True)
    with pytest.raises(InputError, match=r"texts\[1\] is '', which gives no tokens"):
        tokenizer(folder).encode(["a", ""])


def test_a_token_beyond_the_embedding_table_is_refused(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model", vocab_size=20)
    with pytest.raises(CheckpointError, match=r"is not this model's: .* has token \d+; .* embeddings for 20"):
        tokenizer(folder)
    edit_json(folder / "config.json", vocab_size=400)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"].append({**content["added_tokens"][0], "id": 400, "content": "rare"})
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"texts\[1\] has token 400; this model has embeddings for 400"):
        tokenizer(folder).encode(["a", "rare"])


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (-1, r"is -1; ids are 0 to 2147483647, of which the vocabulary has \d+\.$"),
        (2**40, r"is 1099511627776; ids are 0 to 2147483647, of which the vocabulary has \d+\.$"),
        (2**31, "is 2147483648; ids are 0 to"),
        (1.5, "is of type float; an id is an integer"),
        ("1", "is of type str; an id is an integer"),
        (None, "is of type NoneType; an id is an integer"),
    ],
)
def test_what_can_be_no_id_is_refused(token: Any, words: str) -> None:
    with pytest.raises(InputError, match=r"^indices\[2\] " + words) as caught:
        tokenizer("tiny-bert").strings([1, 2, token, 3])
    assert (caught.value.field, caught.value.index) == ("indices", 2)


def test_the_strings_of_ids() -> None:
    found = tokenizer("tiny-bert").strings(np.array([2, 3, 10**6, 2**31 - 1], np.int32))
    assert found == ["[CLS]", "[SEP]", "", ""]


def test_a_limit_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="special tokens alone take 2"):
        tokenizer("tiny-bert", 2)


@pytest.mark.long
def test_many_threads_share_one() -> None:
    shared = tokenizer(BUNDLED)
    expected = [ids.tolist() for ids in shared.encode(TEXTS).ids]
    with ThreadPoolExecutor(16) as pool:
        for tokens in pool.map(lambda _: shared.encode(TEXTS), range(64)):
            assert [ids.tolist() for ids in tokens.ids] == expected
