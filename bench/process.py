"""Fresh processes, in which import, loading and memory are measured undisturbed."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akidb_embeddings.config.embedding import EmbeddingConfig

ROOT = Path(__file__).parent.parent


def run_worker(
    task: str, config: EmbeddingConfig, environment: Mapping[str, str] | None = None, **arguments: Any
) -> list[dict[str, Any]]:
    """What ``bench.worker`` reports of a task. RuntimeError with its last words where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.worker", task],
        input=json.dumps({"config": config.to_dict(), **arguments}),
        cwd=ROOT,
        env=os.environ | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the process that measures {task} failed: {done.stderr.strip()[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]
