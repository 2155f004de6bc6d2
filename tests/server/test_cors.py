"""Calls from pages of other origins: what browsers ask before them, and what the server allows."""

import json
from pathlib import Path

import httpx
import pytest

from akidb_embeddings import EmbeddingService
from tests.server.browser import browser
from tests.server.conftest import Running, server_here
from tests.server.rest_client import client

ORIGIN = "https://app.example"
# What OpenAI's JavaScript client sends: npm's openai 6.49.0, buildHeaders in client.mjs and getPlatformProperties in
# internal/detect-platform.mjs. Helpers add X-Stainless-Helper-Method and others (resources/, lib/). Chromium asks for
# those up to x-stainless-runtime-version; Firefox also for user-agent, which Chromium does not let pages set.
OPENAI = (
    "authorization,content-type,openai-organization,openai-project,x-stainless-arch,x-stainless-lang,x-stainless-os,"
    "x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,"
    "user-agent,x-stainless-timeout,x-stainless-helper-method"
)


def preflight(server: Running, headers: str | None, *, method: str = "POST", origin: str = ORIGIN) -> httpx.Response:
    """What a browser asks before a request with these headers."""
    asked = {"origin": origin, "access-control-request-method": method}
    asked |= {} if headers is None else {"access-control-request-headers": headers}
    with client(server) as connection:
        return connection.options("/v1/embeddings", headers=asked)


def allows(response: httpx.Response, headers: str) -> bool:
    """Whether a browser goes on, as the Fetch standard says it ("CORS-preflight fetch")."""
    if not response.is_success or response.headers.get("access-control-allow-origin") != ORIGIN:
        return False
    allowed = {name.strip().lower() for name in response.headers.get("access-control-allow-headers", "").split(",")}
    return set(headers.split(",")) <= allowed


def test_any_header_is_allowed_by_default(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, cors_origins=[ORIGIN]) as here:
        for headers in (OPENAI, "authorization", "x-of-a-later-release"):
            for method in ("POST", "GET", "HEAD"):
                response = preflight(here, headers, method=method)
                assert allows(response, headers), response.headers
                assert "access-control-allow-credentials" not in response.headers
        assert preflight(here, None).is_success
        assert not allows(preflight(here, OPENAI, origin="https://evil.example"), OPENAI)
        assert not preflight(here, OPENAI, method="DELETE").is_success


def test_the_operator_may_allow_some_headers_alone(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, cors_origins=[ORIGIN], cors_headers=["Authorization", "X-Team"]) as here:
        for headers in ("authorization", "authorization,x-team", "content-type"):  # the last is allowed by every server
            assert allows(preflight(here, headers), headers)
        assert not allows(preflight(here, OPENAI), OPENAI)
    with server_here({"m": bundled}, cors_origins=[ORIGIN], cors_headers=[]) as here:
        assert allows(preflight(here, "content-type"), "content-type")
        assert not allows(preflight(here, "authorization"), "authorization")


@pytest.mark.long
def test_a_real_browser_lets_a_page_call_with_these_headers(
    server: Running, bundled: EmbeddingService, tmp_path: Path
) -> None:
    """The page is another server's; its own has no headers against it."""
    sent = json.dumps(dict.fromkeys(OPENAI.split(","), "x") | {"content-type": "application/json"})
    for headers, expected in (["*"], 200), (["Authorization", "Content-Type"], "refused"):
        with (
            server_here({"m": bundled}, cors_origins=[server.url], cors_headers=headers) as here,
            browser(tmp_path) as started,
            started.tab(f"{server.url}/livez") as tab,
        ):
            call = (
                f"fetch('{here.url}/v1/embeddings', {{method: 'POST', headers: {sent}, body: '{{\"input\": \"a\"}}'}})"
            )
            assert tab.value(f"{call}.then(answer => answer.status, () => 'refused')") == expected
