"""``akidb-embed config``: the effective configuration, and the source of each value."""

import json
from argparse import ArgumentParser, Namespace

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.options import add_model_options, configuration
from akidb_embeddings.cli.output import table
from akidb_embeddings.config.embedding import CONSTRUCTOR
from akidb_embeddings.config.file import as_yaml, find_config_file

_NO_FILE = "none (looked for $AKIDB_CONFIG, ./embedding_config.yaml, ~/.config/akidb/embedding_config.yaml)"


def _add_arguments(parser: ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print file, values and sources as JSON")
    form.add_argument(
        "--yaml",
        action="store_true",
        help="print an equivalent configuration file without comments",
    )
    add_model_options(parser)


def _run(options: Namespace) -> int:
    config = configuration(options)
    # A file that sets nothing is not among the sources, so they do not show which file was read.
    file = options.config or find_config_file()
    # The values passed to the constructor are those given on the command line.
    sources = {name: "command line" if source == CONSTRUCTOR else source for name, source in config.sources.items()}
    values = config.to_dict()
    if options.json:
        settings = {name: {"value": value, "source": sources[name]} for name, value in values.items()}
        print(json.dumps({"file": str(file) if file else None, "settings": settings}, ensure_ascii=False, indent=2))
        return 0
    if options.yaml:
        print("\n".join(["embedding:", *(f"  {name}: {as_yaml(value)}" for name, value in values.items())]))
        return 0
    print(_comment(f"configuration file: {file or _NO_FILE}"))
    print("embedding:")
    print(table([(f"  {name}:", as_yaml(value), _comment(sources[name])) for name, value in values.items()]))
    return 0


def _comment(text: str) -> str:
    # A path may contain a line break, which would end the comment.
    return f"# {' '.join(text.splitlines())}"


CONFIG = Command(
    "show the effective configuration, and the source of each value",
    _add_arguments,
    _run,
    "akidb-embed config --model minilm-l6-v2",
    "The output is valid YAML: save it as a configuration file, and keep the lines you want to pin. With --yaml it has "
    "no comments. null for max_tokens means the model's limit, at most 512; for normalize, vectors of length 1.",
)
