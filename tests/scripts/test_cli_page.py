"""The reference of the command line is what the parsers say."""

from akidb_embeddings.cli import COMMANDS
from scripts import cli_page


def test_the_page_is_what_the_script_makes() -> None:
    assert cli_page.FILE.read_text(encoding="utf-8") == cli_page.page(), "run: python scripts/cli_page.py"


def test_every_option_of_every_command_is_there() -> None:
    sections = {part.split("\n", 1)[0]: part for part in cli_page.page().split("\n## ")}
    common = sections["Options that several commands share"]
    for name, command in COMMANDS.items():
        for action in command.parser(name)._actions:
            for option in action.option_strings:
                if option not in ("-h", "--help"):
                    assert f"`{option}" in sections[name] + common, f"{name} {option}"
