"""``llm akidb``: registering models, and searching with queries' prompts."""

import contextlib
import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import click
import llm
import sqlite_utils
from llm.embeddings import Entry

from akidb_embeddings import EmbeddingConfig, EmbeddingError
from llm_akidb.model import PREFIX, QUERY, MLXEmbeddingModel
from llm_akidb.registered import BUNDLED, change_models, read_models

_OPTIONS = {
    "revision": "--revision",
    "adapter": "--adapter",
    "adapter_revision": "--adapter-revision",
    "pooling": "--pooling",
    "normalize": "--no-normalize",
    "dimensions": "--dimensions",
    "untrained_dimensions": "--untrained-dimensions",
    "max_tokens": "--max-tokens",
    "truncate": "--truncate",
    "query_prompt": "--query-prompt",
    "document_prompt": "--document-prompt",
    "query_prompt_name": "--query-prompt-name",
    "document_prompt_name": "--document-prompt-name",
    "task": "--task",
}


@click.group()
def akidb() -> None:
    """Embedding models of akidb-embeddings, computed on this machine with MLX"""


@akidb.command()
@click.argument("model")
@click.option("--name", help="Name after 'akidb/'; needed with any of the settings below")
@click.option("aliases", "-a", "--alias", multiple=True, help="Alias to use for this model")
@click.option("--lazy", is_flag=True, help="Don't download or load the model until it is first used")
@click.option("--revision", help="Branch, tag or commit of the repository")
@click.option("--adapter", help="LoRA adapter to the model: a Hugging Face repository, or a folder")
@click.option("--adapter-revision", help="Branch, tag or commit of the adapter's repository")
@click.option("--pooling", help="'auto' (as trained), 'mean', 'cls' or 'last'")
@click.option("--no-normalize", "normalize", flag_value=False, default=None, help="Don't scale vectors to length 1")
@click.option("--dimensions", type=int, help="Length to which vectors are cut (Matryoshka)")
@click.option("--untrained-dimensions", is_flag=True, default=None, help="Also a length the model was not trained for")
@click.option("--max-tokens", type=int, help="Longest text in tokens; 512, or the model's limit if less")
@click.option("--truncate", help="'end' cuts longer texts, 'error' rejects them")
@click.option("--query-prompt", help="Text before queries instead of the model's own; '' for none")
@click.option("--document-prompt", help="Text before documents instead of the model's own; '' for none")
@click.option("--query-prompt-name", help="Name of the model's prompt for queries")
@click.option("--document-prompt-name", help="Name of the model's prompt for documents")
@click.option("--task", help="Instruction for queries, if the model's prompt contains one")
def register(model: str, name: str | None, aliases: tuple[str, ...], lazy: bool, **given: Any) -> None:
    """
    Register a model, and download it if it is not on this machine.

    MODEL is a name that `akidb-embed models` lists, a Hugging Face repository, or a folder.

    \b
    Examples:
      llm akidb register qwen3-0.6b-4bit
      llm akidb register ./my-model -a mine
      llm akidb register gemma-300m-4bit --name gemma-256 --dimensions 256
    """
    from akidb_embeddings.service.stored import StoredModel

    settings = {key: value for key, value in given.items() if value is not None}
    try:
        # Of the defaults: what a name stands for does not depend on a file in the folder that one happens to be in.
        stored = StoredModel.of(EmbeddingConfig(model_name=model, **settings))
        name = _check_name(name, stored.config.model_name, settings)
        values = {} if name == BUNDLED else _check_new(name, stored.to_dict())
        if not lazy:
            stored.service().embed_query("hello world")
    except EmbeddingError as error:
        raise click.ClickException(error.message(_OPTIONS)) from error
    if values:
        change_models({name: values})
    for alias in aliases:
        llm.set_alias(alias, f"{PREFIX}{name}")
    click.echo(f"Registered {PREFIX}{name}, and {PREFIX}{name}{QUERY} for queries", err=True)


