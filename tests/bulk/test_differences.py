"""What two jobs differ in, in words that a user knows."""

from typing import Any

import pytest

from akidb_embeddings.bulk.differences import describe_differences

JOB: dict[str, Any] = {
    "version": 3,
    "part_rows": 8192,
    "part_characters": 4 << 20,
    "fingerprint": "bert-1",
    "precision": "float32",
    "dimension": 384,
    "out_format": "npy",
    "passages": None,
    "overlap": 0,
    "with_text": False,
    "truncate": "end",
    "batch_size": 32,
    "memory": "fast",
    "input": {
        "name": "a.jsonl",
        "format": "jsonl",
        "size": 1000,
        "mtime_ns": 1_700_000_000_000_000_000,
        "text_field": "text",
        "id_field": None,
    },
}
FOLDER = JOB | {"input": {"name": "notes", "format": "folder", "files": 3, "size": 10, "digest": "abc"}}


def changed(**values: Any) -> dict[str, Any]:
    inner = {key.removeprefix("input_"): value for key, value in values.items() if key.startswith("input_")}
    outer = {key: value for key, value in values.items() if not key.startswith("input_")}
    return JOB | outer | {"input": JOB["input"] | inner}


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (changed(input_text_field="body"), ["--text-field (text there, body now)"]),
        (changed(input_id_field="id"), ["--id-field (none there, id now)"]),
        (changed(input_size=1200), ["the input's size in bytes (1,000 there, 1,200 now)"]),
        (
            changed(input_mtime_ns=1_700_000_060_000_000_000),
            ["the input's modification time (2023-11-14 22:13:20 UTC there, 2023-11-14 22:14:20 UTC now)"],
        ),
        (changed(input_name="b.jsonl"), ["the input's name (a.jsonl there, b.jsonl now)"]),
        (changed(passages=256), ["--passages (none there, 256 now)"]),
        (changed(with_text=True), ["--with-text (no there, yes now)"]),
        (changed(out_format="jsonl"), ["the output's format (--out-format) (npy there, jsonl now)"]),
        (
            changed(fingerprint="bert-2", dimension=768),
            ["model, prompt or an option that affects vectors (fingerprint bert-1 there, bert-2 now)"],
        ),
        (changed(fingerprint="bert-1-int8", precision="int8"), ["--precision (float32 there, int8 now)"]),
        (
            changed(fingerprint="bert-2-int8", precision="int8"),
            [
                "model, prompt or an option that affects vectors (fingerprint bert-1 there, bert-2-int8 now)",
                "--precision (float32 there, int8 now)",
            ],
        ),
        (changed(version=2), ["the version of akidb-embed that began it"]),
        (
            changed(memory="compact", batch_size=8, truncate="error", overlap=3),
            [
                "--overlap (0 there, 3 now)",
                "--truncate (end there, error now)",
                "--batch-size (32 there, 8 now)",
                "--memory (fast there, compact now)",
            ],
        ),
    ],
)
def test_only_what_differs_is_named_as_the_command_line_calls_it(now: dict[str, Any], told: list[str]) -> None:
    assert describe_differences(JOB, now) == told


def test_a_folder() -> None:
    other = FOLDER | {"input": FOLDER["input"] | {"digest": "abd"}}
    assert describe_differences(FOLDER, other) == ["names, sizes or modification times of files in the folder"]
    more = FOLDER | {"input": FOLDER["input"] | {"digest": "abd", "files": 4}}
    assert describe_differences(FOLDER, more) == ["the number of files in the folder (3 there, 4 now)"]


def test_every_key_of_a_job_has_words() -> None:
    for key in JOB.keys() - {"version", "part_characters", "input", "dimension"}:
        assert describe_differences(JOB, JOB | {key: "other"}) != ["the version of akidb-embed that began it"], key
    for key in JOB["input"]:
        new = JOB | {"input": JOB["input"] | {key: 7}}
        assert describe_differences(JOB, new) != ["the version of akidb-embed that began it"], key
