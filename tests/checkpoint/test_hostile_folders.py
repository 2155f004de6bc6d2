"""Model folders as an attacker would write them: an error of ours at once, before anything is built or looped over."""

import json
import math
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.checkpoint.safetensors import read_header
from akidb_embeddings.errors import CheckpointError
from tests.fixtures import copy_model, edit_json

BILLION = 10**9
DEEP = 100_000
EMPTY = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}  # a tensor without numbers


def refused(folder: Path, message: str) -> None:
    began = time.process_time()
    with pytest.raises(CheckpointError, match=message):
        EmbeddingService(str(folder))
    assert time.process_time() - began < 5


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-gemma3", "tiny-qwen3", "tiny-modernbert", "tiny-llama"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", BILLION),
        ("num_hidden_layers", math.inf),
        ("num_hidden_layers", "3"),
        ("hidden_size", BILLION),
        ("hidden_size", True),
        ("vocab_size", BILLION),
        ("max_position_embeddings", math.inf),
        ("max_position_embeddings", math.nan),
        ("max_position_embeddings", 10**400),
        ("matryoshka_dimensions", [8] * 100_000),
        ("matryoshka_dimensions", [10**10]),
        ("matryoshka_minimum", -BILLION),
        ("is_matryoshka", "no"),
        ("architectures", 5),
        ("architectures", [5]),
        ("model_type", ["bert"]),
        ("auto_map", "x"),
        ("rope_scaling", 5),
        ("sliding_window", -1),
    ],
)
def test_settings_of_a_wrong_type_or_beyond_the_tensors(tmp_path: Path, name: str, key: str, value: object) -> None:
    folder = copy_model(name, tmp_path / "model", **{"is_matryoshka": True, key: value})
    refused(folder, rf"config\.json gives {key} as .*; it must be ")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("tiny-bert", "type_vocab_size", BILLION),
        ("tiny-bert", "layer_norm_eps", math.inf),
        ("tiny-bert", "layer_norm_eps", math.nan),
        ("tiny-gemma3", "query_pre_attn_scalar", -1),
        ("tiny-gemma3", "use_bidirectional_attention", "false"),
        ("tiny-gemma3", "layer_types", [5] * 6),
        ("tiny-modernbert", "norm_bias", "false"),
        ("tiny-modernbert", "global_attn_every_n_layers", 0),
        ("tiny-qwen3", "attention_bias", 0),
        ("tiny-qwen3", "head_dim", -8),
        ("tiny-llama", "num_layers", BILLION),
        ("tiny-llama", "n_experts", BILLION),
        ("tiny-llama", "some_setting", 2**40),
    ],
)
def test_settings_of_one_architecture(tmp_path: Path, name: str, key: str, value: object) -> None:
    refused(
        copy_model(name, tmp_path / "model", **{key: value}), rf"config\.json gives {key} as .*; (it must|the model)"
    )


@pytest.mark.parametrize("padding", [BILLION, -1, 511])
def test_a_padding_id_that_leaves_no_position(tmp_path: Path, padding: int) -> None:
    """Positions start after it; where that limit was below 1 it was ignored, and all tokens had the last position."""
    folder = copy_model("tiny-xlm-roberta", tmp_path / "model")
    positions = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    edit_json(folder / "config.json", pad_token_id=min(padding, BILLION) if padding != 511 else positions - 1)
    refused(folder, "pad_token_id as")


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("tokenizer_config.json", "model_max_length", math.inf),
        ("tokenizer_config.json", "model_max_length", math.nan),
        ("tokenizer_config.json", "model_max_length", "512"),
        ("tokenizer_config.json", "truncation_side", 5),
        ("tokenizer_config.json", "do_lower_case", "yes"),
        ("tokenizer_config.json", "strip_accents", 1),
        ("tokenizer_config.json", "tokenize_chinese_chars", []),
        ("tokenizer_config.json", "tokenizer_class", ["BertTokenizer"]),
        ("tokenizer_config.json", "split_special_tokens", "no"),
        ("sentence_bert_config.json", "max_seq_length", math.inf),
        ("sentence_bert_config.json", "max_seq_length", 2**31),
        ("sentence_bert_config.json", "do_lower_case", "no"),
        ("config_sentence_transformers.json", "prompts", ["a"]),
        ("config_sentence_transformers.json", "prompts", {"query": 5}),
        ("config_sentence_transformers.json", "prompts", {"query": "a" * 100_000}),
        ("config_sentence_transformers.json", "default_prompt_name", {}),
        ("config_sentence_transformers.json", "truncate_dim", math.inf),
        ("1_Pooling/config.json", "pooling_mode", {"mean": 1}),
        ("1_Pooling/config.json", "include_prompt", "false"),
    ],
)
def test_settings_in_the_other_files(tmp_path: Path, file: str, key: str, value: object) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / file, **{key: value})
    refused(folder, rf"{file.replace('.', '[.]')} gives {key} as .*; it must be ")


