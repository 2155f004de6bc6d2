"""A query beside other busy programs: processes with different settings take turns, so that all meet the same ones."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self

from akidb_embeddings.config.embedding import EmbeddingConfig
from bench.process import ROOT

CHOSEN = "chosen by itself"
_BUSY = "while True: pass"


def settings(cores: int) -> Mapping[str, Mapping[str, str]]:
    """The environment of each process that is compared, by the name of its setting."""
    return {
        CHOSEN: {},
        f"{cores} BLAS threads": {"OPENBLAS_NUM_THREADS": str(cores)},
        "1 BLAS thread": {"OPENBLAS_NUM_THREADS": "1"},
    }


class Turn(NamedTuple):
    """``milliseconds`` of each query; ``threads`` of a query at the end, and how often they were set to one so far."""

    milliseconds: list[float]
    threads: int
    drops: int


class Asker:
    """A process that embeds queries when it is told to. As a context manager it ends the process."""

    def __init__(self, config: EmbeddingConfig, queries: list[str], environment: Mapping[str, str]) -> None:
        inherited = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", "queries"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=inherited | dict(environment),
        )
        self._say({"config": config.to_dict(), "texts": queries})

    def ask(self, count: int) -> Turn:
        """Embed ``count`` queries, one after the other. RuntimeError: the process has ended."""
        self._say(count)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that asks queries ended, with code {self._process.wait()}")
        return Turn(**json.loads(line))

    def _say(self, value: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """So many other processes, each of which occupies a core."""
    programs = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def take_turns(askers: Mapping[str, Asker], turns: int, queries: int) -> dict[str, list[Turn]]:
    """Let each ask ``queries`` queries, ``turns`` times in turn."""
    found: dict[str, list[Turn]] = {name: [] for name in askers}
    for _ in range(turns):
        for name, asker in askers.items():
            found[name].append(asker.ask(queries))
    return found
