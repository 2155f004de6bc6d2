"""The server's settings. Flags override the environment, which overrides the YAML file's section ``server:``."""

import ipaddress
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import yaml

from akidb_embeddings.config.file import check_keys, find_config_file, read_section
from akidb_embeddings.config.rules import BOOLEAN, COUNT, Rule, choice
from akidb_embeddings.config.sizes import parse_size
from akidb_embeddings.errors import ConfigurationError

ENVIRONMENT_PREFIX = "AKIDB_SERVER_"

_PORT = Rule(int, "a port from 0 (any free one) to 65535", range(65536).__contains__)
_SECONDS = Rule((int, float), "a finite number of seconds above 0", lambda value: 0 < value < math.inf)
# A header's name, as RFC 9110 defines it. "*" is one, and means every header.
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FILE = Rule(str, "the path of a file", str.strip, optional=True)


def _is_list_of_texts(value: list[Any]) -> bool:
    return all(isinstance(item, str) and item.strip() for item in value)


def _is_list_of_headers(value: list[Any]) -> bool:
    return all(isinstance(item, str) and _HEADER.fullmatch(item) for item in value)


def _is_list_of_networks(value: list[Any]) -> bool:
    return all(isinstance(item, str) and _is_network(item) for item in value)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _is_keep_alive(value: float | dict[Any, Any]) -> bool:
    seconds = value if isinstance(value, dict) else {"*": value}
    return all(
        isinstance(name, str) and isinstance(one, int | float) and not isinstance(one, bool) and not math.isnan(one)
        for name, one in seconds.items()
    )


