"""Loads and unloads models over and over, and prints what is left of it; ``test_footprint`` runs it in a process."""

import json
import os
import threading
from pathlib import Path

import psutil

from akidb_embeddings import EmbeddingConfig, EmbeddingService, ModelPool
from akidb_embeddings.registry import BUNDLED
from tests.fixtures import model_path

_ROUNDS = 40  # of three models each
_WARM = 10
_MODELS = {"a": BUNDLED, "b": str(model_path("tiny-qwen3")), "c": str(model_path("tiny-xlm-roberta"))}
_TEXTS = ["light", "the names of plants " * 30, "sugar and memory"]


def main() -> None:
    """Print the footprint after some and after all rounds, and the counts of threads and files, as JSON."""
    process, found = psutil.Process(), []
    with ModelPool({name: EmbeddingConfig(model_name=source) for name, source in _MODELS.items()}) as pool:
        for number in range(_ROUNDS):
            for name in _MODELS:
                with pool.use(name) as service:
                    assert isinstance(service, EmbeddingService)
                    service.embed(_TEXTS)
            for name in _MODELS:
                pool.unload(name)
            if number + 1 in (_WARM, _ROUNDS):
                tasks = len(os.listdir("/proc/self/task")) if Path("/proc").exists() else threading.active_count()
                found.append({"rss": process.memory_info().rss, "files": process.num_fds(), "threads": tasks})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
