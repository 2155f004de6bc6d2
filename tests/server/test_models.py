"""Models that load when they are asked for and leave: what clients see of it, in every protocol."""

import functools
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from akidb_embeddings import EmbeddingConfig, EmbeddingService, ModelPool, PooledModel, RerankConfig
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.errors import ConfigurationError, EmbeddingError, MemoryLimitError
from akidb_embeddings.pool.opening import expected_bytes
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.server.calls.models import Models
from akidb_embeddings.server.loading import Settings, open_models, pooled_models
from akidb_embeddings.server.reloading import Reloading
from tests.conftest import LONG, background, eventually, run_python
from tests.fixtures import model_path
from tests.pool.conftest import Opening
from tests.server.calls import metric, stub
from tests.server.conftest import Running, serve_models, server_process
from tests.server.rest_client import get, post, refused

NAMES = ("tiny-bert", "tiny-mpnet", "tiny-bert-reranker")
ADMIN = {"authorization": "Bearer admin"}
TEXTS = ["light", "the names of plants"]


def settings(**values: Any) -> Settings:
    models, rerankers = [str(model_path(name)) for name in NAMES[:2]], [str(model_path(NAMES[2]))]
    own: dict[str, Any] = {"models": models, "rerankers": rerankers, "load": "lazy", "port": 0, "grpc_port": 0}
    return Settings(ServerConfig(**own | values), EmbeddingConfig(), RerankConfig())


@pytest.fixture
def lazy() -> Iterator[Running]:
    """A server with two embedding models and a reranker, none of them loaded."""
    told = settings()
    with open_models(told) as models, serve_models(models, told.server, ApiKeys([], ["admin"])) as running:
        yield running


def states(server: Running) -> dict[str, str]:
    return {one["id"]: one["state"] for one in get(server, "/v1/models").json()["data"]}


def embed(server: Running, model: str = NAMES[0], **options: Any) -> httpx.Response:
    return post(server, json={"texts": TEXTS, "model": model, **options})


def test_nothing_is_loaded_until_it_is_asked_for(lazy: Running) -> None:
    assert set(states(lazy).values()) == {"unloaded"}
    assert get(lazy, "/readyz").status_code == 200
    first, _ = get(lazy, "/info").json()["models"]
    assert (first["name"], first["default"], first["state"]) == (NAMES[0], True, "unloaded")
    assert (first["dimension"], first["fingerprint"]) == (None, None)
    answer = embed(lazy).raise_for_status().json()
    with EmbeddingService(str(model_path(NAMES[0]))) as alone:
        np.testing.assert_array_equal(np.float32(answer["embeddings"]), alone.embed(TEXTS))
    assert states(lazy) == dict.fromkeys(NAMES, "unloaded") | {NAMES[0]: "loaded"}
    first, second = get(lazy, "/info").json()["models"]
    assert (first["state"], first["fingerprint"]) == ("loaded", answer["fingerprint"])
    assert (second["state"], second["max_tokens"]) == ("unloaded", None)
    assert post(lazy, "/rerank", json={"query": "a", "texts": ["b"]}).status_code == 200
    assert states(lazy)[NAMES[2]] == "loaded"
    with stub(lazy.target) as calls:
        told = calls.Info(pb.InfoRequest(), timeout=LONG)
        assert [one.state for one in told.models] == ["loaded", "unloaded"]
        assert calls.Embed(pb.EmbedRequest(texts=TEXTS, model=NAMES[1]), timeout=LONG).dimension
    assert set(states(lazy).values()) == {"loaded"}


def test_other_apis_answer_before_anything_is_loaded(lazy: Running) -> None:
    assert get(lazy, "/api/tags").json()["models"][0]["details"] == {"format": "mlx", "family": None, "families": []}
    assert post(lazy, "/api/show", json={"model": NAMES[0]}).json()["model_info"] == {}
    assert get(lazy, "/info").json()["max_input_length"] is None
    answer = post(lazy, "/api/embed", json={"model": NAMES[0], "input": "x"}).raise_for_status().json()
    assert answer["load_duration"] > 0
    assert post(lazy, "/api/embed", json={"model": NAMES[0], "input": "x"}).json()["load_duration"] == 0
    assert post(lazy, "/api/show", json={"model": NAMES[0]}).json()["model_info"]["general.architecture"] == "bert"


