"""Noticing that no row at all can be embedded: a mistake in the command, which is told with the way out."""

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from akidb_embeddings.bulk.rows import Problem, Reject
from akidb_embeddings.errors import InputError

FIRST_ROWS = 1000
"""So many rejects at the beginning of a job, for one reason and without any row that is embedded, end it."""

_LISTED = 3  # fields that are proposed
_ID_NAMES = ("id", "_id", "key", "uuid")


class NothingEmbeddedError(InputError):
    """No row of a job can be embedded."""


class FirstRows:
    """Watches a job until its first row is embedded.

    Args:
        embedded: How many rows earlier runs have embedded.
        replaced: The output that the job replaces; None if there is none.
    """

    def __init__(self, embedded: int, replaced: Path | None = None) -> None:
        self._is_watching = not embedded
        self._replaced = replaced
        self._rejects: list[Reject] = []
        self._count = 0

    def add(self, rejects: Sequence[Reject], *, embedded: bool) -> None:
        """Count the rejects of a chunk.

        Args:
            rejects: The rejects.
            embedded: Whether the chunk has rows that are embedded.

        Raises:
            NothingEmbeddedError: They are as many as ``FIRST_ROWS``, all for one reason.
        """
        self._is_watching = self._is_watching and not embedded
        if not self._is_watching:
            self._rejects = []
            return
        self._count += len(rejects)
        self._rejects += rejects[: FIRST_ROWS - len(self._rejects)]
        if len(self._rejects) == FIRST_ROWS and len({_kind(reject) for reject in self._rejects}) == 1:
            raise self._error(f"none of the first {FIRST_ROWS:,} rows can")

    def end(self) -> None:
        """Check the whole job.

        Raises:
            NothingEmbeddedError: It has rows, and none of them is embedded. Or it has none, as after a failed command
                before a pipe, and would replace an output.
        """
        if self._is_watching and not self._rejects and self._replaced is not None:
            raise NothingEmbeddedError(
                f"the input has no rows, and {self._replaced} would be replaced by an empty output. Nothing was "
                f"written. If that is what you want, remove {self._replaced} first."
            )
        if self._is_watching and self._rejects:
            raise self._error(f"none of the {self._count:,} rows can" if self._count > 1 else "the only row cannot")

    def _error(self, which: str) -> NothingEmbeddedError:
        [(kind, _)] = Counter(map(_kind, self._rejects)).most_common(1)
        alike = [reject for reject in self._rejects if _kind(reject) == kind]
        first = alike[0]
        where = f"row {first.number}" if first.line is None else f"line {first.line}"
        advice = _ADVICE.get(first.problem, _no_advice)(alike)
        return NothingEmbeddedError(f"{which} be embedded; {where}: {first.reason}. {advice}Nothing was written.")


def _kind(reject: Reject) -> tuple[Problem, str]:
    return reject.problem, reject.reason if reject.problem is Problem.OTHER else ""


def _common_fields(rejects: Sequence[Reject]) -> list[str]:
    """The fields that are proposed for most of the rejects, in the first one's order."""
    counts = Counter(name for reject in rejects for name in reject.fields)
    return [name for name in dict.fromkeys((*rejects[0].fields, *counts)) if 2 * counts[name] > len(rejects)]


def _is_id(name: str) -> bool:
    return name.rpartition(".")[2].lower() in _ID_NAMES


def _text_advice(rejects: Sequence[Reject]) -> str:
    common = _common_fields(rejects)
    likely = [name for name in common if not _is_id(name)] or common
    fields = [shlex.quote(name) for name in likely[:_LISTED]]
    if not fields:
        return "Name the field of the texts with --text-field. "
    return f"Give --text-field {' or --text-field '.join(fields)}. "


def _id_advice(rejects: Sequence[Reject]) -> str:
    fields = _common_fields(rejects)
    likely = [name for name in fields if _is_id(name)]
    likely += [name for name in fields if name.lower().endswith("id") and name not in likely]
    give = f"Give --id-field {shlex.quote((likely or fields)[0])}, or leave" if fields else "Leave"
    return f"{give} out --id-field: the ids are then the rows' numbers. "


def _json_advice(rejects: Sequence[Reject]) -> str:
    return (
        "JSON lines have one JSON object on each line; `jq -c '.[]' FILE` prints a JSON array that way. If each line "
        "is a text, give --format lines. "
    )


def _columns_advice(rejects: Sequence[Reject]) -> str:
    return "CSV has as many columns on each line as in the first one, separated by commas. "


def _encoding_advice(rejects: Sequence[Reject]) -> str:
    return "Convert the input to UTF-8, for example: iconv -f latin1 -t utf-8. "


def _no_advice(rejects: Sequence[Reject]) -> str:
    return ""


_ADVICE: Mapping[Problem, Callable[[Sequence[Reject]], str]] = {
    Problem.TEXT_FIELD: _text_advice,
    Problem.ID_FIELD: _id_advice,
    Problem.JSON: _json_advice,
    Problem.COLUMNS: _columns_advice,
    Problem.ENCODING: _encoding_advice,
}
