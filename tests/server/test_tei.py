"""Text Embeddings Inference's API for vectors, with its real clients: exact vectors, its defaults, its errors."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server.calls.auth import ApiKeys
from tests.conftest import LONG, FakeModel, background, run_python, service
from tests.docs.pages import blocks
from tests.fixtures import model_path
from tests.server.conftest import Running, server_here
from tests.server.rest_client import get, post, refused
from tests.server.test_keys import KEY

TEXTS = ["Hello world", "", "Über den Wolken 🦊 東京", "word " * 400]


def float32(rows: Any) -> Any:
    """Numbers of JSON as the float32 values that they were."""
    return np.array(rows, dtype=np.float64).astype(np.float32)


@pytest.mark.long
@pytest.mark.parametrize("path", ["/embed", ""])
async def test_vectors_of_hugging_faces_client_are_the_librarys(
    server: Running, bundled: EmbeddingService, path: str
) -> None:
    """``path`` "" is what a client asks that knows a server by its address alone."""
    expected = bundled.embed(TEXTS)
    client = InferenceClient(model=f"{server.url}{path}", timeout=LONG)
    found = client.feature_extraction(TEXTS, truncate=True)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(client.feature_extraction(TEXTS[0]), bundled.embed(TEXTS[:1]))
    async with AsyncInferenceClient(model=f"{server.url}{path}", timeout=LONG) as aclient:
        np.testing.assert_array_equal(await aclient.feature_extraction(TEXTS), expected)


def test_every_option_of_hugging_faces_client_works() -> None:
    with EmbeddingService(str(model_path("tiny-qwen3")), truncate="error") as made, server_here({"m": made}) as here:
        client = InferenceClient(model=f"{here.url}/embed", timeout=LONG)
        texts = TEXTS[:3]
        np.testing.assert_array_equal(
            client.feature_extraction(texts, prompt_name="query", normalize=True, truncate=False,
                                      truncation_direction="right", encoding_format="float"),
            made.embed(texts, prompt_name="query"),
        )  # fmt: skip
        with made.with_options(normalize=False, dimensions=32) as raw:
            np.testing.assert_array_equal(
                client.feature_extraction(texts, normalize=False, dimensions=32), raw.embed(texts)
            )
        with pytest.raises(HfHubHTTPError, match="this model has 'query', 'document'"):
            client.feature_extraction(texts, prompt_name="poem")
        with pytest.raises(HfHubHTTPError, match="the limit is"):
            client.feature_extraction(["a", "word " * 9000], truncate=False)


@pytest.mark.long
async def test_vectors_of_llama_indexes_client_are_the_librarys(server: Running, bundled: EmbeddingService) -> None:
    client = TextEmbeddingsInference(model_name=BUNDLED, base_url=server.url, timeout=LONG)
    expected = bundled.embed(TEXTS)
    np.testing.assert_array_equal(float32(client.get_text_embedding_batch(TEXTS)), expected)
    for text in (TEXTS[0], TEXTS[3]):  # alone, as the library computes it alone
        [vector] = bundled.embed([text])
        np.testing.assert_array_equal(float32(client.get_query_embedding(text)), vector)
        np.testing.assert_array_equal(float32(await client.aget_text_embedding(text)), vector)


@pytest.mark.long
def test_vectors_have_length_1_unless_the_request_says_otherwise(bundled: EmbeddingService) -> None:
    """As Text Embeddings Inference promises, even where the server is configured otherwise."""
    with bundled.with_options(normalize=False) as raw, server_here({"m": raw}) as here:
        for options, expected in (({}, bundled), ({"normalize": None}, bundled), ({"normalize": False}, raw)):
            found = post(here, json={"inputs": TEXTS} | options).raise_for_status().json()
            np.testing.assert_array_equal(float32(found), expected.embed(TEXTS))
        ours = post(here, json={"texts": TEXTS}).raise_for_status().json()["embeddings"]
        np.testing.assert_array_equal(float32(ours), raw.embed(TEXTS))


@pytest.mark.long
def test_the_body_says_whose_answer_is_wanted(server: Running) -> None:
    told = refused(post(server, json={"texts": ["a"], "inputs": ["a"]}), 422, "invalid", "inputs")
    assert told["error"].startswith("The body has both texts and inputs")
    for body in ({}, {"normalize": True}, {"input": "a"}):
        told = refused(post(server, json=body), 422, "invalid", "texts")
        assert "inputs" in told["error"]
    # The word among the texts is none of the body's fields.
    for texts in (["inputs"], ['"inputs":'], ['{"inputs": ["a"]}'], ['a, "inputs" : 1', 'b"inputs"']):
        assert len(post(server, json={"texts": texts}).raise_for_status().json()["embeddings"]) == len(texts)
        assert len(post(server, json={"inputs": ["texts", '"texts":']}).raise_for_status().json()) == 2
    assert isinstance(post(server, content=b'{ "inputs"\r\n\t : "a"}').raise_for_status().json(), list)


def test_only_the_side_that_the_model_was_trained_for_is_cut(tmp_path: Path) -> None:
    folder = tmp_path / "left"
    shutil.copytree(model_path("tiny-bert"), folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(settings | {"truncation_side": "left"}), encoding="utf-8")
    with EmbeddingService(str(folder), max_tokens=8) as made, server_here({"m": made}) as here:
        assert made.truncation_side == "left"
        text = " ".join(f"word{number}" for number in range(20))
        expected = made.embed([text])
        for path, body in (
            ("/embed", {"inputs": text, "truncation_direction": "Left"}),
            ("/v1/embed", {"texts": [text], "truncate": "START"}),
        ):
            found = post(here, path, json=body).raise_for_status().json()
            np.testing.assert_array_equal(float32(found["embeddings"] if path == "/v1/embed" else found), expected)
        for path, body, field in (
            ("/embed", {"inputs": text, "truncation_direction": "Right"}, "truncation_direction"),
            ("/v1/embed", {"texts": [text], "truncate": "END"}, "truncate"),
        ):
            told = refused(post(here, path, json=body), 422, "invalid", field)
            words = f"{field} asks for the right side; this model's texts are cut at the left side, as in its training."
            assert words in (told.get("error"), told.get("message"))


REFUSED = [
    ("{", 400, "malformed", None),
    ('["inputs"]', 400, "malformed", None),
    ('{"inputs": null}', 422, "invalid", "inputs"),
    ('{"inputs": []}', 422, "invalid", "inputs"),
    ('{"inputs": [1, 2]}', 400, "malformed", "inputs"),
    ('{"inputs": [[1, 2]]}', 400, "malformed", "inputs"),
    (r'{"inputs": ["a", "\ud83e"]}', 422, "invalid", "inputs[1]"),
    ('{"inputs": "a", "truncate": "end"}', 422, "invalid", "truncate"),
    ('{"inputs": "a", "prompt": "query"}', 422, "invalid", "prompt"),
    ('{"inputs": "a", "prompt_name": "poem"}', 422, "invalid", "prompt_name"),
    ('{"inputs": "a", "encoding_format": "base64"}', 422, "invalid", "encoding_format"),
    ('{"inputs": "a", "dimensions": 385}', 422, "invalid", "dimensions"),
    ('{"inputs": "a", "truncation_direction": "up"}', 422, "invalid", "truncation_direction"),
    ('{"inputs": "a", "truncation_direction": "Left"}', 422, "invalid", "truncation_direction"),
    ('{"inputs": "a", "model": "gpt"}', 404, "not_found", "model"),
]


@pytest.mark.parametrize("path", ["/embed", "/"])
@pytest.mark.parametrize(("content", "status", "kind", "field"), REFUSED)
def test_refusals_have_both_forms(
    server: Running, path: str, content: str, status: int, kind: str, field: str | None
) -> None:
    told = refused(post(server, path, content=content), status, kind, field)
    assert told["error_type"] == "Validation"
    assert "{" not in told["error"] or content == "{"


def test_errors_have_teis_words_for_their_kinds(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}) as here:
        assert here.handler
        here.handler.draining = True
        assert refused(post(here, json={"inputs": "a"}), 503, "unavailable")["error_type"] == "Unhealthy"
        assert refused(get(here, "/embed"), 405, "method_not_allowed")["error_type"] == "Validation"
    with server_here({"m": bundled}, max_texts=1) as here:
        told = refused(post(here, json={"inputs": ["a", "b"]}), 422, "invalid", "inputs")
        assert told["limit"] == 1


def test_a_server_that_has_enough_to_do_is_overloaded(fake: FakeModel) -> None:
    with service() as made, server_here({"m": made}, max_concurrent_requests=1) as here:
        fake.hold()
        first = background(lambda: post(here, json={"inputs": "a"}))
        fake.entered()
        told = refused(post(here, json={"inputs": "a"}), 429, "overloaded", "max_concurrent_requests")
        assert told["error_type"] == "Overloaded"
        fake.release()
        assert first.result(LONG).status_code == 200


@pytest.mark.parametrize(("path", "words"), [("/embed_all", "single tokens"), ("/embed_sparse", "sparse")])
def test_what_this_server_has_not_is_refused_with_a_word(server: Running, path: str, words: str) -> None:
    assert words in refused(post(server, path, json={"inputs": "a"}), 404, "not_found")["error"]


def test_info_has_teis_fields(server: Running) -> None:
    info = get(server, "/info").json()
    assert {name: info[name] for name in list(info) if name.startswith(("model_", "max_", "auto_"))} == {
        "model_id": BUNDLED,
        "model_sha": None,
        "model_type": {"embedding": {"pooling": "mean"}},
        "max_input_length": 256,
        "max_client_batch_size": 2048,
        "max_batch_tokens": 200_000,
        "max_concurrent_requests": 512,
        "auto_truncate": True,
    }


def test_a_reranker_alone_has_an_info_too(reranker: RerankService) -> None:
    with server_here({"r": reranker}) as here:
        info = get(here, "/info").json()
    assert (info["model_id"], info["model_type"], info["max_input_length"]) == ("r", {"reranker": {}}, 1024)


def test_health_is_readiness(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, keys=ApiKeys([KEY])) as here:
        assert get(here, "/health").json() == get(here, "/readyz").json() == {"status": "ready", "problems": []}
        assert here.handler
        here.handler.draining = True
        assert get(here, "/health").status_code == get(here, "/readyz").status_code == 503


def test_vectors_at_the_root_need_a_key_though_the_page_does_not(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, keys=ApiKeys([KEY])) as here:
        assert get(here, "/").status_code == 200
        refused(post(here, "/", json={"inputs": "a"}), 401, "unauthenticated")
        client = InferenceClient(model=here.url, token=KEY, timeout=LONG)
        np.testing.assert_array_equal(client.feature_extraction("a"), bundled.embed(["a"]))


@pytest.mark.long
def test_the_program_of_the_documentation_runs(server: Running) -> None:
    """Here, since the others of its page run with what keeps huggingface_hub from any server."""
    [block] = [one for one in blocks("docs/api.md") if "InferenceClient" in one.text]
    assert run_python(block.text.replace("http://localhost:8080", server.url)) == "(2, 384) float32\n"