def test_what_is_told_of_a_loaded_model(lazy: Running) -> None:
    begin = time.time()
    embed(lazy, keep_alive=100)
    told = get(lazy, f"/v1/models/{NAMES[0]}").json()
    assert told["memory_bytes"] > 0
    assert begin - 1 < told["loaded_at"] <= told["last_used"] < time.time() + 1
    assert told["expires_at"] == pytest.approx(told["last_used"] + 100, abs=1)
    assert (told["keep_alive"], told["loads"], told["requests"], told["failed"]) == (100, 1, 0, False)
    embed(lazy)
    told = get(lazy, f"/v1/models/{NAMES[0]}").json()
    assert (told["keep_alive"], told["expires_at"]) == (None, None)
    assert metric(lazy.url, "akidb_model_loaded") == 1
    assert metric(lazy.url, "akidb_model_memory_bytes") == told["memory_bytes"]
    assert metric(lazy.url, "akidb_model_loads_total") == 1


@pytest.mark.parametrize("path", ["/rerank", "/v2/rerank", "grpc"])
def test_so_does_a_request_for_scores(lazy: Running, path: str) -> None:
    if path == "grpc":
        with stub(lazy.target) as calls:
            calls.Rerank(pb.RerankRequest(query="a", texts=["b"], keep_alive=0), timeout=LONG)
    else:
        texts = {"texts" if path == "/rerank" else "documents": ["b"]}
        post(lazy, path, json={"query": "a", "keep_alive": "0s", **texts}).raise_for_status()
    assert eventually(lambda: states(lazy)[NAMES[2]] == "unloaded")
    assert get(lazy, f"/v1/models/{NAMES[2]}").json()["loads"] == 1


def test_what_is_no_time_is_refused_before_anything_is_loaded(lazy: Running) -> None:
    refused(embed(lazy, keep_alive="soon"), 422, "invalid", "keep_alive")
    with stub(lazy.target) as calls, pytest.raises(grpc.RpcError) as caught:
        calls.Embed(pb.EmbedRequest(texts=TEXTS, keep_alive=float("nan")), timeout=LONG)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert set(states(lazy).values()) == {"unloaded"}


@pytest.mark.parametrize("path", ["/embed", "/v1/embeddings", "/api/embed", "grpc"])
def test_a_request_says_for_how_long_its_model_stays(lazy: Running, path: str) -> None:
    if path == "grpc":
        with stub(lazy.target) as calls:
            calls.Embed(pb.EmbedRequest(texts=TEXTS, keep_alive=0), timeout=LONG)
    else:
        body = {"texts": TEXTS} if path == "/embed" else {"input": TEXTS, "model": NAMES[0]}
        post(lazy, path, json=body | {"keep_alive": 0}).raise_for_status()
    assert eventually(lambda: states(lazy)[NAMES[0]] == "unloaded")
    assert get(lazy, "/info").json()["models"][0]["fingerprint"]  # it is known now


def test_the_operator_says_for_how_long_models_stay() -> None:
    told = settings(keep_alive={"*": 0, NAMES[1]: 1000}, pinned=[NAMES[2]])
    with open_models(told) as models, serve_models(models, told.server) as server:
        for name in NAMES[:2]:
            embed(server, name).raise_for_status()
        post(server, "/rerank", json={"query": "a", "texts": ["b"]}).raise_for_status()
        expected = {NAMES[0]: "unloaded", NAMES[1]: "loaded", NAMES[2]: "loaded"}
        assert eventually(lambda: states(server) == expected)
        assert get(server, f"/v1/models/{NAMES[2]}").json()["pinned"]


@pytest.mark.parametrize("field", ["pinned", "keep_alive"])
def test_a_setting_for_a_model_that_is_not_served(field: str) -> None:
    value = ["other"] if field == "pinned" else {"other": 5}
    with pytest.raises(ConfigurationError, match=rf"{field} names 'other'; the models here are tiny-bert, ") as caught:
        pooled_models(settings(**{field: value}))
    assert caught.value.field == field


