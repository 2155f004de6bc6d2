"""The options for models that the commands share, and the configurations that they give.

An option that sets a field of ``EmbeddingConfig`` or ``RerankConfig`` has the field's name as its ``dest``, and no
default.
"""

from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from akidb_embeddings.cli.downloads import add_yes_option, confirm_download
from akidb_embeddings.config.embedding import DEFAULT_MAX_TOKENS, FIELDS, EmbeddingConfig
from akidb_embeddings.config.rerank import DEFAULT_PAIR_TOKENS, RerankConfig
from akidb_embeddings.config.rerank import FIELDS as RERANK_FIELDS
from akidb_embeddings.errors import InputError
from akidb_embeddings.registry.outputs import OUTPUTS
from akidb_embeddings.registry.poolings import POOLINGS
from akidb_embeddings.vectors import WITHOUT_RANGES

if TYPE_CHECKING:
    from argparse import _ActionsContainer as Container

    from akidb_embeddings.reranking.service import RerankService
    from akidb_embeddings.service.service import EmbeddingService

    Add = Callable[..., None]

_CONFIG_LOCATIONS = "$AKIDB_CONFIG, ./embedding_config.yaml, ~/.config/akidb/embedding_config.yaml"
LOCATION_FIELDS = ("auto_download", "cache_dir")
"""The fields of the options of ``add_location_options``, which are for every model of a command."""


def add_model_options(parser: ArgumentParser) -> None:
    """Add the options for the model and the vectors. An option that is not given leaves the configured value."""
    add = _model_group(parser, "model and vectors", EmbeddingConfig)
    add_adapter_options(add)
    _add_vector_options(add)
    _add_limit_options(add, EmbeddingConfig, "text", f"prompt included (default: {DEFAULT_MAX_TOKENS}")
    add_location_options(parser)


def add_reranker_options(parser: ArgumentParser) -> None:
    """Add the options for a reranker. An option that is not given leaves the configured value."""
    add = _model_group(parser, "reranker", RerankConfig)
    _add_limit_options(add, RerankConfig, "pair", f"query included (default: {DEFAULT_PAIR_TOKENS}")
    add_location_options(parser)


