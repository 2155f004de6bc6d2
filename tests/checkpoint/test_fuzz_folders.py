"""Damaged model folders: an error of this library's or vectors, within five seconds and a gigabyte, and no crash."""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.checkpoint.mutations import MODELS, RERANKERS, damage
from tests.conftest import REPOSITORY
from tests.fixtures import model_path

EXAMPLES = int(os.environ.get("AKIDB_FUZZ_EXAMPLES", "150"))
SECONDS, MEMORY = 5.0, 2**30
HANGS = 60.0  # seconds of any clock, where other programs have the cores
OURS = (
    "vectors",
    "scores",
    "CheckpointError: ",
    "ConfigurationError: ",
    "InputError: ",
    "NonFiniteVectorError: ",
    "ZeroVectorError: ",
)


class Worker:
    """The program that loads folders. What ends it, or hangs it, fails one folder."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()
        self.base = 0

    def load(self, folder: Path) -> dict[str, Any]:
        if self._process is None:
            self._start()
            self.base = self._ask(model_path("tiny-bert"))["memory"]
        return self._ask(folder)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._process = None

    def _start(self) -> None:
        self._lines = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.checkpoint.folder_worker"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "RUST_BACKTRACE": "0"},
        )
        threading.Thread(target=self._read, args=(self._process, self._lines), daemon=True).start()

    @staticmethod
    def _read(process: "subprocess.Popen[str]", lines: "queue.Queue[str]") -> None:
        assert process.stdout
        with contextlib.suppress(ValueError):  # closed
            for line in process.stdout:
                lines.put(line)
        lines.put("")

    def _ask(self, folder: Path) -> dict[str, Any]:
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(json.dumps(str(folder)) + "\n")
        self._process.stdin.flush()
        try:
            line = self._lines.get(timeout=HANGS)
        except queue.Empty:
            line = "hangs"
        if line in ("", "hangs"):
            code = self._process.poll()
            self.stop()
            return {"outcome": line or f"ended with {code}", "seconds": HANGS, "memory": 0}
        found: dict[str, Any] = json.loads(line)
        return found


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    one = Worker()
    yield one
    one.stop()


@pytest.mark.long
@pytest.mark.timeout(7200)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="AKIDB_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(name=st.sampled_from((*MODELS, *RERANKERS)), count=st.integers(1, 3), seed=st.integers(0, 2**64 - 1))
def test_damaged_folders(worker: Worker, name: str, count: int, seed: int) -> None:
    fault = fault_of(worker, name, count, seed)
    assert not fault, fault


def fault_of(worker: Worker, name: str, count: int, seed: int) -> str:
    """What is wrong with the answer to one damaged folder; "" if nothing is."""
    random = Random(seed)
    with tempfile.TemporaryDirectory() as temporary:
        kind = "reranker" if name in RERANKERS else "model"
        folder = shutil.copytree(model_path(name), Path(temporary) / kind)
        how = [damage(folder, random) for _ in range(count)]
        found = worker.load(folder)
    grown = found["memory"] > worker.base + MEMORY
    if grown:
        worker.stop()  # the largest so far stays
    fine = found["outcome"].startswith(OURS) and found["seconds"] < SECONDS and not grown
    return "" if fine else f"{name}, {seed}: {'; '.join(how)}: {found}"