def test_the_least_recently_used_one_leaves_and_what_cannot_fit_is_refused_with_figures() -> None:
    configs = [EmbeddingConfig(model_name=str(model_path(name))) for name in NAMES[:2]]
    sizes = [expected_bytes(config) for config in configs]
    told = settings(max_memory=max(sizes), rerankers=[])
    with open_models(told) as models, serve_models(models, told.server) as server:
        for name in (*NAMES[:2], *NAMES[:2]):
            embed(server, name).raise_for_status()
            assert states(server) == dict.fromkeys(NAMES[:2], "unloaded") | {name: "loaded"}
    told = settings(max_memory=1000, rerankers=[])
    with open_models(told) as models, serve_models(models, told.server) as server:
        error = refused(embed(server), 503, "unavailable", "max_memory")
        assert error["error"].startswith("max_memory is 0.0 MB; tiny-bert needs 0.")
        assert error["limit"] == 1000
        assert get(server, f"/v1/models/{NAMES[0]}").json()["failed"]
        assert get(server, "/readyz").status_code == 200


def test_an_operator_loads_and_unloads(lazy: Running) -> None:
    told = post(lazy, f"/models/{NAMES[0]}/load", headers=ADMIN).raise_for_status().json()
    assert (told["id"], told["state"]) == (NAMES[0], "loaded")
    assert post(lazy, f"/models/{NAMES[0]}/load", headers=ADMIN).json()["loads"] == 1
    told = post(lazy, f"/models/{NAMES[0]}/unload", headers=ADMIN).raise_for_status().json()
    assert told["state"] == "unloaded"
    assert post(lazy, f"/models/{NAMES[0]}/unload", headers=ADMIN).json()["state"] == "unloaded"
    for name in ("other", "etc/passwd", "minilm-l6-v2", "a/b"):
        refused(post(lazy, f"/models/{name}/load", headers=ADMIN), 404, "not_found", "model")
    assert embed(lazy).status_code == 200


def test_nobody_else_does(lazy: Running) -> None:
    for action in ("load", "unload"):
        refused(post(lazy, f"/models/{NAMES[0]}/{action}"), 401, "unauthenticated")
        refused(
            post(lazy, f"/models/{NAMES[0]}/{action}", headers={"authorization": "Bearer x"}), 401, "unauthenticated"
        )
    told = settings()
    with open_models(told) as models, serve_models(models, told.server, ApiKeys(["key"], ["admin"])) as server:
        key = {"authorization": "Bearer key"}
        error = refused(post(server, f"/models/{NAMES[0]}/load", headers=key), 403, "forbidden")
        assert error["error"] == "This API key may not load and unload models; an admin key may."
        assert post(server, f"/models/{NAMES[0]}/load", headers=ADMIN).status_code == 200
        assert post(server, json={"texts": ["x"]}, headers=ADMIN).status_code == 200
        refused(post(server, json={"texts": ["x"]}), 401, "unauthenticated")
    with open_models(told) as models, serve_models(models, told.server) as server:
        error = refused(post(server, f"/models/{NAMES[0]}/load", headers=ADMIN), 403, "forbidden")
        assert "--admin-keys-file" in error["error"]


@pytest.fixture
def opening() -> Iterator[Opening]:
    """Loads models for real, while its gate is open."""
    made = Opening()
    yield made
    made.gate.set()


def pool_of(opening: Opening) -> ModelPool:
    configs = {name: PooledModel(EmbeddingConfig(model_name=str(model_path(name)))) for name in NAMES[:2]}
    return ModelPool(configs, open_service=opening)


@pytest.mark.long
def test_a_model_that_is_loaded_for_too_long_is_told_and_others_answer(opening: Opening) -> None:
    config = ServerConfig(port=0, grpc_port=0, request_seconds=1)
    with pool_of(opening) as pool, serve_models(Models(pool, {}), config) as server:
        embed(server).raise_for_status()
        opening.gate.clear()
        waiting = threading.Thread(target=embed, args=[server, NAMES[1]])
        waiting.start()
        assert eventually(lambda: states(server)[NAMES[1]] == "loading")
        for _ in range(5):
            assert embed(server).elapsed.total_seconds() < 0.5
        assert get(server, "/readyz").status_code == 200
        error = refused(embed(server, NAMES[1]), 503, "unavailable")
        assert "was not loaded within 1 s; loading goes on" in error["error"]
        assert error["retry_after"] == 10
        waiting.join(LONG)
        opening.gate.set()
        assert eventually(lambda: states(server)[NAMES[1]] == "loaded")
        embed(server, NAMES[1]).raise_for_status()


