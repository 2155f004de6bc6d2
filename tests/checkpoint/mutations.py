"""Damage to model folders, drawn at random: values, keys, bytes, headers, files."""

import json
import math
import struct
from pathlib import Path
from random import Random
from typing import Any

MODELS = ("tiny-bert", "tiny-gemma3", "tiny-qwen3", "tiny-llama", "tiny-xlm-roberta", "tiny-modernbert", "tiny-pplx")
RERANKERS = ("tiny-bert-reranker", "tiny-modernbert-reranker-mean", "tiny-qwen3-classifier", "tiny-qwen3-reranker")
_DEEP = 100_000
_NUMBERS = (
    0,
    1,
    2,
    3,
    -1,
    8,
    64,
    2**31,
    2**32 - 1,
    2**63,
    10**9,
    10**400,
    0.5,
    1e-300,
    1e308,
    math.inf,
    -math.inf,
    math.nan,
)
_TEXTS = (
    "",
    "x",
    "a" * 300,
    "a" * 100_000,
    "../x",
    "/etc",
    "a\0b",
    "\ud800",
    "mean",
    "left",
    "F8_E4M3",
    "U8",
    "F64",
    "bert",
)
_KEYS = (
    *("model_type", "architectures", "hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"),
    *("matryoshka_dimensions", "is_matryoshka", "matryoshka_minimum", "rope_parameters", "rope_scaling", "rope_theta"),
    *("sliding_window", "layer_types", "pad_token_id", "quantization", "quantization_config", "hidden_act", "head_dim"),
    *("attention_bias", "query_pre_attn_scalar", "tokenizer_class", "model_max_length", "truncation_side", "bits"),
    *("do_lower_case", "strip_accents", "max_seq_length", "prompts", "default_prompt_name", "truncate_dim", "mode"),
    *("pooling_mode", "include_prompt", "in_features", "out_features", "bias", "activation_function", "use_residual"),
    *("normalizer", "pre_tokenizer", "post_processor", "truncation", "padding", "added_tokens", "group_size"),
    *("id2label", "num_labels", "activation_fn", "sentence_transformers", "classifier_pooling", "tie_word_embeddings"),
    *("sbert_ce_default_activation_function", "classifier_bias", "true_token_id", "module_input_name", "pair"),
    *("data_offsets", "dtype", "shape", "type", "path", "auto_map", "num_attention_heads", "num_key_value_heads"),
)
_STEPS = (
    {"type": "Prepend", "prepend": "a" * 5_000_000},
    {"type": "Replace", "pattern": {"String": "a"}, "content": "aa" * 1000},
    {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 40},
    {"type": "Precompiled", "precompiled_charsmap": "/////2FiY2Q="},
    {"type": "Precompiled", "precompiled_charsmap": "BAAAAAABAABhAA=="},
    {"type": "Split", "pattern": {"Regex": "(a+)+b"}, "behavior": "Isolated", "invert": False},
    {"type": "Sequence", "processors": [{"type": "RobertaProcessing", "sep": ["x", 2**32 - 1], "cls": ["y", 5]}] * 9},
    {"type": "Unigram", "unk_id": None, "vocab": [["a", math.nan], ["b", 0.0]]},
    {"type": "WordLevel", "vocab": {"a": 2**32 - 1}, "unk_token": "b"},
    {"Sequence": {"id": "A", "type_id": 0}},
    {"Sequence": {"id": "B", "type_id": 0}},
)


