"""The parts of a command, and the parser that all commands share."""

import argparse
from collections.abc import Callable
from typing import NamedTuple, NoReturn

PROGRAM = "akidb-embed"


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors, and without abbreviated options: a new option must not break a script."""

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


# The library's names for arguments whose option has another ``dest``, since their own is a field of the configuration.
_LIBRARY_NAMES = {"prompt_text": "prompt", "prompt_task": "task", "passages": "size", "models": "model_name"}
# A command without an option for the model has no such name: hints that need it are left out.
_NO_NAMES = {"model_name": None}


class Command(NamedTuple):
    """One command.

    Attributes:
        summary: One line for the list of all commands.
        add_arguments: Adds the command's arguments to its parser.
        run: Runs the command with its parsed arguments, and returns the exit code.
        example: A command line, for the command's own help.
        notes: Further text for the command's own help.
        takes_texts: Whether its positional arguments are texts, which may stand before and after options.
    """

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    example: str
    notes: str = ""
    takes_texts: bool = False

    def parse(self, name: str, arguments: list[str]) -> argparse.Namespace:
        """Parse the arguments after the command's name.

        Returns:
            The parsed arguments. ``names`` maps the library's names of arguments to the options that set them.
        """
        parser = self.parser(name)
        parser.set_defaults(names=option_names(parser))
        if not self.takes_texts:
            return parser.parse_args(arguments)
        # Texts may stand before and after options. argparse's intermixed parsing would take a text after "--" for an
        # option, so those texts are kept from it.
        end = arguments.index("--") if "--" in arguments else len(arguments)
        options = parser.parse_intermixed_args(arguments[:end])
        options.texts += arguments[end + 1 :]
        return options

    def parser(self, name: str) -> argparse.ArgumentParser:
        """The parser of this command's arguments; the parsed namespace has ``run`` in it."""
        description = f"{self.summary[0].upper()}{self.summary[1:]}.\n\n{self.notes}".strip()
        parser = Parser(f"{PROGRAM} {name}", description, epilog=f"example:\n  {self.example}")
        self.add_arguments(parser)
        parser.set_defaults(run=self.run)
        return parser


def option_names(parser: argparse.ArgumentParser) -> dict[str, str | None]:
    """The options by the library's names of the arguments they set: ``{"model_name": "--model"}``."""
    return _NO_NAMES | {
        name: action.option_strings[0]
        for action in parser._actions  # argparse has no public equivalent
        if action.option_strings
        for name in (action.dest, _LIBRARY_NAMES.get(action.dest, action.dest))
    }
