"""Whether a request may ask for vectors of a length that the model was not trained for, over every protocol."""

from collections.abc import Iterator

import grpc
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.server import embedding_pb2 as pb
from tests.fixtures import copy_model
from tests.server.calls import Client, post, stub
from tests.server.conftest import Running, server_here

REASON = "dimensions is 9; this model was trained for 8, 16, 32. With untrained_dimensions in"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same model twice, the second configured to be cut anywhere."""
    folder = copy_model("tiny-bert", tmp_path_factory.mktemp("models") / "m", matryoshka_dimensions=[16, 8])
    with (
        EmbeddingService(str(folder)) as strict,
        EmbeddingService(str(folder), untrained_dimensions=True) as free,
        server_here({"strict": strict, "free": free}) as running,
    ):
        yield running


def test_trained_lengths_are_for_all_and_others_for_those_configured_so(here: Running) -> None:
    for model, dimensions in (("strict", 8), ("strict", 32), ("free", 9), ("free", 32)):
        reply = post(here.url, ["a"], model=model, dimensions=dimensions)
        assert (reply.status, len(reply.body["embeddings"][0])) == (200, dimensions)
    assert post(here.url, ["a"], model="free", dimensions=33).status == 422


def test_rest_refuses_another_length_by_its_field(here: Running) -> None:
    reply = post(here.url, ["a"], dimensions=9)
    assert (reply.status, reply.body["type"], reply.body["field"]) == (422, "invalid", "dimensions")
    assert reply.body["error"].startswith(REASON)


def test_openai_refuses_another_length_by_its_parameter(here: Running) -> None:
    with Client(here.url) as client:
        reply = client.post("/v1/embeddings", {"input": "a", "dimensions": 9})
    assert (reply.status, reply.body["error"]["param"]) == (422, "dimensions")
    assert reply.body["error"]["message"].startswith(REASON)


def test_grpc_refuses_another_length_as_an_invalid_argument(here: Running) -> None:
    with stub(here.target) as client:
        with pytest.raises(grpc.RpcError) as caught:
            client.Embed(pb.EmbedRequest(texts=["a"], dimensions=9))
        assert client.Embed(pb.EmbedRequest(texts=["a"], dimensions=16)).dimension == 16
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert REASON in caught.value.details()