_RULES: Mapping[str, Rule] = {
    "models": Rule(list, "a list of registry names, repositories or folders", _is_list_of_texts),
    "rerankers": Rule(list, "a list of registry names, repositories or folders", _is_list_of_texts),
    "load": choice("eager", "lazy"),
    "keep_alive": Rule(
        (int, float, dict),
        "a number of seconds, negative for ever, or such numbers by the names of models, with '*' for all others",
        _is_keep_alive,
    ),
    "max_memory": Rule((int, str), "a number of bytes of at least 1, or a size such as 4GB", parse_size, optional=True),
    "pinned": Rule(list, "a list of names of models that are served", _is_list_of_texts),
    "host": Rule(str, "an address of this machine, such as 127.0.0.1 or 0.0.0.0", str.strip),
    "port": _PORT,
    "grpc_port": _PORT._replace(optional=True),
    "max_texts": COUNT,
    "max_text_characters": COUNT,
    "max_body_bytes": COUNT,
    "max_queued_tokens": COUNT,
    "max_queue_seconds": _SECONDS,
    "max_concurrent_requests": COUNT,
    "max_connections": COUNT,
    "max_connections_per_address": COUNT,
    "header_seconds": _SECONDS,
    "body_seconds": _SECONDS,
    "request_seconds": _SECONDS,
    "drain_seconds": _SECONDS,
    "probe_seconds": _SECONDS,
    "api_keys_file": _FILE,
    "admin_keys_file": _FILE,
    "protect_health": BOOLEAN,
    "tls_certificate": _FILE,
    "tls_key": _FILE,
    "cors_origins": Rule(list, "a list of origins such as https://example.org", _is_list_of_texts),
    "cors_headers": Rule(list, "a list of names of headers such as X-Team, or * for all", _is_list_of_headers),
    "log_format": choice("plain", "json"),
    "access_log": BOOLEAN,
    "trusted_proxies": Rule(list, "a list of addresses or networks such as 10.0.0.0/8", _is_list_of_networks),
}
_LIMITS_IN_SECONDS = ("header_seconds", "body_seconds", "request_seconds")
FIELDS = tuple(_RULES)
"""The names of ``ServerConfig``'s fields."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """A complete, valid set of the server's settings.

    Attributes:
        models: The embedding models to serve, the first by default; empty for the model of the ``embedding:`` section,
            or for none if there are ``rerankers``.
        rerankers: The rerankers to serve, the first by default.
        load: "eager" loads all models at the start, "lazy" each one when it is first asked for.
        keep_alive: For how many seconds a model stays loaded after its last request, negative for ever; or such numbers
            by the names of models, with "*" for all others.
        max_memory: The most bytes that all loaded models may take, or a size such as "4GB"; None for any.
        pinned: The names of models that stay loaded whatever others need.
        host: The address to listen on.
        port: The port for REST; 0 for any free one.
        grpc_port: The port for gRPC; None for no gRPC.
        max_texts: Most texts, or documents, in one request.
        max_text_characters: Most characters in one text, or in a query.
        max_body_bytes: Most bytes in one request's body or gRPC message.
        max_queued_tokens: Most tokens in the queue; with an empty queue, a request of any size is accepted.
        max_queue_seconds: Age in seconds of the oldest waiting request from which new ones are rejected.
        max_concurrent_requests: Most requests in flight, waiting ones included.
        max_connections: Most open connections of each port; beyond it, the one that has waited longest without a
            complete request is closed. Fewer if the process may not open so many files.
        max_connections_per_address: Most of them from one address.
        header_seconds: Seconds that a client has for TLS's handshake and a request's head.
        body_seconds: Seconds that it has for a request's body, and to go on reading a response.
        request_seconds: Timeout of one request, in seconds.
        drain_seconds: Seconds that requests in flight have at shutdown.
        probe_seconds: Idle seconds after which a readiness check computes a vector or score.
        api_keys_file: File of API keys, one per line; None for no file. Those in ``AKIDB_API_KEYS``, separated by
            commas, are added.
        admin_keys_file: File of keys, one per line, that may also load and unload models; None for no file. Those in
            ``AKIDB_ADMIN_KEYS``, separated by commas, are added.
        protect_health: Whether health and metrics require a key; the page never does.
        tls_certificate: PEM file of the certificate chain; None for no TLS.
        tls_key: PEM file of the certificate's private key.
        cors_origins: Origins whose pages may call the server from a browser.
        cors_headers: Headers that these pages may send, besides those that every page may; "*" for any header.
        log_format: "plain" or "json".
        access_log: Whether each request is logged; successful health checks never are.
        trusted_proxies: Addresses and networks of proxies whose ``X-Forwarded-For`` names the client for the log.

    Raises:
        ConfigurationError: A value is not allowed.
    """

    models: list[str] | tuple[str, ...] = ()
    rerankers: list[str] | tuple[str, ...] = ()
    load: str = "eager"
    keep_alive: float | Mapping[str, float] = -1
    max_memory: int | str | None = None
    pinned: list[str] | tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = None
    max_texts: int = 2048
    max_text_characters: int = 1_000_000
    max_body_bytes: int = 4_000_000
    max_queued_tokens: int = 200_000
    max_queue_seconds: float = 10.0
    max_concurrent_requests: int = 512
    max_connections: int = 2048
    max_connections_per_address: int = 1024
    header_seconds: float = 10.0
    body_seconds: float = 10.0
    request_seconds: float = 60.0
    drain_seconds: float = 30.0
    probe_seconds: float = 30.0
    api_keys_file: str | None = None
    admin_keys_file: str | None = None
    protect_health: bool = False
    tls_certificate: str | None = None
    tls_key: str | None = None
    cors_origins: list[str] | tuple[str, ...] = ()
    cors_headers: list[str] | tuple[str, ...] = ("*",)
    log_format: str = "plain"
    access_log: bool = True
    trusted_proxies: list[str] | tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            value = getattr(self, name)
            rule.check(name, list(value) if isinstance(value, tuple) else value)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigurationError(
                field="tls_key" if self.tls_key is None else "tls_certificate",
                reason="is missing.",
                hint="Give both {tls_certificate} and {tls_key}, or neither.",
            )

    @classmethod
    def resolve(
        cls, config_path: str | Path | None = None, environment: Mapping[str, str] | None = None, /, **flags: Any
    ) -> Self:
        """Combine the sources of settings: ``flags``, then the environment, then the file, then the defaults.

        An environment variable is called ``AKIDB_SERVER_`` and the field's name in capitals; its value is YAML.

        Args:
            config_path: The YAML file; None for the one that ``EmbeddingConfig.from_yaml`` finds.
            environment: The environment variables; None for those of this process.
            **flags: Fields of ``ServerConfig``.

        Raises:
            ConfigurationError: A file, key or value is not allowed.
        """
        check_keys(flags, FIELDS)
        file = find_config_file() if config_path is None else Path(os.path.expanduser(config_path))
        values = {} if file is None else read_section(file, "server", FIELDS)
        for name, value in values.items():
            _RULES[name].check(name, value, f"{file}: server")
        return cls(**(values | _from_environment(os.environ if environment is None else environment) | flags))

    @property
    def memory_limit(self) -> int | None:
        """``max_memory`` in bytes."""
        return None if self.max_memory is None else parse_size(self.max_memory)

    def keep_alive_of(self, name: str) -> float:
        """For how many seconds the model called ``name`` stays loaded after its last request; negative for ever."""
        if isinstance(self.keep_alive, Mapping):
            return self.keep_alive.get(name, self.keep_alive.get("*", -1))
        return self.keep_alive

    @property
    def limits(self) -> dict[str, int | float]:
        """The limits that concern clients, by the names of their fields."""
        names = [field.name for field in fields(self) if field.name.startswith("max_") and field.name != "max_memory"]
        return {name: getattr(self, name) for name in [*names, *_LIMITS_IN_SECONDS]}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    given = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): (name, text)
        for name, text in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }
    check_keys({key: text for key, (_, text) in given.items()}, FIELDS, f"{ENVIRONMENT_PREFIX}…")
    values = {}
    for key, (name, text) in given.items():
        try:
            value = text if _RULES[key].types is str else yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a scalar such as the date 2024-13-45
            value = text
        if _RULES[key].types is list and isinstance(value, str):
            value = [item.strip() for item in value.split(",")]
        _RULES[key].check(key, value, name)
        values[key] = value
    return values
