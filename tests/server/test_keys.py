"""Who may ask: API keys, TLS and CORS, at a real server with all of them, and at others with none."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI

from akidb_embeddings import EmbeddingService
from akidb_embeddings.cli.serve import SERVE
from akidb_embeddings.cli.service_checks import readiness
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server.calls.api_error import ApiError
from akidb_embeddings.server.calls.auth import ApiKeys
from tests.conftest import LONG, eventually
from tests.server.conftest import Running, server_here, server_process
from tests.server.rest_client import client, get, post, refused

KEY, OTHER, FROM_ENVIRONMENT = "key-of-the-test", "schlüssel", "key-of-the-environment"
ORIGIN = "https://app.example"
HEALTH = ("/livez", "/readyz", "/metrics")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1, signed by itself, with its key beside it as ``key.pem``."""
    folder = tmp_path_factory.mktemp("tls")
    file = folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(folder / "key.pem"), "-out", str(file)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return file


@pytest.fixture(scope="module")
def guarded(certificate: Path) -> Iterator[Running]:
    """A server that guards all it can, with a plain log."""
    keys = certificate.with_name("keys")
    keys.write_text(f"# who may ask\n{KEY}\n\n  {OTHER}  \n", encoding="utf-8")
    flags = {"--api-keys-file": keys, "--tls-certificate": certificate, "--tls-key": certificate.with_name("key.pem")}
    with server_process(
        *("--model", BUNDLED, "--protect-health", "--cors-origin", ORIGIN),
        *(str(part) for pair in flags.items() for part in pair),
        environment={"AKIDB_API_KEYS": f" {FROM_ENVIRONMENT} ,"},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def trust(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@pytest.fixture
def connection(guarded: Running, trust: ssl.SSLContext) -> Iterator[httpx.Client]:
    with client(guarded, verify=trust) as made:
        yield made


@pytest.mark.parametrize("key", [KEY, OTHER, FROM_ENVIRONMENT])
def test_each_key_opens_everything(connection: httpx.Client, key: str) -> None:
    for scheme in ("Bearer ", "bearer ", "BEARER   "):
        headers = {b"authorization": (scheme + key).encode()}
        for path in (*HEALTH, "/info", "/v1/models"):
            assert connection.get(path, headers=headers).status_code == 200, path
        assert connection.post("/embed", headers=headers, json={"texts": ["x"]}).status_code == 200
        assert connection.post("/v1/embeddings", headers=headers, json={"input": "x"}).status_code == 200


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", KEY, "Bearer #"]
)
def test_without_a_key_nothing_is_told_but_what_there_is(connection: httpx.Client, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    for path in (*HEALTH, "/info", "/v1/models", "/nothing", "/v1/nothing", "/embed"):
        response = connection.get(path, headers=headers)
        refused(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/embed", "/v1/embeddings"):  # the body is not even looked at
        refused(connection.post(path, headers=headers, content=b"{"), 401, "unauthenticated")
    for path in ("/", "/docs", "/openapi.json"):
        assert connection.get(path, headers=headers).status_code == 200


def test_the_openai_client_sends_its_key(guarded: Running, trust: ssl.SSLContext) -> None:
    for key in (KEY, "wrong"):
        with (
            openai.DefaultHttpxClient(verify=trust) as http,
            OpenAI(base_url=f"{guarded.url}/v1", api_key=key, http_client=http, max_retries=0, timeout=LONG) as asking,
        ):
            if key == KEY:
                assert asking.embeddings.create(model=BUNDLED, input="x").data
            else:
                with pytest.raises(openai.AuthenticationError, match="Authorization: Bearer KEY"):
                    asking.embeddings.create(model=BUNDLED, input="x")


def test_health_is_public_unless_told_otherwise(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, keys=ApiKeys([KEY])) as here:
        for path in HEALTH:
            assert get(here, path).status_code == 200
        for path in ("/info", "/v1/models", "/livez/"):
            refused(get(here, path), 401, "unauthenticated")


def test_with_tls_nothing_is_answered_without_or_to_those_who_do_not_trust(guarded: Running) -> None:
    assert guarded.url.startswith("https://127.0.0.1:")
    with pytest.raises(httpx.HTTPError):
        httpx.get(guarded.url.replace("https", "http", 1), timeout=LONG, trust_env=False)
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(guarded.url, timeout=LONG, trust_env=False)


def test_cors_lets_the_configured_origin_in_and_no_other(connection: httpx.Client) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    allowed = connection.options("/embed", headers=asked | {"origin": ORIGIN})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    other = connection.options("/embed", headers=asked | {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    for key, status in ((KEY, 200), ("wrong", 401)):  # a page must be able to read refusals, too
        headers = {"origin": ORIGIN, "authorization": f"Bearer {key}"}
        response = connection.post("/embed", headers=headers, json={"texts": ["x"]})
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "x-request-id" in response.headers["access-control-expose-headers"].lower()
        headers["origin"] = "https://evil.example"
        response = connection.post("/embed", headers=headers, json={"texts": ["x"]})
        assert "access-control-allow-origin" not in response.headers


def test_cors_is_off_by_default(server: Running) -> None:
    response = post(server, headers={"origin": ORIGIN}, json={"texts": ["x"]})
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_keys_and_texts_stay_out_of_the_plain_log(guarded: Running, connection: httpx.Client) -> None:
    headers = {"authorization": f"Bearer {KEY}", "x-request-id": "plain-1"}
    assert connection.post("/embed", headers=headers, json={"texts": ["a plain secret"]}).status_code == 200
    connection.post("/embed", headers={"authorization": "Bearer a wrong secret"}, json={"texts": ["a plain secret"]})
    connection.get("/a%0Ab%1b", headers=headers)
    assert eventually(lambda: "request_id=plain-1" in guarded.log)
    [line] = [line for line in guarded.lines if "request_id=plain-1" in line and "model=" in line]
    assert " info request protocol=http method=POST /embed outcome=200 ms=" in line
    assert f"model={BUNDLED} texts=1 tokens=" in line
    assert eventually(lambda: r"method=GET /a\nb\x1b outcome=404" in guarded.log)
    assert not [word for word in ("secret", KEY, FROM_ENVIRONMENT, OTHER) if word in guarded.log]


def test_files_of_keys_are_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AKIDB_API_KEYS", raising=False)
    assert not ApiKeys.read(None)
    file = tmp_path / "keys"
    with pytest.raises(ConfigurationError, match=r"api_keys_file is .*keys, which cannot be read"):
        ApiKeys.read(str(file))
    for content in (b"", b"\n # none\n"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="contains no key"):
            ApiKeys.read(str(file))
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ApiKeys.read(str(file))
    file.write_bytes(b"\xef\xbb\xbffirst\r\nsecond")  # as Windows' editor writes it
    keys = ApiKeys.read(str(file))
    for key in (b"first", b"second"):
        keys.check(b"Bearer " + key)
    for wrong in (b"third", b"", b"fir", b"first,second"):
        with pytest.raises(ApiError, match="API key"):
            keys.check(b"Bearer " + wrong)
    monkeypatch.setenv("AKIDB_API_KEYS", "third")
    ApiKeys.read(str(file)).check(b"Bearer third")


def test_the_status_of_a_service_is_asked_for_over_tls(guarded: Running, certificate: Path) -> None:
    flags = ["--tls-certificate", str(certificate), "--tls-key", str(certificate.with_name("key.pem"))]
    options = SERVE.parse("serve", ["--port", guarded.url.rpartition(":")[2], *flags])
    assert readiness(options, {}) == (True, f"{guarded.url}/readyz has status 401")
