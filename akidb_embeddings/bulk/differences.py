"""What two jobs differ in, in the words of the command line."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

# Path in a job's description -> what sets it. What is not here has no option.
_NAMES = {
    "precision": "--precision",
    "out_format": "the output's format (--out-format)",
    "passages": "--passages",
    "overlap": "--overlap",
    "with_text": "--with-text",
    "truncate": "--truncate",
    "batch_size": "--batch-size",
    "memory": "--memory",
    "input.name": "the input's name",
    "input.size": "the input's size in bytes",
    "input.mtime_ns": "the input's modification time",
    "input.format": "the input's format (--format)",
    "input.text_field": "--text-field",
    "input.id_field": "--id-field",
    "input.files": "the number of files in the folder",
    "part_rows": "AKIDB_BULK_PART_ROWS",
}
_FINGERPRINT = "model, prompt or an option that affects vectors (fingerprint {} there, {} now)"
_VERSION = "the version of akidb-embed that began it"
_FILES = "names, sizes or modification times of files in the folder"


def describe_differences(existing: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between the job that exists and the one asked for; each with both values."""
    old, new = dict(_flat(existing)), dict(_flat(now))
    changed = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    told = list[str]()
    # A precision is part of the fingerprint, and a dimension is that of the model.
    if "fingerprint" in changed and _without_precision(old) != _without_precision(new):
        told.append(_FINGERPRINT.format(old.get("fingerprint"), new.get("fingerprint")))
    told += [
        f"{_NAMES[key]} ({_value(key, old.get(key))} there, {_value(key, new.get(key))} now)"
        for key in sorted(_NAMES, key=list(_NAMES).index)
        if key in changed
    ]
    if "input.digest" in changed and "input.files" not in changed:
        told.append(_FILES)
    return told or [_VERSION]


def _flat(job: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in job.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _without_precision(job: Mapping[str, Any]) -> str:
    """The fingerprint as it would be in float32."""
    return str(job.get("fingerprint")).removesuffix(f"-{job.get('precision')}")


def _value(key: str, value: Any) -> str:
    if value is None:
        return "unknown" if key in ("input.size", "input.mtime_ns") else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "input.mtime_ns":
        return datetime.fromtimestamp(value / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{value:,}" if isinstance(value, int) else str(value)
