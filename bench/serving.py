"""A server in a process of its own."""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.process import ROOT

_ADDRESS = re.compile(r"REST on http://([\d.]+):(\d+)")
_PATIENCE = 120


@contextlib.contextmanager
def serving(log: Path, *flags: str) -> Iterator[tuple[str, int]]:
    """``akidb-embed serve`` with these flags, on any free port: its host and port. It writes to the file ``log``."""
    command = [sys.executable, "-m", "akidb_embeddings", "serve", "--port", "0", *flags]
    with log.open("w") as stream, subprocess.Popen(command, cwd=ROOT, stderr=stream) as process:
        try:
            end = time.monotonic() + _PATIENCE
            while not (found := _ADDRESS.search(log.read_text(encoding="utf-8"))):
                if time.monotonic() > end or process.poll() is not None:
                    raise RuntimeError(f"the server did not start: {log.read_text(encoding='utf-8')}")
                time.sleep(0.05)
            yield found[1], int(found[2])
        finally:
            process.terminate()
