"""Embed many texts of random lengths and print what the process holds as it goes on.

Run: ``python -m tests.soak [MODEL [TEXTS]]``. ``test_memory.py`` runs it with a tiny model in a process of its own.
"""

import ctypes
import json
import random
import statistics
import sys

import psutil

from akidb_embeddings import EmbeddingService
from tests.fixtures import model_path
from tests.golden.texts import counted_text

BATCH = 250


def footprint() -> int:
    """Bytes that only this process holds. What malloc keeps to hand out again is returned first: it is not held."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    return int(psutil.Process().memory_full_info().uss)


def main(model: str, total: int) -> None:
    generator = random.Random(11)
    samples: list[int] = []
    with EmbeddingService(model) as service:
        longest = min(service.settings.max_tokens, 500)
        for done in range(0, total, BATCH):
            # Mostly short, some up to the limit, each batch of other lengths than the last.
            lengths = [min(longest, 1 + int(generator.expovariate(1 / 40))) for _ in range(BATCH - 5)]
            lengths += [generator.randint(1, longest) for _ in range(5)]
            service.embed([counted_text(length, seed=done) for length in lengths])
            samples.append(footprint())
            print(json.dumps({"texts": done + BATCH, "footprint": samples[-1]}), flush=True)
    # Single samples jump with the shapes that happen to be cached; medians show whether it grows.
    tenth = len(samples) // 10
    first, last = statistics.median(samples[tenth : 2 * tenth]), statistics.median(samples[-tenth:])
    print(json.dumps({"after_a_tenth": first, "at_the_end": last, "growth": last / first - 1, "peak": max(samples)}))


if __name__ == "__main__":
    model = sys.argv[1] if len(sys.argv) > 1 else str(model_path("tiny-bert"))
    main(model, int(sys.argv[2]) if len(sys.argv) > 2 else 20_000)
