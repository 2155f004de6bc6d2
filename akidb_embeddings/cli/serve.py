"""``akidb-embed serve``: REST, OpenAI's shape and gRPC."""

from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from typing import Any

from akidb_embeddings.cli.command import Command
from akidb_embeddings.cli.options import add_place_options, configuration
from akidb_embeddings.extras import require


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        dest="models",
        action="append",
        metavar="NAME",
        default=SUPPRESS,
        help="a model to serve; again for more, the first is the default (default: the configured one)",
    )
    group = parser.add_argument_group(
        "server",
        "Each is also a key of the configuration's `server:` section, and, after AKIDB_SERVER_, its name in capitals a "
        "variable of the environment. Flags come first, then the environment, then the file.",
    )

    def add(option: str, text: str, **settings: Any) -> None:
        group.add_argument(option, help=text, default=SUPPRESS, **settings)

    add("--host", "the address to listen on (default: 127.0.0.1, this machine alone)", metavar="ADDRESS")
    add("--port", "the port for REST, 0 for any free one (default: 8080)", type=int, metavar="N")
    add("--grpc-port", "the port for gRPC (default: no gRPC)", type=int, metavar="N")
    add("--max-texts", "texts in one request (default: 2048)", type=int, metavar="N")
    add("--max-body-bytes", "bytes in one request (default: 4000000)", type=int, metavar="N")
    add("--max-queued-tokens", "tokens that may wait (default: 200000)", type=int, metavar="N")
    add("--max-queue-seconds", "age in queue beyond which new requests are refused (default: 10)", type=float,
        metavar="S")  # fmt: skip
    add("--max-concurrent-requests", "requests at once (default: 512)", type=int, metavar="N")
    add("--request-seconds", "time for one request (default: 60)", type=float, metavar="S")
    add("--drain-seconds", "time for requests in flight at the end (default: 30)", type=float, metavar="S")
    add("--probe-seconds", "idleness after which readiness is tried (default: 30)", type=float, metavar="S")
    add("--api-keys-file", "API keys, one a line (default: no keys)", metavar="FILE")
    add("--protect-health", "ask for a key for health and metrics, too", action=BooleanOptionalAction)
    add("--tls-certificate", "PEM file of the certificate chain (default: no TLS)", metavar="FILE")
    add("--tls-key", "PEM file of its private key", metavar="FILE")
    add("--cors-origin", "an origin whose pages may call; again for more (default: none)", dest="cors_origins",
        action="append", metavar="URL")  # fmt: skip
    add("--log-format", "(default: plain)", choices=("plain", "json"))
    add_place_options(parser)


def _run(options: Namespace) -> int:
    require("server", "The server")
    from akidb_embeddings.config.server import FIELDS, ServerConfig
    from akidb_embeddings.server import logs
    from akidb_embeddings.server.run import serve

    flags = {name: value for name, value in vars(options).items() if name in FIELDS}
    config = ServerConfig.resolve(options.config, **flags)
    embedding = configuration(options)
    logs.set_up(config.log_format)
    serve(config, embedding)
    return 0


SERVE = Command(
    "serve embeddings over REST, OpenAI's API and gRPC",
    _add_arguments,
    _run,
    "akidb-embed serve --model minilm-l6-v2 --port 8080 --grpc-port 50051",
    "Runs until SIGTERM or Ctrl-C; requests in flight are finished first.",
)