def test_a_client_that_leaves_while_its_model_is_loaded(opening: Opening) -> None:
    opening.gate.clear()
    with pool_of(opening) as pool, serve_models(Models(pool, {}), ServerConfig(port=0, grpc_port=0)) as server:
        with pytest.raises(httpx.ReadTimeout):
            post(server, json={"texts": ["x"]}, timeout=0.3)
        assert server.handler is not None
        assert eventually(lambda: server.handler is not None and not server.handler.in_flight)
        opening.gate.set()
        assert eventually(lambda: states(server)[NAMES[0]] == "loaded")
        assert pool.states()[NAMES[0]].users == 0


def test_a_damaged_model_is_told_to_the_operator_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "secret" / "broken"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{", encoding="utf-8")
    told = settings(models=[str(folder), str(model_path(NAMES[0]))], rerankers=[])
    with open_models(told) as models, serve_models(models, told.server) as server:
        error = refused(embed(server, "broken"), 503, "unavailable", "model")
        assert error["error"] == "broken could not be loaded; the server's log says why."
        assert "secret" not in str(error)
        assert "secret" in caplog.text
        assert embed(server).status_code == 200
        assert get(server, "/livez").status_code == 200


def test_eager_is_the_default_and_finds_a_damaged_model_at_the_start(tmp_path: Path) -> None:
    told = settings(models=[str(tmp_path)], load="eager")
    with pytest.raises(EmbeddingError, match=r"config\.json|is not a complete model"), open_models(told):
        pass
    with open_models(settings(load="eager")) as models:
        assert {one.state for one in models.pool.states().values()} == {"loaded"}


def is_told(server: Running, reason: str) -> bool:
    return reason in server.log


@pytest.mark.long
def test_sighup_reads_the_models_again(tmp_path: Path) -> None:
    file = tmp_path / "embedding_config.yaml"

    def write(text: str) -> None:
        file.write_text(text, encoding="utf-8")

    first, second, reranker = (model_path(name) for name in NAMES)
    write(f"server: {{models: ['{first}'], rerankers: ['{reranker}'], load: lazy}}")
    with server_process("--config", str(file)) as server:
        assert server.process is not None
        embed(server).raise_for_status()
        loaded_at = get(server, f"/v1/models/{NAMES[0]}").json()["loaded_at"]
        write(f"server: {{models: ['{first}', '{second}'], pinned: [{NAMES[1]}], load: eager, max_texts: 5}}")
        server.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: states(server) == dict.fromkeys(NAMES[:2], "loaded"))
        assert get(server, f"/v1/models/{NAMES[0]}").json()["loaded_at"] == pytest.approx(loaded_at, abs=0.1)
        assert get(server, f"/v1/models/{NAMES[1]}").json()["pinned"]
        refused(post(server, "/rerank", json={"query": "a", "texts": ["b"]}), 404, "not_found", "model")
        assert eventually(lambda: "other settings need a restart: max_texts" in server.log)
        assert "new: tiny-mpnet; gone: tiny-bert-reranker" in server.log
        for text, reason in (("server: {models: [a, a]}", "both be called"), ("server: [", "not valid YAML")):
            write(text)
            server.process.send_signal(signal.SIGHUP)
            assert eventually(functools.partial(is_told, server, reason))
        assert embed(server, NAMES[1]).status_code == 200
        assert server.process.poll() is None


