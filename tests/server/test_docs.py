"""What the documents say of the server is so: its names exist. ``tests/docs`` runs their programs and requests."""

import os
import re
import subprocess
import sys
import urllib.request

from akidb_embeddings.config.server import ENVIRONMENT_PREFIX, FIELDS, ServerConfig
from akidb_embeddings.server.app import describe
from akidb_embeddings.server.calls.api_error import ErrorKind
from akidb_embeddings.server.dialects.rerank_schemas import CohereRerankRequest, TeiRerankRequest
from akidb_embeddings.server.http.schemas import EmbedRequest, OpenAIRequest
from tests.conftest import REPOSITORY
from tests.server.conftest import Running

TEXTS = {
    name: (REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "docs/api.md", "docs/deployment.md")
}
API, DEPLOYMENT = TEXTS["docs/api.md"], TEXTS["docs/deployment.md"]


def test_every_field_status_and_route_is_told() -> None:
    for shape in (EmbedRequest, OpenAIRequest, TeiRerankRequest, CohereRerankRequest):
        assert not [name for name in shape.model_fields if f"| `{name}`" not in API and f"`{name}` |" not in API]
    for kind in ErrorKind:
        assert f"| {kind.status} | `{kind.label}` | {kind.grpc_status} |" in API
    assert not [path for path in describe().openapi()["paths"] if path not in API]


def test_every_limit_is_told_with_its_default() -> None:
    for name, value in ServerConfig().limits.items():
        assert re.search(rf"^\| `{name}` \| {value:,.0f}\b", API, re.MULTILINE), name


def test_flags_and_variables_exist() -> None:
    variables = set(re.findall(rf"\b{ENVIRONMENT_PREFIX}(\w+)", "\n".join(TEXTS.values())))
    assert variables
    assert {name.lower() for name in variables} <= set(FIELDS)
    served = [line for text in TEXTS.values() for line in text.splitlines() if "akidb-embed serve " in line]
    flags = {flag for line in served for flag in re.findall(r"(--[a-z-]+)", line.partition("akidb-embed serve ")[2])}
    help_text = subprocess.run(
        [sys.executable, "-m", "akidb_embeddings", "serve", "--help"], capture_output=True, text=True, check=True,
        env=os.environ | {"COLUMNS": "200"},
    ).stdout  # fmt: skip
    assert "--model" in flags
    assert not [flag for flag in flags if f"{flag} " not in help_text]


def test_metrics_exist_and_none_is_left_out(server: Running) -> None:
    def family(name: str) -> str:
        return re.sub(r"_(bucket|count|sum)$", "", name)

    with urllib.request.urlopen(f"{server.url}/embed", data=b'{"texts": ["one"]}'):
        pass  # some metrics exist only after a request
    with urllib.request.urlopen(f"{server.url}/metrics") as response:
        shown = {family(name) for name in re.findall(r"^(akidb_\w+)", response.read().decode(), re.MULTILINE)}
    manifests = "\n".join(file.read_text(encoding="utf-8") for file in (REPOSITORY / "deploy/kubernetes").iterdir())
    told = {family(name) for name in re.findall(r"\bakidb_(?!embeddings)\w+", f"{DEPLOYMENT}\n{manifests}")}
    assert "akidb_queue_tokens" in told
    assert told == {name for name in shown if not name.endswith("_created")}
