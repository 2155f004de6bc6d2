"""Write docs/cli.md, the reference of the command line, from its parsers.

Run: ``python scripts/cli_page.py``. With ``--check`` it writes nothing, and exits with 1 if the file is not what it
would write. The parsers are read, not their help, because Python's versions lay that out differently.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from akidb_embeddings.cli import COMMANDS
from akidb_embeddings.cli.command import PROGRAM, Command

FILE = Path(__file__).parent.parent / "docs" / "cli.md"
_HEADING = """\
# Command-line reference

Generated from the program's own help by `python scripts/cli_page.py`; do not edit it. `akidb-embed COMMAND --help` says
the same. [The guide](command-line.md) has examples.

| command | what it does |
|---|---|
{commands}

Without a command, the arguments are texts to embed: `akidb-embed "some text"` is `akidb-embed embed "some text"`. To
embed a word that is a command, put `--` before it: `akidb-embed -- models`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | something failed |
| 2 | wrong usage, configuration or input |
| 3 | `file`: done, but some rows were rejected |
| 130 | Ctrl-C |
| 141 | the pipe that reads the output was closed |
"""
_COMMON = "## Options that several commands share\n"
Group = tuple[str, str]  # title, lines


def page() -> str:
    """The whole page."""
    table = "\n".join(f"| [`{name}`](#{name}) | {command.summary} |" for name, command in COMMANDS.items())
    groups = {name: _groups(command.parser(name)) for name, command in COMMANDS.items()}
    counts = Counter(group for own in groups.values() for group in own)
    shared = [group for group, count in counts.items() if count > 1 and group[0]]
    parts = [_HEADING.format(commands=table)]
    parts += [_command(name, command, groups[name], shared) for name, command in COMMANDS.items()]
    parts += [_COMMON, *(f"### {_heading(title)}\n\n{lines}\n" for title, lines in shared)]
    return "\n".join(parts)


def _command(name: str, command: Command, groups: list[Group], shared: list[Group]) -> str:
    parser = command.parser(name)
    parts = [f"## {name}", _sentence(command.summary), f"```text\n{_usage(parser)}\n```"]
    if command.notes:
        parts.append(_notes(command.notes))
    for title, lines in groups:
        if (title, lines) not in shared:
            parts.append(f"**{_heading(title)}**\n\n{lines}" if title else lines)
    if common := [f"[{title}](#{_slug(title)})" for title, lines in groups if (title, lines) in shared]:
        parts.append(f"Also the options of {' and '.join(common)}.")
    parts.append(f"Example: `{command.example}`" if "\n" not in command.example else _examples(command.example))
    return "\n\n".join(parts) + "\n"


def _examples(text: str) -> str:
    return f"Example:\n\n```text\n{text}\n```"


def _usage(parser: argparse.ArgumentParser) -> str:
    words = [parser.prog]
    for action in parser._actions:  # argparse has no public equivalent
        if not action.option_strings:
            name = str(action.metavar or action.dest.upper())
            words.append({"*": f"[{name} ...]", "?": f"[{name}]", "+": f"{name} ..."}.get(str(action.nargs), name))
        elif action.required:
            words.append(_form(action).strip("`"))
    return " ".join([*words, "[OPTIONS]"])


def _groups(parser: argparse.ArgumentParser) -> list[Group]:
    """The arguments, group by group; those without a title of their own first."""
    found: list[Group] = []
    plain: list[str] = []
    for group in parser._action_groups:
        lines = [_line(parser, action) for action in group._group_actions if action.dest != "help"]
        if group.title in ("positional arguments", "options"):
            plain += lines
        elif lines:
            text = f"{_sentence(group.description)}\n\n" if group.description else ""
            found.append((group.title or "", text + "\n".join(lines)))
    return [("", "\n".join(plain)), *found] if plain else found


def _line(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = " ".join(parser._get_formatter()._expand_help(action).split())
    return f"- {_form(action)}: {_escaped(text)}"


def _form(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest.upper()}`"
    value = ""
    if action.nargs != 0:
        choices = f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper()
        value = f" {action.metavar or choices}"
    return ", ".join(f"`{option}{value}`" for option in action.option_strings)


def _notes(text: str) -> str:
    """Notes as paragraphs. Where a line begins with a name and a colon, it begins a paragraph of its own."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        head = line.partition(":")[0]
        if lines and lines[-1] and head != line and " " not in head:
            lines.append("")
        lines.append(_escaped(line))
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text as Markdown: ``*`` and ``<`` have no meaning in a help, nor have quotes one in Markdown."""
    parts = text.split("`")
    return "`".join(part if n % 2 else part.replace("*", r"\*").replace("<", "&lt;") for n, part in enumerate(parts))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _heading(title: str) -> str:
    return f"{title[0].upper()}{title[1:]}" if title else ""


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")


def main() -> None:
    parser = argparse.ArgumentParser(description=f"Write the reference of {PROGRAM}.")
    parser.add_argument("file", nargs="?", type=Path, default=FILE)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file differs")
    options = parser.parse_args()
    text = page()
    if not options.check:
        options.file.write_text(text, encoding="utf-8")
    elif not options.file.is_file() or options.file.read_text(encoding="utf-8") != text:
        sys.exit(f"{options.file} is not what the parsers say; run `python scripts/cli_page.py`")


if __name__ == "__main__":
    main()