def test_what_is_told_is_of_the_model_that_has_the_name_now() -> None:
    told = settings(rerankers=[])
    with open_models(told) as models, serve_models(models, told.server) as server:
        embed(server).raise_for_status()
        before = get(server, "/info").json()["models"][0]
        assert before["normalize"] is True
        other = EmbeddingConfig(model_name=str(model_path(NAMES[0])), normalize=False)
        models.pool.replace({NAMES[0]: other})
        told_now = get(server, "/info").json()["models"][0]
        assert (told_now["state"], told_now["normalize"], told_now["fingerprint"]) == ("unloaded", None, None)
        embed(server).raise_for_status()
        assert get(server, "/info").json()["models"][0]["normalize"] is False
        models.pool.replace({NAMES[0]: RerankConfig(model_name=str(model_path(NAMES[2])))})
        info = get(server, "/info").json()
        assert (info["models"], info["rerankers"][0]["fingerprint"]) == ([], None)
        with stub(server.target) as calls:
            assert [one.state for one in calls.Info(pb.InfoRequest(), timeout=LONG).rerankers] == ["unloaded"]


def test_a_model_that_goes_while_it_is_unloaded() -> None:
    told = settings(rerankers=[])
    with open_models(told) as models, serve_models(models, told.server, ApiKeys([], ["admin"])) as server:
        with models.pool.use(NAMES[0]):
            unloading = background(lambda: post(server, f"/models/{NAMES[0]}/unload", headers=ADMIN))
            assert eventually(lambda: states(server)[NAMES[0]] == "unloading")
            models.pool.replace({NAMES[1]: models.pool.models[NAMES[1]]})
        refused(unloading.result(LONG), 404, "not_found", "model")


@pytest.mark.long
def test_unloading_waits_no_longer_than_a_request_may() -> None:
    told = settings(rerankers=[], request_seconds=0.3)
    with open_models(told) as models, serve_models(models, told.server, ApiKeys([], ["admin"])) as server:
        with models.pool.use(NAMES[0]):
            error = refused(post(server, f"/models/{NAMES[0]}/unload", headers=ADMIN), 503, "unavailable")
            assert "was not unloaded within 0.3 s" in error["error"]
        assert eventually(lambda: states(server)[NAMES[0]] == "unloaded")


def test_a_reload_leaves_alone_what_needs_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    first = settings(rerankers=[], load="eager")
    with open_models(first) as models:
        before = models.pool.services()
        Reloading(models.pool, first, lambda: settings(rerankers=[], load="eager", max_queued_tokens=77)).reload()
        assert models.pool.services() == before
    assert "other settings need a restart: max_queued_tokens" in caplog.text


def test_eager_loading_finds_what_does_not_fit_beside_the_pinned_ones() -> None:
    sizes = [expected_bytes(EmbeddingConfig(model_name=str(model_path(name)))) for name in NAMES[:2]]
    told = settings(rerankers=[], load="eager", pinned=[NAMES[1]], max_memory=max(sizes) + 1000)
    with pytest.raises(MemoryLimitError, match="of which pinned models take"), open_models(told):
        pass


@pytest.mark.long
def test_shutdown_does_not_wait_for_those_who_wait_for_a_model() -> None:
    """In a process of its own, whose model takes longer to load than anybody waits."""
    begin = time.monotonic()
    run_python(
        """
import os, re, signal, threading, time, urllib.request
from akidb_embeddings import EmbeddingConfig, RerankConfig
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.server import loading
from akidb_embeddings.server.run import serve

loading.open_service = lambda _: time.sleep(60)
os.environ["AKIDB_ADMIN_KEYS"] = "admin"
told = loading.Settings(
    ServerConfig(models=["minilm-l6-v2"], load="lazy", port=0, drain_seconds=1), EmbeddingConfig(), RerankConfig()
)

def ask(url, action):
    headers = {"authorization": "Bearer admin"}
    try:
        urllib.request.urlopen(urllib.request.Request(f"{url}/models/minilm-l6-v2/{action}", b"", headers))
    except OSError:
        pass

def attack(line):
    url = re.search(r"REST on (http://[^,]+)", line)[1]
    for action in ("load", "unload"):
        threading.Thread(target=ask, args=[url, action], daemon=True).start()
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)

serve(told, lambda _: None, lambda line: threading.Thread(target=attack, args=[line], daemon=True).start())
"""
    )
    assert time.monotonic() - begin < 20