def _model_group(parser: ArgumentParser, title: str, default: "type[EmbeddingConfig | RerankConfig]") -> "Add":
    """A group of options, beginning with the model's name and revision. Returns what adds an option to it."""
    group = parser.add_argument_group(
        title, "These override the configuration file; `akidb-embed config` shows the effective values."
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
    return add


def add_adapter_options(add: "Add") -> None:
    """Add the options for a LoRA adapter, by a function that adds an option to a group."""
    add(
        "--adapter",
        "a LoRA adapter to the model: a Hugging Face repository or a folder (default: none)",
        metavar="NAME",
    )
    add("--adapter-revision", "branch, tag or commit of the adapter's repository (default: main)", metavar="REVISION")


def _add_vector_options(add: "Add") -> None:
    add(
        "--pooling",
        f"how hidden states become one vector; auto is as the model was trained (default: {EmbeddingConfig.pooling})",
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
        "allow --dimensions to be a length that the model was not trained for",
        action="store_true",
    )
    add(
        "--normalize",
        "whether to scale vectors to length 1 (default: yes, with a warning if the model was trained without)",
        action=BooleanOptionalAction,
    )


def _add_limit_options(add: "Add", default: "type[EmbeddingConfig | RerankConfig]", unit: str, limit: str) -> None:
    add(
        "--max-tokens",
        f"longest {unit} in tokens, {limit}, or the model's limit if less)",
        type=int,
        metavar="N",
    )
    add(
        "--truncate",
        f"for a longer {unit}, end cuts and flags it, error rejects it (default: {default.truncate})",
        choices=("end", "error"),
    )
    add(
        "--batch-size",
        f"most {unit}s in one micro-batch on a CPU, 1 to 128 (default: {default.batch_size})",
        type=int,
        metavar="N",
    )
    add(
        "--memory",
        f"compact takes less memory and more time (default: {default.memory})",
        choices=("fast", "compact"),
    )
    add(
        "--compute",
        f"strict computes in float32 on GPUs, too; CPUs always do (default: {default.compute})",
        choices=("fast", "strict"),
    )


def add_prompt_options(parser: ArgumentParser) -> None:
    """Add the options for the prompt before each text: the model's, the user's own, or the model's with a task."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--prompt",
        dest="prompt_name",
        metavar="NAME",
        help="put a prompt of the model before each text: query, document, or another one that `akidb-embed info` "
        "lists (default: the model's default prompt, which most models do not have)",
    )
    group.add_argument("--prompt-text", metavar="TEXT", help="put your own prompt before each text")
    group.add_argument(
        "--task",
        dest="prompt_task",  # "task" is a field of the configuration, for queries alone
        metavar="TEXT",
        help="put the model's query prompt with this instruction before each text; for models such as "
        "Qwen3-Embedding, whose query prompt contains an instruction",
    )


def prompt_options(options: Namespace) -> dict[str, str | None]:
    """The parsed options of ``add_prompt_options``, as arguments of ``EmbeddingService.resolve_prompt``."""
    return {"prompt_name": options.prompt_name, "prompt": options.prompt_text, "task": options.prompt_task}


def add_vectors_option(container: "Container", outputs: Collection[str] = OUTPUTS) -> None:
    """Add the option for what a text becomes, of ``outputs``."""
    container.add_argument(
        "--vectors",
        dest="output_kind",  # "output" is a file
        choices=tuple(outputs),
        help="what a text becomes: one dense vector, sparse weights of tokens, or a vector of each token (default: "
        "dense if the model has that, else what it has)",
    )


def add_precision_option(container: "Container") -> None:
    """Add the option for the precision of vectors."""
    container.add_argument(
        "--precision",
        choices=WITHOUT_RANGES,
        default="float32",
        help="the form of vectors: int8 scales each by its largest value; binary (signed bytes) and ubinary (unsigned) "
        "keep the signs, eight per byte (default: float32)",
    )


def add_revision_option(container: "Container") -> None:
    """Add the option for the revision of a repository."""
    container.add_argument(
        "--revision",
        default=SUPPRESS,
        help="branch, tag or commit of the repository (default: the registry's, else main)",
    )


def add_location_options(parser: ArgumentParser) -> None:
    """Add the options for the locations of configuration and models."""
    group = parser.add_argument_group("locations")
    group.add_argument(
        "--config",
        metavar="FILE",
        help=f"the configuration file, YAML (default: the first that exists of {_CONFIG_LOCATIONS})",
    )
    group.add_argument(
        "--cache-dir",
        metavar="FOLDER",
        default=SUPPRESS,
        help="the folder for downloads (default: $AKIDB_CACHE_DIR, else ~/.cache/akidb)",
    )
    group.add_argument(
        "--no-download",
        dest="auto_download",
        action="store_false",
        default=SUPPRESS,
        help="fail if the model is not on this machine (default: download it)",
    )
    add_yes_option(group)


def configuration(options: Namespace) -> EmbeddingConfig:
    """The configuration, with the values given on the command line over it.

    Raises:
        ConfigurationError: A file, key or value is not allowed.
    """
    return EmbeddingConfig.resolve(None, options.config, **_given(options, FIELDS))


def rerank_configuration(options: Namespace, fields: Collection[str] = RERANK_FIELDS, **values: Any) -> RerankConfig:
    """The configuration of the reranker, with the values given on the command line over it.

    Args:
        options: The parsed options.
        fields: The fields whose options are the reranker's: ``LOCATION_FIELDS`` where the others are for vectors.
        **values: Values of options with names of their own.

    Raises:
        ConfigurationError: A file, key or value is not allowed.
    """
    return RerankConfig.resolve(None, options.config, **_given(options, fields), **values)


def _given(options: Namespace, fields: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name in fields}


def open_service(config: EmbeddingConfig, options: Namespace) -> "EmbeddingService":
    """Open a service. If the model must be downloaded first, ``confirm_download`` says so, and may ask.

    Raises:
        EmbeddingError: As in ``EmbeddingService``.
    """
    from akidb_embeddings.service.service import EmbeddingService

    confirm_download(config, options)
    return EmbeddingService(config=config)


def open_reranker(config: RerankConfig, options: Namespace) -> "RerankService":
    """Open a rerank service, as ``open_service`` does.

    Raises:
        InputError: The model gives several scores to a pair, which make no ranking.
    """
    from akidb_embeddings.reranking.service import RerankService

    confirm_download(config, options)
    service = RerankService(config=config)
    if len(service.labels) > 1:
        service.close()
        raise InputError(
            f"{config.model_name} gives {len(service.labels)} scores to each pair ({', '.join(service.labels)}), which "
            "do not say which document is better. RerankService.score(pairs, all_labels=True) returns them"
        )
    return service