def damage(folder: Path, random: Random) -> str:
    """Damage a folder once, and say how."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if not files:
        return "nothing is left"
    file = random.choice(files)
    kinds = [_damage_bytes, _damage_file]
    kinds += [_damage_json] * 8 if file.suffix == ".json" else [_damage_header] * 6 + [_damage_weights] * 2
    return f"{file.relative_to(folder)}: {random.choice(kinds)(file, random)}"


def _damage_file(file: Path, random: Random) -> str:
    kind = random.choice(["delete", "empty", "folder", "loop", "bin", "move"])
    content = file.read_bytes()
    file.unlink()
    if kind == "empty":
        file.write_bytes(b"")
    elif kind == "folder":
        file.mkdir()
    elif kind == "loop":
        file.symlink_to(file.name)
    elif kind == "bin":
        file.with_suffix(".bin").write_bytes(content)
    elif kind == "move":
        target = file.parent / random.choice(["2_Dense", "1_Pooling", "9_Normalize", "3_Dense"])
        if not target.exists():
            target.mkdir()
            (target / "config.json").write_text("{}")
    return kind


def _damage_bytes(file: Path, random: Random) -> str:
    content = bytearray(file.read_bytes())
    place = random.randrange(min(len(content), 4096) + 1)
    kind = random.choice(["cut", "insert", "replace", "append", "nest"])
    if kind == "cut":
        del content[random.choice([place, -1 - place]) :]
    elif kind == "insert":
        content[place:place] = random.randbytes(random.choice([1, 4, 100]))
    elif kind == "replace":
        content[place : place + 8] = random.randbytes(8)
    elif kind == "append":
        content += random.choice([b"\0", b"}", b" " * 10, b"," * 1000])
    else:
        content[:] = random.choice([b"[", b'{"a":']) * random.choice([40, 1000, _DEEP])
    file.write_bytes(content)
    return f"{kind} at {place}"


def _damage_json(file: Path, random: Random) -> str:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return _damage_bytes(file, random)
    content, how = _changed(content, random)
    file.write_text(json.dumps(content))
    return how


def _damage_header(file: Path, random: Random) -> str:
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        return _damage_bytes(file, random)
    if random.random() < 0.1:
        header = {f"t{index}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for index in range(200_000)}
        how = "many tensors"
    else:
        header, how = _changed(header, random)
    packed = json.dumps(header).encode()
    claimed = random.choice([len(packed)] * 9 + [2**63])
    file.write_bytes(struct.pack("<Q", claimed) + packed + content[8 + length :])
    return f"header {how}"


def _damage_weights(file: Path, random: Random) -> str:
    content = file.read_bytes()
    start = min(len(content), 8 + int.from_bytes(content[:8], "little"))
    value = random.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\x80\x7f", struct.pack("<f", 1e38)])
    file.write_bytes(content[:start] + (value * (len(content) // 4))[: len(content) - start])
    return f"weights of {value!r}"


def _changed(content: Any, random: Random) -> tuple[Any, str]:
    """The content with one value somewhere in it replaced, removed or added."""
    parents: list[tuple[Any, Any]] = []
    value = content
    while isinstance(value, dict | list) and value and (not parents or random.random() < 0.75):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[random.randrange(len(keys))]
        parents.append((value, key))
        value = value[key]
    new = _value(random)
    if not parents:
        return new, f"all of it {new!r:.60}"
    parent, key = parents[-1]
    kind = random.choice(["replace", "replace", "replace", "remove", "add", "add"])
    if kind == "remove":
        del parent[key]
    elif kind == "add" and isinstance(parent, dict):
        key = random.choice(_KEYS)
        parent[key] = new
    elif kind == "add":
        parent.extend([new] * random.choice([1, 2, 40]))
    else:
        parent[key] = new
    return content, f"{kind} {[one for _, one in parents[:-1]]} {key!r} {new!r:.60}"


def _value(random: Random) -> Any:
    kind = random.choice(["number", "number", "text", "step", "flag", "list", "object", "deep"])
    if kind == "number":
        return random.choice(_NUMBERS)
    if kind == "text":
        return random.choice(_TEXTS)
    if kind == "step":
        return random.choice(_STEPS)
    if kind == "list":
        item = _value(random)
        return [item] * random.choice([0, 1, 3] if isinstance(item, dict | list) else [0, 1, 3, 10_000])
    if kind == "object":
        return {random.choice(_KEYS): _value(random)} if random.random() < 0.7 else {}
    return random.choice([None, True, False]) if kind == "flag" else json.loads("[" * 60 + "]" * 60)
