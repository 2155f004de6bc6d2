"""What a command consists of, and how all of them read their arguments."""

import argparse
from collections.abc import Callable
from typing import NamedTuple, NoReturn

PROGRAM = "akidb-embed"


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, and without abbreviated options: a new option must not break a script."""

    def __init__(self, prog: str, description: str, usage: str | None = None, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            usage=usage,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 after one line on stderr."""
        self.exit(2, f"{PROGRAM}: error: {message} (see `{self.prog} --help`)\n")


# Where the library's name for an argument is not the option's ``dest``, which would hide a field of the configuration.
_LIBRARY_NAMES = {"prompt_text": "prompt", "prompt_task": "task", "passages": "size"}


class Command(NamedTuple):
    """One command: ``summary`` for the list of all, ``notes`` and ``example`` for its own help."""

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    example: str
    notes: str = ""
    takes_texts: bool = False

    def parse(self, name: str, arguments: list[str]) -> argparse.Namespace:
        """The arguments after the command's name; ``names`` says which option sets which argument of the library."""
        parser = self.parser(name)
        parser.set_defaults(names=_flags(parser))
        if not self.takes_texts:
            return parser.parse_args(arguments)
        # Texts may stand on both sides of an option. What argparse has for that takes a text after "--" for an option.
        cut = arguments.index("--") if "--" in arguments else len(arguments)
        options = parser.parse_intermixed_args(arguments[:cut])
        options.texts += arguments[cut + 1 :]
        return options

    def parser(self, name: str) -> argparse.ArgumentParser:
        """The parser of this command's arguments; the namespace it gives has ``run`` in it."""
        description = f"{self.summary[0].upper()}{self.summary[1:]}.\n\n{self.notes}".strip()
        parser = Parser(f"{PROGRAM} {name}", description, epilog=f"example:\n  {self.example}")
        self.add_arguments(parser)
        parser.set_defaults(run=self.run)
        return parser


def _flags(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The options by the library's names for what they set: ``--model`` by ``model_name``."""
    return {
        _LIBRARY_NAMES.get(action.dest, action.dest): action.option_strings[0]
        for action in parser._actions  # argparse has no public list of them
        if action.option_strings
    }
