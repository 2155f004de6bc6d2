"""Commands that take a model of either kind: one that makes vectors, or a reranker."""

from argparse import ArgumentParser, Namespace

from akidb_embeddings.cli.downloads import confirm_download
from akidb_embeddings.cli.output import print_message
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.hub.either import is_known_reranker
from akidb_embeddings.registry import RerankerSpec, Spec


def add_reranker_option(parser: ArgumentParser) -> None:
    """Add the option for folders that do not say what they hold."""
    parser.add_argument(
        "--reranker",
        action="store_true",
        help="take the model for a reranker, where the folder of a language model has no files that say so",
    )


def wanted_kind(options: Namespace) -> type[Spec]:
    """The kind of model that the option asks for; ``Spec`` for what the model's files say."""
    return RerankerSpec if options.reranker else Spec


def note_assumed_kind(name: str) -> None:
    """Print what a model was taken for, whose files do not say it."""
    print_message(f"note: {name} does not say what it is, and is taken for an embedding model; or give --reranker")


def confirm_either(config: EmbeddingConfig, options: Namespace) -> None:
    """``confirm_download`` for a model of either kind.

    Args:
        config: The model, its revision and adapter, the cache, and whether models may be downloaded.
        options: The command's parsed options.

    Raises:
        SystemExit: The user does not want it.
        EmbeddingError: As in ``download_model``.
    """
    asked: EmbeddingConfig | RerankConfig = config
    if is_known_reranker(config.model_name):
        asked = RerankConfig(
            model_name=config.model_name,
            revision=config.revision,
            auto_download=config.auto_download,
            cache_dir=config.cache_dir,
        )
    confirm_download(asked, options)