@pytest.mark.parametrize("start", ["[", '{"a":'])
@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
        "tokenizer_config.json",
        "config_sentence_transformers.json",
    ],
)
@pytest.mark.parametrize("depth", [33, 1000, DEEP])
def test_deeply_nested_json(tmp_path: Path, file: str, start: str, depth: int) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    end = "]" if start == "[" else "}"
    (folder / file).write_text('{"x": ' + start * depth + "1" + end * depth + "}")
    refused(folder, rf"{file.replace('.', '[.]')} is not valid JSON: it is nested more than 32 levels deep")


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("tokenizer_config.json", {"cls_token": "\ud83d"}),
        ("tokenizer_config.json", {"extra_special_tokens": ["\ud83d"]}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"5": {"content": "a\udc00"}}}),
        ("special_tokens_map.json", {"mask_token": "\ud83d"}),
        ("added_tokens.json", {"\ud83d": 5}),
        ("model.safetensors.index.json", {"weight_map": {"a": "\ud800"}}),
        ("config_sentence_transformers.json", {"prompts": {"query": "\ud83d: "}}),
    ],
)
def test_half_a_character_in_a_text(tmp_path: Path, file: str, entries: dict[str, Any]) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / file, **entries)
    if file == "model.safetensors.index.json":  # which is read only without it
        (folder / "model.safetensors").unlink()
    refused(folder, rf"{file} is not valid JSON: it has a lone surrogate")


def test_a_whole_emoji_as_two_escapes_is_fine(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", prompts={"query": "\N{GRINNING FACE} "})
    assert b"\\ud83d\\ude00" in (folder / "config_sentence_transformers.json").read_bytes()
    assert read_checkpoint(folder).prompts["query"] == "\N{GRINNING FACE} "


def test_a_large_json_file_is_not_parsed(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    (folder / "config.json").write_text('{"a": [' + "1," * 2**23 + "1]}")
    refused(folder, r"config\.json is not valid JSON: it has more than 16777216 bytes")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"data_offsets": [0, math.inf]}, "offsets"),
        ({"data_offsets": [0, 4.0]}, "offsets"),
        ({"data_offsets": [-4, 0]}, "gaps"),
        ({"data_offsets": [0, 8]}, "does not fit its shape and dtype"),
        ({"data_offsets": [0]}, "not enough values"),
        ({"shape": [2]}, "does not fit its shape and dtype"),
        ({"shape": [1, math.inf]}, "the shape of 'a' is"),
        ({"shape": [-1, -1]}, "the shape of 'a' is"),
        ({"shape": [1] * 9}, "the shape of 'a' is"),
        ({"shape": [2**31, 0]}, "the shape of 'a' is"),
        ({"shape": 1}, "not iterable"),
        ({"dtype": "X32"}, "X32"),
        ({"dtype": ["F32"]}, "unhashable"),
    ],
)
def test_headers_that_mlx_would_trust(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    file = tmp_path / "model.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | entry}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(CheckpointError, match=rf"is damaged: its header cannot be read \(.*{message}"):
        read_header(file)


def test_tensors_that_overlap(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(CheckpointError, match="overlap or leave gaps at byte 0"):
        read_header(file)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"[" * DEEP + b"]" * DEEP, "nested more than 32 levels deep"),
        (lambda: json.dumps({"a": {"b": [[]] * 9}}).encode(), "data_offsets"),
        (
            lambda: json.dumps(
                {f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(150_000)}
            ),
            "more than 100000 tensors",
        ),
        (lambda: b'{"a":' + b" " * 2**24 + b"1}", "more than 16777216 bytes|Expecting value"),
    ],
)
def test_headers_that_would_take_long(tmp_path: Path, make: Callable[[], Any], message: str) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    header = make()
    header = header.encode() if isinstance(header, str) else header
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    refused(folder, message)


@pytest.mark.long
def test_many_tensors_in_many_files(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    names = [f"{index}.safetensors" for index in range(4)]
    for name in names:
        header = json.dumps({f"{name}{index}": EMPTY for index in range(30_000)}).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(header)) + header)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(names) | {n: n for n in names}})
    )
    refused(folder, "more than 100000 tensors")


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "", "\u00fc" * 200])
def test_shards_with_no_names_of_files(tmp_path: Path, name: str) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    refused(folder, "names the weight file .* which is no name of a file")


@pytest.mark.parametrize("shape", [(64,), (2, 16, 32)])
def test_dense_weights_that_are_no_matrix(tmp_path: Path, shape: tuple[int, ...]) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    file = folder / "2_Dense" / "model.safetensors"
    save_file({key: np.zeros(shape, np.float32) for key in load_file(file)}, file)
    (folder / "2_Dense" / "config.json").unlink()
    refused(folder, r"dense\.0\.weight has shape .*; a matrix \[outputs, inputs\] is required")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors", "modules.json"])
@pytest.mark.parametrize("kind", ["folder", "loop", "empty"])
def test_files_that_are_none(tmp_path: Path, file: str, kind: str) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    (folder / file).unlink()
    if kind == "folder":
        (folder / file).mkdir()
    elif kind == "loop":
        (folder / file).symlink_to(file)
    else:
        (folder / file).touch()
    refused(folder, file.replace(".", "[.]"))


def test_numbers_of_tokens_without_a_limit(tmp_path: Path) -> None:
    """What transformers writes for none."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "tokenizer_config.json", model_max_length=int(1e30))
    edit_json(folder / "sentence_bert_config.json", max_seq_length=None)
    assert read_checkpoint(folder).max_tokens == 2048
