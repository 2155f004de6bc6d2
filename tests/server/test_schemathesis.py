"""schemathesis makes requests from the served OpenAPI document and holds the answers against it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.conftest import Running
from tests.server.rest_client import post

pytestmark = pytest.mark.long

# No 5xx, no status and no content type that is not in the document, bodies of the shapes that it gives; what the
# document forbids is refused, methods that are not there with 405.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)


def test_what_schemathesis_makes_of_the_document_is_answered_as_it_says(server: Running, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
        *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", "30", "--seed", "1", "--generation-database", "none", "--no-color"),
        *("--report", "ndjson", "--report-ndjson-path", str(tmp_path / "report.ndjson")),
    ]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-20_000:] + found.stderr[-2000:]
    report = (tmp_path / "report.ndjson").read_text(encoding="utf-8")
    assert len(report.splitlines()) > 10, report
    for path in ("/embed", "/api/embed", "/v2/embed", "/rerank", "/v1/embeddings", "/v2/rerank", "/info", "/readyz"):
        assert json.dumps(path)[1:-1] in report
    assert post(server, json={"texts": ["still there"]}).status_code == 200
