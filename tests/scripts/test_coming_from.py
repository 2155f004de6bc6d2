"""The page for those who come from another library is what the adapters say of each argument."""

from scripts import coming_from


def test_the_page_is_what_the_script_makes() -> None:
    assert coming_from.PAGE.read_text(encoding="utf-8") == coming_from.page(), "run: python scripts/coming_from.py"


def test_every_argument_of_every_class_is_there() -> None:
    for framework, classes in coming_from.CLASSES.items():
        for name, arguments in classes.items():
            section = coming_from.page().split(f"\n## {framework}: {name}\n")[1].split("\n## ")[0]
            assert not [argument for argument in arguments if f"`{argument}`" not in section], name
