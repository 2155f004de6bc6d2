"""The server's life: what it needs to begin, which models it has under which names, and how it ends."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.loading import served_names
from tests.cli.tools import TINY, run
from tests.conftest import LONG, REPOSITORY, background, eventually
from tests.golden.texts import counted_text
from tests.random_models import BERT, QWEN3, random_model
from tests.server.calls import Client, Reply, address, get, metric, post, stub
from tests.server.conftest import Running, server_process

# A second or two of work, and more than ten.
SOME = [counted_text(150, seed) for seed in range(20)]
MANY = [counted_text(200, seed) for seed in range(400)]


def ends(server: Running, number: signal.Signals) -> float:
    """Send a signal and wait until it is heeded; when it was sent."""
    assert server.process
    begin = time.monotonic()
    server.process.send_signal(number)
    assert eventually(lambda: "Shutting down" in server.log or exited(server))
    return begin


def exited(server: Running) -> bool:
    return server.process is not None and server.process.poll() is not None


def exit_code(server: Running, seconds: float) -> int:
    """How the process ended, within so many seconds."""
    assert server.process
    return server.process.wait(seconds)


def asks(server: Running, texts: list[str]) -> tuple["Future[Reply]", "Future[pb.EmbedResponse]"]:
    """A request over REST and one over gRPC, both on their way through the model."""

    def call() -> pb.EmbedResponse:
        with stub(server.target) as calls:
            answer: pb.EmbedResponse = calls.Embed(pb.EmbedRequest(texts=texts), timeout=LONG)
            return answer

    found = background(lambda: post(server.url, texts)), background(call)
    assert eventually(lambda: metric(server.url, "akidb_queue_tokens") > 1.5 * 150 * len(texts))
    return found


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_are_finished_and_new_ones_refused(
    number: signal.Signals, bundled: EmbeddingService
) -> None:
    expected = bundled.embed(SOME)
    with server_process("--model", BUNDLED) as server:
        rest, rpc = asks(server, SOME)
        begin = ends(server, number)
        assert not rest.done()
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            reply = post(server.url, ["too late"])
            assert (reply.status, reply.body["type"]) == (503, "unavailable")
            assert get(server.url, "/readyz").status == 503
        with stub(server.target) as calls, pytest.raises(grpc.RpcError) as caught:
            calls.Embed(pb.EmbedRequest(texts=["too late"]), timeout=LONG)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        reply = rest.result(LONG)
        assert reply.status == 200, reply.body
        np.testing.assert_allclose(reply.body["embeddings"], expected, rtol=0, atol=1e-5)
        answer = rpc.result(LONG)
        np.testing.assert_allclose(
            np.frombuffer(answer.vectors, "<f4").reshape(len(SOME), -1), expected, rtol=0, atol=1e-5
        )
        assert exit_code(server, LONG) == 0
        assert time.monotonic() - begin < 30  # drain_seconds
    assert "Traceback" not in server.log


@pytest.mark.long
def test_what_takes_longer_than_the_drain_is_refused_in_the_end() -> None:
    with server_process("--model", BUNDLED, "--drain-seconds", "0.5") as server:
        rest, rpc = asks(server, MANY)
        begin = ends(server, signal.SIGTERM)
        reply = rest.result(LONG)
        assert (reply.status, reply.body["type"]) == (503, "unavailable")
        with pytest.raises(grpc.RpcError) as caught:
            rpc.result(LONG)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert exit_code(server, LONG) == 0
        assert 0.5 < time.monotonic() - begin < 10
    assert "2 requests were not done after 0.5 s" in server.log
    assert "Traceback" not in server.log


@pytest.mark.long
@pytest.mark.parametrize(
    ("first", "second", "code"),
    [(signal.SIGTERM, signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, signal.SIGINT, 130)],
)
def test_a_second_signal_ends_at_once(first: signal.Signals, second: signal.Signals, code: int) -> None:
    with server_process("--model", BUNDLED) as server:
        rest, rpc = asks(server, MANY)
        ends(server, first)
        begin = ends(server, second)
        assert exit_code(server, 5) == code
        assert time.monotonic() - begin < 5  # not the half minute of a drain
        for future in (rest, rpc):
            future.exception(LONG)  # whatever it is, nobody is left waiting


def once(end: threading.Event) -> Iterator[pb.EmbedRequest]:
    """A stream whose client asks once and then does nothing."""
    yield pb.EmbedRequest(texts=["a"])
    end.wait(LONG)


@pytest.mark.long
def test_clients_that_do_nothing_keep_no_server_from_ending(tmp_path: Path) -> None:
    folder = random_model(tmp_path / "tiny", BERT | {"hidden_size": 384})
    with server_process("--model", str(folder), "--drain-seconds", "1") as server, contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            connection = stack.enter_context(socket.create_connection(address(server.url), LONG))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            return connection

        connect()  # says nothing
        with Client(server.url) as kept:
            kept.get("/livez")
            connect().sendall(b"POST /embed HTTP/1.1\r\nhost: server\r\ncontent-length: 1000\r\n\r\nhalf of it")
            vectors = [[1] * 384] * 2000  # the answer is 8 MB, more than the system takes off the server's hands
            body = json.dumps({"texts": ["a"] * 2000, "embeddings": vectors}).encode()
            connect().sendall(b"POST /embed HTTP/1.1\r\nhost: server\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            assert eventually(lambda: "outcome=200" in server.log and "texts=2000" in server.log)
            calls = stack.enter_context(stub(server.target))
            stack.callback((end := threading.Event()).set)
            stream = calls.EmbedStream(once(end), timeout=LONG)
            assert next(stream).response.vectors
            begin = ends(server, signal.SIGTERM)
            assert exit_code(server, LONG) == 0
            assert time.monotonic() - begin < 10


@pytest.mark.long
def test_a_model_that_hangs_keeps_no_server_from_ending(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import time\n"
        "from akidb_embeddings.engine.model import MLXModel as Model\n"
        "from akidb_embeddings.server import run\n"
        "run._ENGINE_SECONDS = 1.0\n"
        "start = Model.start\n"
        "hangs = lambda batches: any(batch.lengths.size > 5 for batch in batches)\n"
        "Model.start = lambda self, batches: time.sleep(600) if hangs(batches) else start(self, batches)\n",
        encoding="utf-8",
    )
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    with server_process(*TINY, "--drain-seconds", "0.5", environment=environment) as server:
        stuck = background(lambda: post(server.url, ["light"] * 20))
        assert eventually(lambda: metric(server.url, "akidb_rounds_total") == 2)
        begin = ends(server, signal.SIGTERM)
        assert stuck.result(LONG).status == 503
        assert exit_code(server, LONG) == 0
        assert time.monotonic() - begin < 10
    assert "A model's last batch was not done after 1 s" in server.log


def test_no_answer_waits_for_an_acknowledgement(server: Running) -> None:
    """Head and body go out one after the other; with Nagle's algorithm, the body would come 40 ms later, each time."""
    with Client(server.url) as client:
        spent = []
        for _ in range(30):
            begin = time.monotonic()
            client.get("/livez")
            spent.append(time.monotonic() - begin)
    assert min(spent[10:]) < 0.02


