"""Tables in the documentation have every key, option and error that the code has, with its default."""

import re

import pytest
import yaml

from akidb_embeddings import EmbeddingConfig, EmbeddingError, errors
from akidb_embeddings.config.embedding import FIELDS
from akidb_embeddings.service.options import Options
from tests.docs.pages import read


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_told_with_its_default(name: str) -> None:
    [row] = re.findall(
        rf"^\| .*`{name}`.* \|$", read("docs/configuration.md").split("## Which one wins")[1], re.MULTILINE
    )
    told = row.split(" | ")[1].strip("`")
    assert yaml.safe_load(told) == getattr(EmbeddingConfig(), name)


def test_every_option_of_a_call_is_told() -> None:
    page = read("docs/python.md")
    assert not [name for name in Options.__annotations__ if f"| `{name}=" not in page]


def test_every_error_is_told() -> None:
    page = read("docs/python.md")
    names = [
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, EmbeddingError)
    ]
    assert not [name for name in names if name not in ("UnusableVectorError",) and f"`{name}`" not in page]
