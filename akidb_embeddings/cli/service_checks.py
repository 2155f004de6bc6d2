"""What ``akidb-embed service`` finds out before it writes a file, and about a server that should run."""

import http.client
import ipaddress
import json
import ssl
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Mapping

from akidb_embeddings.cli.options import configuration, rerank_configuration
from akidb_embeddings.cli.serve import server_configuration
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.errors import ConfigurationError, EmbeddingError
from akidb_embeddings.extras import require
from akidb_embeddings.hub.adapters import find_adapter, resolve_adapter
from akidb_embeddings.hub.download import resolve_model, resolve_reranker
from akidb_embeddings.hub.resolve import find_files
from akidb_embeddings.registry import ModelSpec, RerankerSpec

_ANSWER_SECONDS = 5.0
# Where models, the hub and Python's packages are, besides our own; a service has only what its file names.
_CARRIED = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
    "TRANSFORMERS_OFFLINE",
    "XDG_CACHE_HOME",
    "PYTHONPATH",
)
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_KEYS = {"AKIDB_API_KEYS": "--api-keys-file", "AKIDB_ADMIN_KEYS": "--admin-keys-file"}
_OWN = "AKIDB_"
_CONFIG = "AKIDB_CONFIG"  # becomes --config


def check_settings(options: Namespace, *, with_ports: bool) -> ServerConfig:
    """Check all that ``serve`` checks before it loads a model, and that the models exist.

    Args:
        options: The parsed options of ``serve``.
        with_ports: Whether the ports must be free.

    Returns:
        The server's settings.

    Raises:
        EmbeddingError: What ``serve`` would end with.
    """
    require("server", "The server")
    from akidb_embeddings.server.loading import Settings, pooled_models
    from akidb_embeddings.server.run import check_files, check_ports

    config = server_configuration(options)
    embedding, rerank = configuration(options), rerank_configuration(options)
    check_files(config)
    if with_ports:
        check_ports(config)
    for model in pooled_models(Settings(config, embedding, rerank)).values():
        _check_model(model.config)
    return config


def _check_model(config: EmbeddingConfig | RerankConfig) -> None:
    """Check that a model is on this machine, or can be asked for.

    Raises:
        EmbeddingError: The name leads nowhere, its files are damaged, or it is missing and may not be downloaded.
    """
    name, revision, cache = config.model_name, config.revision, config.cache_dir
    if not config.auto_download:
        resolve = resolve_reranker if isinstance(config, RerankConfig) else resolve_model
        resolve(name, revision=revision, cache_dir=cache, auto_download=False)
    elif isinstance(config, RerankConfig):
        find_files(name, revision, cache, RerankerSpec)
    else:
        find_files(name, revision, cache, ModelSpec)
    if isinstance(config, EmbeddingConfig) and config.adapter is not None:
        if config.auto_download:
            find_adapter(config.adapter, revision=config.adapter_revision, cache_dir=cache)
        else:
            resolve_adapter(config.adapter, revision=config.adapter_revision, cache_dir=cache, auto_download=False)


def environment_to_carry(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The variables that a service gets, and what to say about them.

    Raises:
        ConfigurationError: API keys are in the environment: without them, the server would answer to anybody.
    """
    for name, flag in _KEYS.items():
        if environment.get(name):
            raise ConfigurationError(
                "is set, and a service does not get it, because its file is no place for secrets. Write the keys into "
                f"a file that only you can read (chmod 600), give {flag} FILE, and unset {name}",
                source=name,
            )
    carried = {
        name: value
        for name, value in sorted(environment.items())
        if value and name not in (*_KEYS, _CONFIG) and (name.startswith(_OWN) or name in _CARRIED)
    }
    notes = []
    if carried:
        notes.append(f"Carried over from this environment: {', '.join(carried)}.")
    if kept := [name for name in _SECRETS if environment.get(name)]:
        notes.append(
            f"{' and '.join(kept)} stays here, because the file is no place for secrets: `akidb-embed download NAME` "
            "gets a model now, and `hf auth login` stores a token where the service finds it."
        )
    return carried, notes


def readiness(options: Namespace, environment: Mapping[str, str]) -> tuple[bool, str]:
    """Ask a server on this machine whether it is ready.

    Args:
        options: The parsed options of ``serve`` that it was started with.
        environment: The environment that it was started with.

    Returns:
        Whether it is, and its answer in words.
    """
    try:
        config = server_configuration(options, environment)
    except EmbeddingError as error:
        return False, f"its settings are not allowed any more: {error}"
    if not config.port:
        return False, "it has any free port, which its log tells"
    url = f"{_address(config)}/readyz"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its certificate need not be for this name
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=_ANSWER_SECONDS) as response:
            return True, f"{url} is {json.load(response)['status']}"
    except urllib.error.HTTPError as error:
        with error:
            is_ready = error.code == 401  # it answers, and wants a key for that
            return is_ready, f"{url} has status {error.code}"
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        return False, f"none from {url}: {getattr(error, 'reason', error)}"


def _address(config: ServerConfig) -> str:
    """A URL that leads to the server from this machine."""
    host = config.host
    try:
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = "::1" if address.version == 6 else "127.0.0.1"
    except ValueError:
        pass  # a name
    scheme = "https" if config.tls_certificate else "http"
    return f"{scheme}://[{host}]:{config.port}" if ":" in host else f"{scheme}://{host}:{config.port}"
