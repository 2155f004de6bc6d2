"""The OpenAPI document: committed, equal to the code's, and complete enough to write a client from."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.server.conftest import Running
from tests.server.rest_client import COHERE, COHERE_EMBED, DOCUMENT, TEI, get

HEALTH = ("/health", "/livez", "/readyz")
SCRIPT = REPOSITORY / "scripts" / "openapi.py"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return told


def run_script(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_the_committed_document_is_the_codes() -> None:
    found = run_script("--check")
    assert found.returncode == 0, found.stderr


@pytest.mark.long
def test_the_check_finds_a_document_that_is_not(tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    file.write_text(DOCUMENT.read_text(encoding="utf-8").replace("Vectors", "Victors"), encoding="utf-8")
    found = run_script("--check", file)
    assert found.returncode == 1
    assert "scripts/openapi.py" in found.stderr
    assert run_script(file).returncode == 0
    assert file.read_text(encoding="utf-8") == DOCUMENT.read_text(encoding="utf-8")


def test_the_server_serves_the_document_and_a_page_of_it(server: Running, document: dict[str, Any]) -> None:
    assert get(server, "/openapi.json").json() == document
    assert "text/html" in get(server, "/docs").headers["content-type"]


def test_the_document_has_every_endpoint_with_its_refusals(document: dict[str, Any]) -> None:
    found = {(path, method) for path, operations in document["paths"].items() for method in operations}
    assert found == {
        ("/embed", "post"),
        ("/api/embed", "post"),
        ("/api/embeddings", "post"),
        ("/api/show", "post"),
        ("/api/tags", "get"),
        ("/api/version", "get"),
        ("/rerank", "post"),
        ("/v1/embed", "post"),
        ("/v2/embed", "post"),
        ("/v1/rerank", "post"),
        ("/v2/rerank", "post"),
        ("/v1/embeddings", "post"),
        ("/v1/models", "get"),
        ("/v1/models/{model}", "get"),
        ("/models/{name}/load", "post"),
        ("/models/{name}/unload", "post"),
        ("/info", "get"),
        ("/health", "get"),
        ("/livez", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
    }
    for path, operations in document["paths"].items():
        [operation] = operations.values()
        assert operation["description"]
        wanted = {"200", "400", "401", "413", "415", "500"}
        if path.startswith("/models/"):
            wanted |= {"403", "404", "429", "503"}
        elif "post" in operations:
            assert operation["requestBody"]["required"]
            wanted |= {"404", "422"} if path == "/api/show" else {"404", "422", "429", "503", "504"}
        assert wanted <= set(operation["responses"])
        shape = "OpenAIErrorBody" if path.startswith("/v1/") else "ErrorBody"
        shape = "CohereErrorBody" if path in COHERE + COHERE_EMBED else "TeiErrorBody" if path in TEI else shape
        for status, response in operation["responses"].items():
            if status != "200" and (path, status) not in [(one, "503") for one in HEALTH]:
                schema = response["content"]["application/json"]["schema"]
                assert schema["$ref"] == f"#/components/schemas/{shape}"


def test_what_is_told_of_models_is_described(document: dict[str, Any], server: Running) -> None:
    schemas = document["components"]["schemas"]
    info = get(server, "/info").json()
    [reranker], [model] = info["rerankers"], info["models"]
    listed = get(server, "/v1/models").json()["data"]
    found = {"Info": [info], "RerankerInfo": [reranker], "ModelInfo": [model], "OpenAIModel": listed}
    for name, objects in found.items():
        for one in objects:
            assert set(one) == set(schemas[name]["properties"]) == set(schemas[name]["required"])


def test_answers_without_a_field_for_truncated_texts_have_a_header(document: dict[str, Any]) -> None:
    for path in ("/embed", "/api/embed", "/api/embeddings", "/rerank", "/v1/embeddings", *COHERE, *COHERE_EMBED):
        answer = document["paths"][path]["post"]["responses"]["200"]
        assert answer["headers"]["x-akidb-truncated"]["schema"] == {"type": "string"}
        assert answer["content"]["application/json"]["schema"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names == set(document["components"]["schemas"])
    assert "HTTPValidationError" not in text
