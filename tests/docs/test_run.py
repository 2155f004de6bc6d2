"""The documentation's blocks run as they stand: page by page, in one folder, in their order.

Python blocks are programs, blocks of commands go to bash, and a block with a title is a file. Where a block speaks to
localhost:8080 or localhost:50051, it speaks to a server of the tests.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.pages import blocks, pages
from tests.docs.running import folder_for, is_run, run
from tests.fixtures import model_path
from tests.server.conftest import Running, server_process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Running]]:
    """A server that starts when it is asked for. It cuts vectors to any length, as a page says.

    Its reranker has the name of the one that the pages show, which would have to be downloaded.
    """
    folder = tmp_path_factory.mktemp("server")
    file, reranker = folder / "embedding_config.yaml", folder / "bge-reranker-v2-m3"
    file.write_text("embedding: {untrained_dimensions: true}", encoding="utf-8")
    shutil.copytree(model_path("tiny-xlm-roberta-reranker"), reranker)
    running: list[Running] = []
    starting = server_process("--model", "minilm-l6-v2", "--reranker", str(reranker), "--config", str(file))

    def start() -> Running:
        if not running:
            running.append(starting.__enter__())
        return running[0]

    yield start
    if running:
        starting.__exit__(None, None, None)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [page for page in pages() if any(map(is_run, blocks(page)))])
def test_every_block_runs(page: str, tmp_path: Path, server: Callable[[], Running]) -> None:
    folder = folder_for(tmp_path / "work")
    for block in blocks(page):
        if block.title and not block.run_by:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif is_run(block):
            run(block, folder, server)
