"""Before a download, the command line says how much it is and from where; on a terminal it asks before a large one."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from akidb_embeddings.cli.command import PROGRAM
from akidb_embeddings.cli.output import print_message, size
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.errors import EmbeddingError
from akidb_embeddings.hub.adapters import about_adapter
from akidb_embeddings.hub.download import Download, find_download
from akidb_embeddings.registry import BUNDLED, ModelSpec, RerankerSpec, Spec

if TYPE_CHECKING:
    from argparse import _ActionsContainer as Container

_LARGE_BYTES = 50_000_000


def add_yes_option(container: "Container") -> None:
    """Add the option for downloads that nobody is asked about."""
    container.add_argument(
        "--yes",
        action="store_true",
        help="download without asking (default: ask on a terminal before more than "
        f"{size(_LARGE_BYTES)}; elsewhere nobody is asked)",
    )


def confirm_download(config: EmbeddingConfig | RerankConfig, options: Namespace) -> None:
    """Say what will be downloaded, if anything. On a terminal and without ``--yes``, ask before a large download.

    Args:
        config: The model, its revision, the cache, and whether it may be downloaded.
        options: The command's parsed options.

    Raises:
        SystemExit: The user does not want it; the alternatives have been printed.
        EmbeddingError: As in ``download_model``.
    """
    for name, found in _find(config):
        _confirm(name, found, config, options)


def _confirm(name: str, found: Download, config: EmbeddingConfig | RerankConfig, options: Namespace) -> None:
    is_large = found.size_bytes is None or found.size_bytes > _LARGE_BYTES
    if not is_large or options.yes:
        print_message(f"{name} is not on this machine; downloading {_amount(found)}")
    elif not _is_terminal():
        print_message(
            f"{name} is not on this machine; downloading {_amount(found)}, without asking: "
            "this is no terminal (--no-download never downloads)"
        )
    elif not _agrees(f"{name} is not on this machine. Download {_amount(found)}?"):
        print_message(f"nothing was downloaded. {_alternatives(config, found, options)}")
        raise SystemExit(1)


def announce_download(
    config: EmbeddingConfig | RerankConfig,
    *,
    kind: type[Spec] | None = None,
    force: bool = False,
    tell: Callable[[str], object] = print_message,
) -> None:
    """Say what will be downloaded, if anything, where nobody is to be asked.

    Args:
        config: The model, its revision, the cache, and whether it may be downloaded.
        kind: The kind of the model, ``Spec`` for either; None for the one that the configuration is for.
        force: Whether what is in a cache is downloaded again.
        tell: Called with the message.

    Raises:
        EmbeddingError: As in ``download_model``.
    """
    for name, found in _find(config, kind=kind, force=force):
        tell(f"{name}: downloading {_amount(found)}")


def _find(
    config: EmbeddingConfig | RerankConfig, *, kind: type[Spec] | None = None, force: bool = False
) -> Iterator[tuple[str, Download]]:
    """The downloads of the model and its adapter, with their names."""
    if not config.auto_download:
        return
    kind = kind or (RerankerSpec if isinstance(config, RerankConfig) else ModelSpec)
    model = find_download(
        config.model_name, kind=kind, revision=config.revision, cache_dir=config.cache_dir, force=force
    )
    if model is not None:
        yield config.model_name, model
    if isinstance(config, EmbeddingConfig) and config.adapter is not None:
        try:
            adapter = find_download(config.adapter, revision=config.adapter_revision, cache_dir=config.cache_dir)
        except EmbeddingError as error:
            raise about_adapter(error, config.adapter) from error.__cause__
        if adapter is not None:
            yield config.adapter, adapter


def _amount(found: Download) -> str:
    amount = "an unknown number of bytes" if found.size_bytes is None else size(found.size_bytes)
    return f"{amount} from {found.endpoint}/{found.repo}"


def _is_terminal() -> bool:
    """Whether somebody can read the question and answer it."""
    return all(stream is not None and not stream.closed and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _agrees(question: str) -> bool:
    print(f"{PROGRAM}: {question} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):  # Ctrl-D
        print(file=sys.stderr)
    return answer.strip().lower() in ("y", "yes")


def _alternatives(config: EmbeddingConfig | RerankConfig, found: Download, options: Namespace) -> str:
    ways = f"`{found.command}` downloads this one, and --yes does it without asking"
    if isinstance(config, RerankConfig):  # none is bundled
        return f"`{PROGRAM} models` lists other rerankers; {ways}"
    model_option = options.names.get("model_name")
    bundled = f"{model_option} {BUNDLED}" if model_option else BUNDLED
    return f"The model {bundled} is bundled and works offline; `{PROGRAM} models` lists others; {ways}"