def _check_name(name: str | None, model: str, settings: Mapping[str, Any]) -> str:
    """The name to register a model by.

    Raises:
        click.ClickException: It is none, or stands for another model.
    """
    if name is None and settings:
        given = ", ".join(_OPTIONS[key] for key in settings)
        raise click.ClickException(f"{PREFIX}{model} is the model as it is. With {given}, give another --name.")
    name = name or (Path(model).name if Path(model).is_absolute() else model)
    if not name.strip() or name.endswith(QUERY):
        raise click.ClickException(f"--name is {name!r}; names that end with {QUERY!r} are those for queries.")
    if name == BUNDLED and (model != BUNDLED or settings):
        raise click.ClickException(f"{PREFIX}{BUNDLED} is the bundled model as it is; give another --name.")
    return name


def _check_new(name: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values, if the name does not stand for others.

    Raises:
        click.ClickException: It does.
    """
    if read_models().get(name, values) != values:
        raise click.ClickException(
            f"{PREFIX}{name} is registered with other settings or files, and collections may have its vectors. Give "
            f"another --name, or run `llm akidb unregister {name}` first."
        )
    return values


@akidb.command()
@click.argument("name")
def unregister(name: str) -> None:
    """
    Forget a registered model. Its files stay, and so do collections.
    """
    name = name.removeprefix(PREFIX)
    if name not in read_models():
        raise click.ClickException(f"{PREFIX}{name} is not registered; `llm embed-models` lists what is.")
    change_models({}, remove=name)


@akidb.command()
@click.argument("collection")
@click.option("-i", "--input", "file", type=click.File(), help="File with the query; - for standard input")
@click.option("-c", "--content", help="The query")
@click.option("-n", "--number", type=int, default=10, help="Number of results to return")
@click.option("-p", "--plain", is_flag=True, help="Output in plain text format")
@click.option(
    "-d",
    "--database",
    type=click.Path(exists=True, dir_okay=False),
    envvar="LLM_EMBEDDINGS_DB",
)
@click.option("--prefix", default="", help="Just IDs with this prefix")
def similar(
    collection: str,
    file: TextIO | None,
    content: str | None,
    number: int,
    plain: bool,
    database: str | None,
    prefix: str,
) -> None:
    """
    Return top N similar IDs from a collection for a query.

    As `llm similar`, which gives the text the prompt of documents; this command gives it the prompt of queries.

    \b
    Example:
      llm akidb similar my-collection -c "how do I await a coroutine?"
    """
    text = content or (file.read() if file else "")
    if not text:
        raise click.ClickException("Must provide content for the comparison: -c TEXT or -i FILE")
    path = Path(database) if database else llm.user_dir() / "embeddings.db"
    if not path.exists():
        raise click.ClickException(f"There is no database {path}; `llm embed-multi` makes one.")
    with contextlib.closing(sqlite_utils.Database(path)) as db:
        for result in _find(db, collection, text, number, prefix):
            click.echo(_plain(result) if plain else json.dumps(asdict(result)))


def _find(db: sqlite_utils.Database, name: str, text: str, number: int, prefix: str) -> list[Entry]:
    """The entries of a collection that are nearest to a query.

    Raises:
        click.ClickException: There is no such collection, or it is of another plugin's model.
    """
    try:
        collection = llm.Collection(name, db, create=False)
        model = collection.model()
    except (llm.Collection.DoesNotExist, llm.UnknownModelError) as error:
        raise click.ClickException(f"{error}. See `llm collections` and `llm embed-models`.") from error
    if not isinstance(model, MLXEmbeddingModel):
        raise click.ClickException(f"Collection {name!r} is of the model {model.model_id}; use `llm similar`.")
    return collection.similar_by_vector(model.queries.embed(text), number, prefix=prefix)


def _plain(result: Entry) -> str:
    """A result as ``llm similar --plain`` writes it."""
    parts = [result.content, json.dumps(result.metadata) if result.metadata else None]
    return "\n".join([f"{result.id} ({result.score})\n", *(textwrap.indent(part, "  ") for part in parts if part), ""])
