"""Tables in the documentation have every key, option and error that the code has, with its default."""

import re

import pytest
import yaml

from akidb_embeddings import EmbeddingConfig, EmbeddingError, RerankConfig, errors
from akidb_embeddings.config.embedding import FIELDS
from akidb_embeddings.config.rerank import FIELDS as RERANK_FIELDS
from akidb_embeddings.service.options import Options
from tests.docs.pages import read


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_told_with_its_default(name: str) -> None:
    page = read("docs/configuration.md")
    [row] = re.findall(
        rf"^\| .*`{name}`.* \|$", page.split("## Which one wins")[1].split("## Settings of rerankers")[0], re.MULTILINE
    )
    told = row.split(" | ")[1].strip("`")
    assert yaml.safe_load(told) == getattr(EmbeddingConfig(), name)


@pytest.mark.parametrize("name", ["model_name", "max_tokens", "instruction", "prompt_name"])
def test_every_setting_of_rerankers_is_told_with_its_default(name: str) -> None:
    page = read("docs/configuration.md").split("## Settings of rerankers")[1]
    [row] = re.findall(rf"^\| `{name}` .* \|$", page, re.MULTILINE)
    assert yaml.safe_load(row.split(" | ")[1].strip("`")) == getattr(RerankConfig(), name)


def test_rerankers_have_no_other_settings_of_their_own() -> None:
    own = {"instruction", "prompt_name"}
    assert set(RERANK_FIELDS) - own < set(FIELDS)


def test_every_option_of_a_call_is_told() -> None:
    page = read("docs/python.md")
    assert not [name for name in Options.__annotations__ if f"| `{name}=" not in page]


def test_every_error_is_told() -> None:
    page = read("docs/python.md")
    names = [
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, EmbeddingError)
    ]
    assert not [name for name in names if name not in ("UnusableVectorError",) and f"`{name}`" not in page]
