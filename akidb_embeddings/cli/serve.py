"""``akidb-embed serve``: the server for REST, others' APIs and gRPC."""

import functools
from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.downloads import announce_download
from akidb_embeddings.cli.options import add_location_options, configuration, rerank_configuration
from akidb_embeddings.config.server import ENVIRONMENT_PREFIX, FIELDS, ServerConfig
from akidb_embeddings.extras import require

if TYPE_CHECKING:
    from argparse import _ActionsContainer as Container


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        dest="models",
        action="append",
        metavar="NAME",
        default=SUPPRESS,
        help="an embedding model to serve; may be repeated, and the first is the default one (default: the configured "
        "one, or none with --reranker)",
    )
    parser.add_argument(
        "--reranker",
        dest="rerankers",
        action="append",
        metavar="NAME",
        default=SUPPRESS,
        help="a reranker to serve; may be repeated, and the first is the default one (default: none)",
    )
    parser.add_argument(
        "--truncate",
        choices=("end", "error"),
        default=SUPPRESS,
        help="for longer texts and pairs, end cuts and tells of them, error rejects them; requests may ask for either "
        "(default: as in the sections `embedding:` and `rerank:`, else end)",
    )
    group = parser.add_argument_group(
        "server",
        "Each option is also a key in the `server:` section of the configuration file, and an\nenvironment variable: "
        f"{ENVIRONMENT_PREFIX} and its name in capitals. Options override the environment,\nwhich overrides the file.",
    )
    _add_loading_options(group)
    _add_server_options(group)
    add_location_options(parser)


def _add_loading_options(group: "Container") -> None:
    group.add_argument(
        "--load",
        choices=("eager", "lazy"),
        default=SUPPRESS,
        help=f"load models at the start, or when they are first asked for (default: {ServerConfig.load})",
    )
    group.add_argument(
        "--keep-alive",
        type=_keep_alive,
        action="append",
        metavar="[NAME=]SECONDS",
        default=SUPPRESS,
        help="how long a model stays loaded after its last request, negative for ever; for all models, or for one, and "
        "may be repeated (default: for ever)",
    )
    group.add_argument(
        "--max-memory",
        metavar="SIZE",
        default=SUPPRESS,
        help="the most memory that all loaded models may take, such as 4GB; the least recently used ones leave "
        "(default: any)",
    )
    group.add_argument(
        "--pin",
        dest="pinned",
        action="append",
        metavar="NAME",
        default=SUPPRESS,
        help="a model that stays loaded whatever others need; may be repeated (default: none)",
    )


def _keep_alive(text: str) -> tuple[str, float]:
    name, separator, seconds = text.rpartition("=")
    return (name if separator else "*", float(seconds))


def _add_server_options(group: "Container") -> None:
    _add_limits(group)
    _add_access(group)
    group.add_argument(
        "--log-format",
        choices=("plain", "json"),
        default=SUPPRESS,
        help=f"the format of the log (default: {ServerConfig.log_format})",
    )
    group.add_argument(
        "--access-log",
        action=BooleanOptionalAction,
        default=SUPPRESS,
        help="log a line for each request (default: yes)",
    )


def _add_limits(group: "Container") -> None:
    def add_number(option: str, text: str) -> None:
        value: int | float = getattr(ServerConfig, option.removeprefix("--").replace("-", "_"))
        metavar, shown = ("N", str(value)) if isinstance(value, int) else ("SECONDS", f"{value:g}")
        group.add_argument(
            option, help=f"{text} (default: {shown})", type=type(value), metavar=metavar, default=SUPPRESS
        )

    group.add_argument(
        "--host",
        metavar="ADDRESS",
        default=SUPPRESS,
        help=f"the address to listen on (default: {ServerConfig.host}, only from this machine)",
    )
    add_number("--port", "the port for REST, 0 for any free port")
    group.add_argument(
        "--grpc-port", type=int, metavar="N", default=SUPPRESS, help="the port for gRPC (default: no gRPC)"
    )
    add_number("--max-texts", "the most texts, or documents, in one request")
    add_number("--max-text-characters", "the most characters in one text")
    add_number("--max-body-bytes", "the most bytes in one request")
    add_number("--max-queued-tokens", "the most tokens that may wait in the queue")
    add_number("--max-queue-seconds", "the age of the oldest waiting request from which new ones are rejected")
    add_number("--max-concurrent-requests", "the most requests in flight")
    add_number("--max-connections", "the most open connections; beyond it, the one that has waited longest is closed")
    add_number("--max-connections-per-address", "the most of them from one address")
    add_number("--header-seconds", "the time that a client has for a request's head")
    add_number("--body-seconds", "the time that a client has for a request's body, and to go on reading a response")
    add_number("--request-seconds", "the timeout of one request")
    add_number("--drain-seconds", "the time that requests in flight have at shutdown")
    add_number("--probe-seconds", "the idle time after which a readiness check computes a vector or score")


def _add_access(group: "Container") -> None:
    def add(option: str, text: str, **settings: Any) -> None:
        group.add_argument(option, help=text, default=SUPPRESS, **settings)

    add("--api-keys-file", "API keys, one per line (default: no keys)", metavar="FILE")
    add("--admin-keys-file", "keys that may also load and unload models (default: no keys)", metavar="FILE")
    add("--protect-health", "require a key for health and metrics, too", action=BooleanOptionalAction)
    add("--tls-certificate", "PEM file of the certificate chain (default: no TLS)", metavar="FILE")
    add("--tls-key", "PEM file of the certificate's private key", metavar="FILE")
    add(
        "--trusted-proxy",
        "a proxy's address or network, such as 10.0.0.0/8, whose X-Forwarded-For names the client for the log; may be "
        "repeated (default: none)",
        dest="trusted_proxies",
        action="append",
        metavar="ADDRESS",
    )
    add(
        "--cors-origin",
        "an origin whose pages may call the server; may be repeated (default: none)",
        dest="cors_origins",
        action="append",
        metavar="URL",
    )
    add(
        "--cors-header",
        "a header that these pages may send; may be repeated (default: any header)",
        dest="cors_headers",
        action="append",
        metavar="NAME",
    )


def server_configuration(options: Namespace, environment: Mapping[str, str] | None = None) -> ServerConfig:
    """The server's settings, with the values given on the command line over the others.

    Args:
        options: The parsed options of this command.
        environment: The environment; None for the one of this process.

    Raises:
        ConfigurationError: A file, key or value is not allowed.
    """
    flags = {name: value for name, value in vars(options).items() if name in FIELDS}
    if "keep_alive" in flags:
        flags["keep_alive"] = dict(flags["keep_alive"])
    return ServerConfig.resolve(options.config, environment, **flags)


def _run(options: Namespace) -> int:
    require("server", "The server")
    from akidb_embeddings.server.loading import Settings
    from akidb_embeddings.server.observability import logs
    from akidb_embeddings.server.run import serve

    def read() -> Settings:
        return Settings(server_configuration(options), configuration(options), rerank_configuration(options))

    settings = read()
    logs.configure(settings.server.log_format, access_log=settings.server.access_log)
    serve(
        settings, functools.partial(announce_download, tell=logs.LOG.info), read_again=read if options.config else None
    )
    return 0


SERVE = Command(
    "serve embeddings and rerankers over REST, OpenAI's API and gRPC",
    _add_arguments,
    _run,
    "akidb-embed serve --model minilm-l6-v2 --port 8080 --grpc-port 50051",
    "Runs until SIGTERM or Ctrl-C; requests in flight are finished first. With --config, SIGHUP reads the models' "
    "settings again.",
)
