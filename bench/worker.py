"""What is measured in a process of its own: ``python -m bench.worker cold|memory|growth|queries``.

The first line of standard input is the task as JSON. Prints JSON lines.

Nothing heavy is imported before the clock runs: this module's own imports are a few milliseconds of the standard
library's.
"""

import itertools
import json
import random
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from akidb_embeddings.service.service import EmbeddingService


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def _load(options: dict[str, Any]) -> "EmbeddingService":
    from akidb_embeddings import EmbeddingConfig, EmbeddingService

    return EmbeddingService(config=EmbeddingConfig(**options))


def cold(task: dict[str, Any]) -> None:
    """Seconds for the import, for loading and for the first vector."""
    clock = [time.perf_counter()]
    from akidb_embeddings import EmbeddingService  # noqa: F401 - the name is what makes the package load

    clock.append(time.perf_counter())
    service = _load(task["config"])
    clock.append(time.perf_counter())
    service.embed([task["text"]])
    clock.append(time.perf_counter())
    _say(**{name: clock[i + 1] - clock[i] for i, name in enumerate(("import", "load", "first"))})
    service.close()


def memory(task: dict[str, Any]) -> None:
    """The footprint idle, loaded, while texts are embedded, and through a soak on random lengths."""
    import akidb_embeddings.service.service  # noqa: F401 - idle is with the code loaded and no model
    from bench.footprint import Sampler, footprint

    begin = time.monotonic()

    def note(phase: str) -> None:
        _say(phase=phase, bytes=footprint(), seconds=time.monotonic() - begin)

    note("idle")
    service = _load(task["config"])
    note("loaded")
    offset = time.monotonic() - begin
    with Sampler() as corpus:
        service.encode(task["texts"])
    for seconds, size in corpus.samples:
        _say(phase="corpus", bytes=size, seconds=offset + seconds)
    _say_device_memory()
    words = " ".join(task["texts"]).split()
    generator = random.Random(11)
    end = time.monotonic() + 60 * task["minutes"]
    while time.monotonic() < end:
        lengths = [min(400, 1 + int(generator.expovariate(1 / 40))) for _ in range(24)]
        begins = [generator.randrange(len(words)) for _ in lengths]
        service.encode([" ".join(words[i : i + n]) for i, n in zip(begins, lengths, strict=True)])
        note("soak")
    service.close()


def _say_device_memory() -> None:
    """What MLX holds of a GPU's memory, of which the footprint knows nothing."""
    from akidb_embeddings.compute.devices import select_backend
    from bench.gpu import device_memory

    if select_backend().is_gpu:
        found = device_memory()
        _say(phase="device", active=found.active, peak=found.peak, cache=found.cache)


def growth(task: dict[str, Any]) -> None:
    """Seconds and footprint for ever more texts in one call, each several times.

    ``net`` is the peak without the vectors that the call returns, which nothing can make smaller. What would take
    longer than the ``budget`` of seconds is said and not done.
    """
    from bench.footprint import Sampler

    service = _load(task["config"])
    texts: list[str] = task["texts"]
    service.encode(texts[:8])
    start = time.perf_counter()
    service.encode(texts[:24])
    pace = (time.perf_counter() - start) / 24
    for count, rounds in task["steps"]:
        if pace * count > task["budget"]:
            _say(count=count, expected=pace * count)
            continue
        many = [texts[i % len(texts)] for i in range(count)]
        for _ in range(min(rounds, max(1, int(task["budget"] / (pace * count))))):
            with Sampler() as sampler:
                start = time.perf_counter()
                vectors = service.encode(many).vectors
                seconds = time.perf_counter() - start
            _say(count=count, seconds=seconds, peak=sampler.peak, net=sampler.peak - vectors.nbytes)
            del vectors
            pace = seconds / count
    service.close()


def queries(task: dict[str, Any]) -> None:
    """Milliseconds of queries, one after the other: as many as each further line of standard input says."""
    service = _load(task["config"])
    texts = itertools.cycle(task["texts"])
    for line in sys.stdin:
        milliseconds = []
        for text in itertools.islice(texts, int(line)):
            start = time.perf_counter()
            service.embed_query(text)
            milliseconds.append(1e3 * (time.perf_counter() - start))
        found = service.statistics
        _say(milliseconds=milliseconds, threads=found.lone_threads, drops=found.thread_drops)
    service.close()


if __name__ == "__main__":
    run = {"cold": cold, "memory": memory, "growth": growth, "queries": queries}[sys.argv[1]]
    run(json.loads(sys.stdin.readline()))
