"""Fresh processes, in which import, loading and memory are measured undisturbed."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from akidb_embeddings.config.embedding import EmbeddingConfig

ROOT = Path(__file__).parent.parent


def run_worker(task: str, config: EmbeddingConfig, **arguments: Any) -> list[dict[str, Any]]:
    """What ``bench.worker`` reports of a task. RuntimeError with its last words where it fails."""
    # What was not set must stay so: a default gives way to a model's own limit, a value that was given does not.
    given = {name: value for name, value in asdict(config).items() if config.was_given(name)}
    done = subprocess.run(
        [sys.executable, "-m", "bench.worker", task],
        input=json.dumps({"config": given, **arguments}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the process that measures {task} failed: {done.stderr.strip()[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]
