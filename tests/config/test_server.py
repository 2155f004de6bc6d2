"""The server's settings: what each may be, where values come from and which win, and what is refused in which words."""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from akidb_embeddings import EmbeddingConfig
from akidb_embeddings.cli import main
from akidb_embeddings.config.server import FIELDS, ServerConfig
from akidb_embeddings.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory and home, and none of the variables."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CONFIG_HOME", "AKIDB_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def _same_log() -> Iterator[None]:
    """The command sets up the log of its process, which is the tests' here."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def write(path: Path, **values: Any) -> Path:
    path.write_text(yaml.safe_dump({"server": values}), encoding="utf-8")
    return path


def test_the_defaults_listen_on_this_machine_alone_without_keys_tls_or_cors() -> None:
    config = ServerConfig.resolve()
    assert config == ServerConfig()
    assert (config.host, config.port, config.grpc_port) == ("127.0.0.1", 8080, None)
    assert (config.api_keys_file, config.tls_certificate, config.tls_key) == (None, None, None)
    assert (config.models, config.rerankers, config.cors_origins) == ((), (), ())
    assert (config.protect_health, config.log_format) == (False, "plain")
    assert config.cors_headers == ("*",)


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "some.yaml", port=1, max_texts=1, host="file", log_format="json")
    monkeypatch.setenv("AKIDB_SERVER_PORT", "2")
    monkeypatch.setenv("AKIDB_SERVER_MAX_TEXTS", "2")
    config = ServerConfig.resolve(file, port=3)
    assert (config.port, config.max_texts, config.host, config.log_format) == (3, 2, "file", "json")
    assert config.grpc_port is None


def test_the_file_is_the_one_that_the_embedding_section_is_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "embedding_config.yaml"
    here.write_text("embedding:\n  pooling: cls\nserver:\n  port: 1234\n")
    assert (ServerConfig.resolve().port, EmbeddingConfig.from_yaml().pooling) == (1234, "cls")
    monkeypatch.setenv("AKIDB_CONFIG", str(write(tmp_path / "other.yaml", port=4321)))
    assert ServerConfig.resolve().port == 4321
    here.write_text("embedding:\n  pooling: cls\n")
    assert ServerConfig.resolve(here).port == 8080


def test_every_field_can_be_set_in_the_file_and_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, tuple[Any, str]] = {
        "models": (["one", "two"], "one, two"),
        "rerankers": (["three", "./four"], "three, ./four"),
        "load": ("lazy", "lazy"),
        "keep_alive": ({"*": 300, "one": -1}, '{"*": 300, one: -1}'),
        "max_memory": ("4 GB", "4 GB"),
        "pinned": (["one"], "one"),
        "host": ("0.0.0.0", "0.0.0.0"),
        "port": (0, "0"),
        "grpc_port": (50051, "50051"),
        "max_texts": (5, "5"),
        "max_text_characters": (12, "12"),
        "max_body_bytes": (6, "6"),
        "max_queued_tokens": (7, "7"),
        "max_queue_seconds": (0.5, "0.5"),
        "max_concurrent_requests": (8, "8"),
        "max_connections": (10, "10"),
        "max_connections_per_address": (11, "11"),
        "header_seconds": (3.5, "3.5"),
        "body_seconds": (4, "4"),
        "request_seconds": (9, "9"),
        "drain_seconds": (1.5, "1.5"),
        "probe_seconds": (2.5, "2.5"),
        "api_keys_file": ("keys", "keys"),
        "admin_keys_file": ("admins", "admins"),
        "protect_health": (True, "true"),
        "tls_certificate": ("1234", "1234"),  # a name that YAML takes for a number
        "tls_key": ("key.pem", "key.pem"),
        "cors_origins": (["https://a.example", "https://b.example"], '["https://a.example", "https://b.example"]'),
        "cors_headers": (["Authorization", "X-Team"], "Authorization, X-Team"),
        "log_format": ("json", "json"),
        "access_log": (False, "false"),
        "trusted_proxies": (["10.0.0.0/8", "::1"], "10.0.0.0/8, ::1"),
    }
    assert set(values) == set(FIELDS) == {field.name for field in dataclasses.fields(ServerConfig)}
    expected = ServerConfig(**{name: value for name, (value, _) in values.items()})
    assert ServerConfig.resolve(
        write(tmp_path / "all.yaml", **{name: value for name, (value, _) in values.items()})
    ) == (expected)
    for name, (_, text) in values.items():
        monkeypatch.setenv(f"AKIDB_SERVER_{name.upper()}", text)
    assert ServerConfig.resolve() == expected
    assert expected.models == ("one", "two")
    assert expected.memory_limit == 4_000_000_000
    assert (expected.keep_alive_of("one"), expected.keep_alive_of("two")) == (-1, 300)


@pytest.mark.parametrize(
    ("size", "count"),
    [(5, 5), ("5", 5), ("4GB", 4 * 10**9), ("1.5 gib", 3 * 2**29), ("10kB", 10_000), ("2 TB", 2 * 10**12)],
)
def test_a_size_of_memory_is_a_number_with_or_without_a_unit(size: int | str, count: int) -> None:
    assert ServerConfig(max_memory=size).memory_limit == count


@pytest.mark.parametrize("size", [0, -1, "0", "4 G", "GB", "four", "-4GB", "", 1.5, True])
def test_what_is_no_size_of_memory(size: object) -> None:
    with pytest.raises(ConfigurationError, match=r"max_memory is .* a size such as 4GB"):
        ServerConfig(max_memory=size)  # type: ignore[arg-type]  # the error is tested


@pytest.mark.parametrize("value", ["5m", True, float("nan"), {"a": "b"}, {1: 2}, None, [1]])
def test_what_is_no_time_for_a_model_to_stay(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"keep_alive is .* a number of seconds"):
        ServerConfig(keep_alive=value)  # type: ignore[arg-type]  # the error is tested


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("models", "minilm-l6-v2"),
        ("models", [""]),
        ("models", [1]),
        ("rerankers", "bge-reranker-base"),
        ("rerankers", [None]),
        ("host", ""),
        ("host", 127),
        ("port", -1),
        ("port", 65536),
        ("port", "8080"),
        ("port", True),
        ("port", None),
        ("grpc_port", 1.5),
        ("max_texts", 0),
        ("max_body_bytes", 1.0),
        ("max_queued_tokens", None),
        ("max_queue_seconds", 0),
        ("max_queue_seconds", float("nan")),
        ("request_seconds", float("inf")),
        ("drain_seconds", "30"),
        ("probe_seconds", -1),
        ("max_concurrent_requests", False),
        ("api_keys_file", " "),
        ("protect_health", "yes"),
        ("cors_origins", "*"),
        ("cors_headers", "Authorization"),
        ("cors_headers", [""]),
        ("cors_headers", ["X-One, X-Two"]),
        ("cors_headers", ["X-One\n"]),
        ("cors_headers", [None]),
        ("log_format", "xml"),
        ("access_log", "no"),
        ("trusted_proxies", "10.0.0.1"),
        ("trusted_proxies", ["*"]),
        ("trusted_proxies", ["10.0.0.1/8"]),
        ("trusted_proxies", ["proxy.example.org"]),
    ],
)
def test_what_is_not_allowed_is_named_with_what_is(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} is .*; it must be "):
        ServerConfig(**{name: value})
    file = write(tmp_path / "wrong.yaml", **{name: value})
    with pytest.raises(ConfigurationError, match=f"wrong.yaml: server: {name} is .*; it must be "):
        ServerConfig.resolve(file)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "http"),
        ("PORT", "tcp://10.0.0.1:8080"),  # what Kubernetes sets for a service called akidb-server
        ("PORT", ""),
        ("PORT", "{"),
        ("PORT", "2024-13-45"),  # a date, but no such day
        ("PORT", "[" * 600),
        ("MODELS", "a,,b"),
        ("PROTECT_HEALTH", "1"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(f"AKIDB_SERVER_{name}", text)
    with pytest.raises(ConfigurationError, match=f"^AKIDB_SERVER_{name}: {name.lower()} is .*; it must be "):
        ServerConfig.resolve()


def test_an_unknown_name_is_refused_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"prot.*Did you mean 'port'"):
        ServerConfig.resolve(prot=1)
    with pytest.raises(ConfigurationError, match=r"typo.yaml: server: unknown key 'max_text' .*'max_texts'"):
        ServerConfig.resolve(write(tmp_path / "typo.yaml", max_text=1))
    monkeypatch.setenv("AKIDB_SERVER_GRPCPORT", "1")
    with pytest.raises(ConfigurationError, match=r"AKIDB_SERVER_.*grpcport.*'grpc_port'"):
        ServerConfig.resolve()


def test_a_certificate_and_its_key_go_together() -> None:
    for name in ("tls_certificate", "tls_key"):
        with pytest.raises(
            ConfigurationError, match=r"is missing\. Give both tls_certificate and tls_key, or neither\."
        ):
            ServerConfig(**{name: "file.pem"})  # type: ignore[arg-type]


@pytest.mark.usefixtures("_same_log")
def test_the_command_line_says_what_is_wrong_and_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["serve", "--port", "70000"]) == 2
    assert "--port is 70000" in capsys.readouterr().err
    monkeypatch.setenv("AKIDB_SERVER_MAX_TEXTS", "0")
    assert main(["serve"]) == 2
    assert "AKIDB_SERVER_MAX_TEXTS: max_texts is 0" in capsys.readouterr().err
    monkeypatch.delenv("AKIDB_SERVER_MAX_TEXTS")
    assert main(["serve", "--api-keys-file", str(tmp_path / "none")]) == 2
    assert f"--api-keys-file is {tmp_path}" in capsys.readouterr().err
    (tmp_path / "bad.pem").write_text("no certificate")
    arguments = ["--tls-certificate", "bad.pem", "--tls-key", "bad.pem"]
    assert main(["serve", *arguments]) == 2
    assert "bad.pem" in capsys.readouterr().err


def test_the_limits_are_what_a_client_has_to_know() -> None:
    assert ServerConfig(max_texts=3, request_seconds=4).limits == {
        "max_texts": 3,
        "max_text_characters": 1_000_000,
        "max_body_bytes": 4_000_000,
        "max_queued_tokens": 200_000,
        "max_queue_seconds": 10.0,
        "max_concurrent_requests": 512,
        "max_connections": 2048,
        "max_connections_per_address": 1024,
        "header_seconds": 10.0,
        "body_seconds": 10.0,
        "request_seconds": 4,
    }