@pytest.mark.long
def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for flags in (["--port", str(port)], ["--port", "0", "--grpc-port", str(port)]):
            done = run("serve", *TINY, *flags)
            message = done.stderr.decode()
            assert done.returncode == 1, message
            assert f"cannot listen on 127.0.0.1, port {port}" in message
            assert message.count("\n") == 1, "no model is loaded before"
            assert f"give another {flags[-2]}, or 0 for any free one" in message


@pytest.mark.long
def test_one_port_is_not_for_both() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
    done = run("serve", *TINY, "--port", port, "--grpc-port", port)
    assert done.returncode == 2
    assert f"--grpc-port is {port}, the port of REST" in done.stderr.decode()


@pytest.mark.long
def test_a_server_that_others_can_reach_without_a_key_says_so_once(tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("secret", encoding="utf-8")
    for flags, host, warned in (
        (["--host", "0.0.0.0"], "127.0.0.1", True),
        (["--host", "0.0.0.0", "--api-keys-file", str(keys)], "127.0.0.1", False),
        (["--host", "localhost"], "localhost", False),
    ):
        with server_process(*TINY, *flags) as server:
            assert server.log.count("without API keys: anyone who can reach this machine can use it") == warned
            port = address(server.url)[1]
            assert f"page at http://{host}:{port}/ and documentation at http://{host}:{port}/docs" in server.log
            assert get(f"http://127.0.0.1:{port}", "/").status == 200


def refused_tls(certificate: Path, key: Path) -> str:
    """What the command says of files that it does not take."""
    done = run("serve", *TINY, "--port", "0", "--tls-certificate", str(certificate), "--tls-key", str(key))
    message = done.stderr.decode()
    assert done.returncode == 2, message
    assert "Traceback" not in message
    assert str(certificate) in message
    assert str(key) in message
    return message


@pytest.mark.long
def test_tls_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "certificate.pem").write_text("no certificate", encoding="utf-8")
    assert "No such file" in refused_tls(tmp_path / "nowhere.pem", tmp_path / "nowhere.key")
    assert "cannot be used" in refused_tls(tmp_path / "certificate.pem", tmp_path / "certificate.pem")
    done = run("serve", *TINY, "--tls-key", str(tmp_path / "certificate.pem"))
    assert done.returncode == 2
    assert (
        "--tls-certificate is missing. Give both --tls-certificate and --tls-key, or neither." in done.stderr.decode()
    )


