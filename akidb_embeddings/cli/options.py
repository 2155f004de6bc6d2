"""The options that say which model and how, shared by the commands that embed, and what they amount to.

Those that stand for a field of ``EmbeddingConfig`` have its name as ``dest``, and leave nothing behind when not given.
"""

from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from typing import TYPE_CHECKING, Any

from akidb_embeddings.cli.output import note, size
from akidb_embeddings.config.embedding import DEFAULT_MAX_TOKENS, FIELDS, EmbeddingConfig
from akidb_embeddings.registry.poolings import POOLINGS
from akidb_embeddings.vectors import WITHOUT_RANGES

if TYPE_CHECKING:
    from argparse import _ActionsContainer as Container

    from akidb_embeddings.service.service import EmbeddingService

_CONFIG_PLACES = "$AKIDB_CONFIG, ./embedding_config.yaml, ~/.config/akidb/embedding_config.yaml"


def add_model_options(parser: ArgumentParser) -> None:
    """Everything about the model and the vectors. What is not given stays as configured, else at its default."""
    default = EmbeddingConfig
    group = parser.add_argument_group(
        "model and vectors", "These override the configuration file; `akidb-embed config` shows what is in force."
    )

    def add(option: str, text: str, **settings: Any) -> None:
        group.add_argument(option, help=text, default=SUPPRESS, **settings)

    add(
        "--model",
        f"a name of `akidb-embed models`, a Hugging Face repository or a folder (default: {default.model_name})",
        dest="model_name",
        metavar="NAME",
    )
    add_revision_option(group)
    add(
        "--pooling",
        f"how hidden states become one vector; auto is as the model was trained (default: {default.pooling})",
        choices=("auto", *POOLINGS),
    )
    add(
        "--dimensions",
        "cut vectors to this length, for models trained for it (default: the full length)",
        type=int,
        metavar="N",
    )
    add(
        "--untrained-dimensions",
        "let --dimensions be a length that the model was not trained for",
        action="store_true",
    )
    add(
        "--max-tokens",
        f"longest text in tokens, prompt included (default: {DEFAULT_MAX_TOKENS}, or the model's limit if less)",
        type=int,
        metavar="N",
    )
    add(
        "--truncate",
        f"what becomes of a longer text: end cuts and flags it, error refuses it (default: {default.truncate})",
        choices=("end", "error"),
    )
    add(
        "--normalize",
        "scale vectors to length 1, or not (default: they are, with a warning if the model was trained without)",
        action=BooleanOptionalAction,
    )
    add(
        "--batch-size",
        f"most texts in one micro-batch, 1 to 128 (default: {default.batch_size})",
        type=int,
        metavar="N",
    )
    add(
        "--memory",
        f"compact takes less memory and more time (default: {default.memory})",
        choices=("fast", "compact"),
    )
    add_place_options(parser)


def add_prompt_options(parser: ArgumentParser) -> None:
    """What goes before each text: a prompt of the model, one of the user's own, or the model's with a task."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--prompt",
        dest="prompt_name",
        metavar="NAME",
        help="put a prompt of the model before each text: query, document, or another of its own, which "
        "`akidb-embed info` lists (default: what the model has for texts of no kind, mostly nothing)",
    )
    group.add_argument("--prompt-text", metavar="TEXT", help="put a prompt of your own before each text")
    group.add_argument(
        "--task",
        dest="prompt_task",  # "task" is the configuration's, for queries alone
        metavar="TEXT",
        help="put the model's query prompt before each text, with this instruction in it; for models such as "
        "Qwen3-Embedding, whose query prompt is one",
    )


def prompt_options(options: Namespace) -> dict[str, str | None]:
    """What ``add_prompt_options`` got, as arguments of ``EmbeddingService.resolve_prompt``."""
    return {"prompt_name": options.prompt_name, "prompt": options.prompt_text, "task": options.prompt_task}


def add_precision_option(container: "Container") -> None:
    """What form vectors come out in."""
    container.add_argument(
        "--precision",
        choices=WITHOUT_RANGES,
        default="float32",
        help="the form of vectors: int8 scales each by its largest value; binary (signed bytes) and ubinary (unsigned) "
        "are signs, eight a byte (default: float32)",
    )


def add_revision_option(container: "Container") -> None:
    """Which version of a repository."""
    container.add_argument(
        "--revision",
        default=SUPPRESS,
        help="branch, tag or commit of the repository (default: the registry's, else main)",
    )


def add_place_options(parser: ArgumentParser) -> None:
    """Where configuration and models are."""
    group = parser.add_argument_group("places")
    group.add_argument(
        "--config", metavar="FILE", help=f"the configuration, YAML (default: the first there is of {_CONFIG_PLACES})"
    )
    group.add_argument(
        "--cache-dir",
        metavar="FOLDER",
        default=SUPPRESS,
        help="where downloads are (default: $AKIDB_CACHE_DIR, else ~/.cache/akidb)",
    )
    group.add_argument(
        "--no-download",
        dest="auto_download",
        action="store_false",
        default=SUPPRESS,
        help="fail if the model is not on this machine (default: download it)",
    )


def configuration(options: Namespace) -> EmbeddingConfig:
    """The configuration with what was given on the command line over it, and nothing else."""
    given = {name: value for name, value in vars(options).items() if name in FIELDS}
    return EmbeddingConfig.resolve(None, options.config, **given)


def open_service(config: EmbeddingConfig) -> "EmbeddingService":
    """A service; that a download comes first is said, since it can take minutes."""
    from akidb_embeddings.hub.resolve import find_model
    from akidb_embeddings.registry import MODELS
    from akidb_embeddings.service.service import EmbeddingService

    found = find_model(config.model_name, revision=config.revision, cache_dir=config.cache_dir)
    if found is None and config.auto_download:
        spec = MODELS.get(config.model_name)
        amount = f" ({size(spec.size_bytes)})" if spec else ""
        note(f"{config.model_name}{amount} is not on this machine; asking the hub for it")
    return EmbeddingService(config=config)
