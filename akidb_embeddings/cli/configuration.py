"""``akidb-embed config``: the effective configuration, and the source of each value."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.options import LOCATION_FIELDS, add_model_options, configuration, rerank_configuration
from akidb_embeddings.cli.output import table
from akidb_embeddings.config.file import as_yaml, find_config_file
from akidb_embeddings.config.model import CONSTRUCTOR, ModelConfig

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
    # A file that sets nothing is not among the sources, so they do not show which file was read.
    file = options.config or find_config_file()
    reranker = rerank_configuration(options, LOCATION_FIELDS)
    sections: dict[str, ModelConfig] = {"embedding": configuration(options), "rerank": reranker}
    if options.json:
        print(json.dumps(_as_json(file, sections), ensure_ascii=False, indent=2))
        return 0
    if not options.yaml:
        print(_comment(f"configuration file: {file or _NO_FILE}"))
    for name, config in sections.items():
        values, sources = config.to_dict(), _sources(config)
        print(f"{name}:")
        if options.yaml:
            print("\n".join(f"  {key}: {as_yaml(value)}" for key, value in values.items()))
        else:
            print(table([(f"  {key}:", as_yaml(value), _comment(sources[key])) for key, value in values.items()]))
    return 0


def _as_json(file: Path | str | None, sections: Mapping[str, ModelConfig]) -> dict[str, Any]:
    """The file, the settings for vectors, and those of the reranker, each with its source."""
    embedding, reranker = (
        {key: {"value": value, "source": _sources(config)[key]} for key, value in config.to_dict().items()}
        for config in sections.values()
    )
    return {"file": str(file) if file else None, "settings": embedding, "rerank": reranker}


def _sources(config: ModelConfig) -> dict[str, str]:
    # The values passed to the constructor are those given on the command line.
    return {key: "command line" if source == CONSTRUCTOR else source for key, source in config.sources.items()}


def _comment(text: str) -> str:
    # A path may contain a line break, which would end the comment.
    return f"# {' '.join(text.splitlines())}"


CONFIG = Command(
    "show the effective configuration, and the source of each value",
    _add_arguments,
    _run,
    "akidb-embed config --model minilm-l6-v2",
    "The output is valid YAML: save it as a configuration file, and keep the lines you want to pin. With --yaml it has "
    "no comments. null for max_tokens means the model's limit, at most 512 for texts and 8192 for pairs; for "
    "normalize, vectors of length 1. Only the options for locations also set values of the reranker.",
)
