"""Texts that look like something else: a misspelled command, or the name of a file whose content was meant.

Embedding such a word may download a model and give a vector that nobody wants. But any text may be embedded, and
scripts pass on what they get. So this is an error only where what follows the word fits the command, or where the word
can hardly be anything but a file's name; otherwise it is a note.
"""

import difflib
import os
import shlex
from collections.abc import Collection, Sequence

from akidb_embeddings.cli.command import PROGRAM
from akidb_embeddings.cli.output import print_message
from akidb_embeddings.errors import InputError

# Words of other programs for what a command does.
_OTHER_WORDS = {
    "bulk": "file",
    "folder": "file",
    "version": "--version",
    "list": "models",
    "ls": "models",
    "pull": "download",
    "remove": "clear",
    "rm": "clear",
    "start": "serve",
    "benchmark": "bench",
    "check": "doctor",
    "rank": "rerank",
    "score": "rerank",
}
_COMMANDS_WITH_MODEL = ("file", "similarity", "rerank", "evaluate", "serve")
_COMMANDS_ON_TEXTS = ("similarity", "rerank")
_SHORTEST_ABBREVIATION = 3
_CUTOFF = 0.75
_LONGEST_NAME = 255


def near_command(word: str, commands: Collection[str]) -> str | None:
    """Return the command that a word may stand for: as an abbreviation, a misspelling, or another program's word."""
    word = word.lower()
    if word in _OTHER_WORDS:
        return _OTHER_WORDS[word]
    if len(word) >= _SHORTEST_ABBREVIATION:
        begun = [name for name in commands if name.startswith(word)]
        if begun:
            return begun[0]
    return next(iter(difflib.get_close_matches(word, commands, n=1, cutoff=_CUTOFF)), None)


def check_first_text(
    texts: Sequence[str], commands: Collection[str], *, explicit: bool, model: str | None = None
) -> None:
    """Check what the first text may be instead, before a model is loaded.

    Args:
        texts: All texts.
        commands: The names of all commands.
        explicit: Whether the command ``embed`` was given, so that no other one can be meant.
        model: The model that was given, which the commands that are proposed keep.

    Raises:
        InputError: It is almost certainly not meant as a text.
    """
    if not texts:
        return
    first, option = texts[0], f" --model {shlex.quote(model)}" if model else ""
    if _exists(first):
        _check_name(first, option, explicit=explicit)
    elif not explicit and (near := near_command(first, commands)):
        _check_near(texts, near, option)


def _note_command(word: str, near: str) -> None:
    """Print a note that a word is embedded, and which command was perhaps meant."""
    print_message(
        f"note: {word!r} is embedded as a text. If you meant the command: `{PROGRAM} {near}`. If not, "
        f"`{PROGRAM} -- {shlex.quote(word)}` embeds it without this note"
    )


def note_file_names(texts: Sequence[str], done: str, advice: str = "") -> None:
    """Print a note if all texts are names of files, since their content is not read.

    Args:
        texts: The texts.
        done: What is done with them: ``compared``.
        advice: How to do it with what is in a single file, with its quoted name as ``{}``.
    """
    if texts and all(map(_exists, texts)):
        names = " and ".join(map(repr, texts[:2]))
        many = f"the names {names} are {done}, not what is in the files"
        one = f"the name {names} is {done}, not what is in the file. {advice.format(shlex.quote(texts[0]))}"
        print_message(f"note: {one.rstrip() if len(texts) == 1 else many}")


def _check_near(texts: Sequence[str], near: str, option: str) -> None:
    first, rest = texts[0], texts[1:]
    fits = bool(rest) if near in _COMMANDS_ON_TEXTS else any(map(_is_object, rest))
    if not fits:
        _note_command(first, near)
        return
    others = shlex.join(rest)
    kept = option if near in _COMMANDS_WITH_MODEL else ""
    raise InputError(
        f"{first!r} is not a command; did you mean `{PROGRAM} {near}{kept} {others}`? To embed that word as a text, "
        f"put -- before it: `{PROGRAM}{option} -- {shlex.quote(first)} {others}`"
    )


def _check_name(name: str, option: str, *, explicit: bool) -> None:
    """A file or folder. A bare word may be both a text and a folder's name; a name with a suffix or slash is a name."""
    is_folder = os.path.isdir(name)
    kind = "folder" if is_folder else "file"
    quoted = shlex.quote(name)
    command = f"{PROGRAM} file {quoted}{_format_option(name, is_folder)} --out vectors.parquet{option}"
    if not explicit and (os.sep in name or (not is_folder and os.path.splitext(name)[1])):
        lines = "" if is_folder else f", or its lines: `{PROGRAM}{option} < {quoted}`"
        raise InputError(
            f"{name!r} is a {kind}, and only its name would be embedded. To embed what is in it: `{command}`{lines}. "
            f"To embed the name: `{PROGRAM}{option} -- {quoted}`"
        )
    print_message(f"note: {name!r} is embedded as a text. To embed what is in the {kind} of that name: `{command}`")


def _format_option(name: str, is_folder: bool) -> str:
    from akidb_embeddings.bulk.sources import format_by_name

    return "" if is_folder or format_by_name(name) else " --format lines"


def _exists(text: str) -> bool:
    """Whether a text is the name of a file or folder."""
    if not text or len(text) > _LONGEST_NAME or text in (os.curdir, os.pardir, os.sep):
        return False
    try:
        return os.path.isfile(text) or os.path.isdir(text)
    except ValueError:  # a null character
        return False


def _is_object(text: str) -> bool:
    """Whether a text is what commands work on: a file, a folder, or a known model."""
    from akidb_embeddings.registry import MODELS

    return _exists(text) or text in MODELS