@pytest.mark.long
@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")
def test_tls_keys_that_do_not_open(tmp_path: Path) -> None:
    """Another certificate's, and one that is encrypted: nobody is asked for a password."""
    for name, options in (("one", ["-nodes"]), ("two", ["-passout", "pass:secret"])):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", *options, "-subj", "/CN=localhost", "-days", "2",
             "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
    assert "cannot be used" in refused_tls(tmp_path / "two.pem", tmp_path / "one.key")
    assert "cannot be used" in refused_tls(tmp_path / "two.pem", tmp_path / "two.key")


def test_what_clients_call_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / BUNDLED).mkdir()  # the registry's name means the registry's model all the same
    sources = (BUNDLED, "own", f"{tmp_path}/deep/er/", "./here", "someone/their-model")
    names = (BUNDLED, "own", "er", "here", "someone/their-model")
    expected = dict(zip(names, sources, strict=True))
    assert served_names({"models": sources, "rerankers": ()}) == {"models": expected, "rerankers": {}}
    found = served_names({"models": sources[:2], "rerankers": ("./a/reranker", "bge-reranker-base")})
    assert found["rerankers"] == {"reranker": "./a/reranker", "bge-reranker-base": "bge-reranker-base"}
    with pytest.raises(
        ConfigurationError, match=r"models has 'own' and './other/own', which would both be called 'own'"
    ):
        served_names({"models": ("own", "./other/own")})
    with pytest.raises(ConfigurationError, match="would both be called"):
        served_names({"models": (BUNDLED, f"./{BUNDLED}")})
    with pytest.raises(ConfigurationError, match=r"rerankers has './one/own' and './two/own'") as caught:
        served_names({"models": (BUNDLED,), "rerankers": ("./one/own", "./two/own")})
    assert caught.value.field == "rerankers"
    with pytest.raises(ConfigurationError, match=r"rerankers and models have './own' and './other/own'"):
        served_names({"models": ("./own",), "rerankers": ("./other/own",)})


@pytest.mark.long
def test_several_models_at_once(tmp_path: Path) -> None:
    folders = {
        "alpha": random_model(tmp_path / "alpha", BERT),
        "beta": random_model(tmp_path / "beta", QWEN3 | {"hidden_size": 32}, seed=6),
    }
    texts = ["light", "the computer", "names of plants"]
    expected = {}
    for name, folder in folders.items():
        with EmbeddingService(str(folder)) as service:
            expected[name] = service.embed(texts)
    flags = [flag for folder in folders.values() for flag in ("--model", str(folder))]
    with server_process(*flags) as server:
        for name, vectors in expected.items():
            reply = post(server.url, texts, model=name)
            assert reply.body["model"] == name
            np.testing.assert_allclose(reply.body["embeddings"], vectors, rtol=0, atol=1e-6)
        assert post(server.url, texts).body["model"] == "alpha"
        assert [model["name"] for model in get(server.url, "/info").body["models"]] == ["alpha", "beta"]
        reply = post(server.url, texts, model="gamma")
        assert (reply.status, reply.body["type"], reply.body["field"]) == (404, "not_found", "model")
        assert "alpha, beta" in reply.body["error"]
        names = [background(partial(post, server.url, texts, model=name)) for name in [*folders] * 20]
        for future in names:
            body = future.result(LONG).body
            np.testing.assert_allclose(body["embeddings"], expected[body["model"]], rtol=0, atol=1e-6)


@pytest.mark.long
def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    done = run("serve", "--model", str(tmp_path / "a" / "own"), "--model", str(tmp_path / "b" / "own"))
    assert done.returncode == 2
    assert "would both be called 'own'" in done.stderr.decode()
