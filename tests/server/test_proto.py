"""The code that is generated for gRPC: up to date, complete, and no newer than what the package asks for."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.rpc.servicer import Servicer
from tests.conftest import REPOSITORY

PROTO = "akidb_embeddings/server/embedding.proto"
GENERATED = ["embedding_pb2.py", "embedding_pb2.pyi", "embedding_pb2_grpc.py"]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Makefile's command makes of the proto, elsewhere."""
    folder = tmp_path_factory.mktemp("proto")
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    found = re.search(r"^proto:.*\n\t\$\(BIN\)/python (-m grpc_tools\.protoc (?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    assert found
    options = found[1].replace("\\\n", " ").replace("_out=.", f"_out={folder}").split()
    subprocess.run([sys.executable, *options], check=True, cwd=REPOSITORY)
    return folder


@pytest.mark.parametrize("name", GENERATED)
def test_the_committed_code_is_what_make_proto_makes(fresh: Path, name: str) -> None:
    folder = Path(PROTO).parent
    made = (fresh / folder / name).read_text(encoding="utf-8")
    assert (REPOSITORY / folder / name).read_text(encoding="utf-8") == made


def test_every_method_of_the_proto_is_served() -> None:
    [service] = pb.DESCRIPTOR.services_by_name.values()
    handlers = Servicer(handler=None).handlers()  # type: ignore[arg-type]  # none is called
    assert set(handlers) == {method.name for method in service.methods}
    for method in service.methods:
        handler = handlers[method.name]
        assert handler.request_streaming == method.client_streaming
        assert handler.response_streaming == method.server_streaming


@pytest.mark.parametrize(
    ("package", "file", "pattern"),
    [
        ("protobuf", "embedding_pb2.py", r"Protobuf Python Version: (\S+)"),
        ("grpcio", "embedding_pb2_grpc.py", r"GRPC_GENERATED_VERSION = '(\S+)'"),
    ],
)
def test_the_package_asks_for_the_runtime_that_the_generated_code_asks_for(
    package: str, file: str, pattern: str
) -> None:
    """It refuses to be imported with an older one."""
    found = re.search(pattern, ((REPOSITORY / PROTO).parent / file).read_text(encoding="utf-8"))
    assert found
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [asked] = [line for line in project["optional-dependencies"]["server"] if line.startswith(f"{package}>=")]
    floor = re.search(r">=([\d.]+)", asked)
    assert floor
    assert numbers(floor[1]) >= numbers(found[1])


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
