"""One measurement of ``scripts/gpu_measure.py`` in a process of its own: ``python -m bench.gpu_worker TASK``.

Its arguments come as JSON on stdin. Each figure is a JSON line on stdout as soon as it is known, so that a process that
is ended for taking too long has told what it knew.
"""

import asyncio
import hashlib
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.gpu_kernels import packed, shapes, thousand
from bench.summary import percentile

_PASSAGE_TOKENS = 256
_KEPT = 64  # vectors that are compared with the strict ones
_SAID_EVERY = 250  # queries
_SEED = 7


def say(**values: Any) -> None:
    """One figure."""
    print(json.dumps(values), flush=True)


def tails(seconds: Sequence[float]) -> dict[str, float]:
    """Latencies in milliseconds."""
    found = {f"p{percent:g}_ms": percentile(seconds, percent) * 1e3 for percent in (50, 95, 99, 99.9)}
    return {name: round(value, 3) for name, value in {**found, "longest_ms": max(seconds) * 1e3}.items()}


def prepare(task: Mapping[str, Any]) -> None:
    """Make a random model, for us or (``expanded``) for peers, or a copy of the bundled one for them."""
    from bench.expand import expand_folder
    from bench.random_models import RECIPES, Recipe, write_model

    folder, start = Path(task["folder"]), time.perf_counter()
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    if recipe := RECIPES.get(task["recipe"]):
        write_model(folder, Recipe({**recipe.config, **task["config"]}, recipe.dense), expanded=task["expanded"])
    else:
        expand_folder(_folder(task["recipe"]), folder)
    say(made=folder.name, seconds=round(time.perf_counter() - start, 2))


def _folder(model: str) -> Path:
    """Of a name in the registry, or a folder."""
    from akidb_embeddings.hub.resolve import find_model

    found = find_model(model)
    return found.path if found else Path(model)


def about(task: Mapping[str, Any]) -> None:
    """The card and the software."""
    from bench.gpu import find_gpu
    from bench.machine import describe_machine

    gpu = find_gpu()
    say(gpu=gpu.describe() if gpu else None, machine=describe_machine())


def passages(task: Mapping[str, Any]) -> list[str]:
    """The corpus's texts, again from the start where it has fewer, or such as come with Python."""
    from bench.texts import Texts

    texts = Texts(Path(task["corpus"]) if task["corpus"] else None).passages(task["texts"])
    return list(itertools.islice(itertools.cycle(texts), task["texts"]))


def queries(count: int) -> list[str]:
    """Different queries of 6 to 18 words."""
    from bench.texts import reference_words

    words, generator = reference_words(), random.Random(_SEED)
    begins = [generator.randrange(len(words) - 18) for _ in range(count)]
    return [" ".join(words[begin : begin + 6 + index % 13]) for index, begin in enumerate(begins)]


def load(task: Mapping[str, Any]) -> Any:
    """The service, warmed up; how long each step took."""
    from akidb_embeddings import EmbeddingConfig, EmbeddingService

    start = time.perf_counter()
    config = EmbeddingConfig(model_name=task["model"], max_tokens=_PASSAGE_TOKENS, **task["settings"])
    service = EmbeddingService(config=config)
    loaded = time.perf_counter()
    service.embed(["one"])
    first = time.perf_counter()
    while service.statistics.warming_up:
        time.sleep(0.02)
    say(
        load_s=round(loaded - start, 2),
        first_vector_s=round(first - loaded, 2),
        warm_up_s=round(service.statistics.warm_up_seconds, 2),
    )
    return service


def corpus(task: Mapping[str, Any]) -> None:
    """Throughput, memory, padding and the share of the card's peak."""
    from bench import padding
    from bench.arithmetic import needed_flops
    from bench.gpu import device_memory, find_gpu

    texts = passages(task)
    gpu = find_gpu()
    with load(task) as service:
        service.encode(texts[:512])
        for number in range(task["rounds"]):
            with padding.observed() as padded:
                start = time.perf_counter()
                result = service.encode(texts)
                seconds = time.perf_counter() - start
            memory = device_memory()
            teraflops = needed_flops(service.checkpoint, result.token_counts) / seconds / 1e12
            say(
                round=number,
                texts=len(texts),
                texts_s=round(len(texts) / seconds, 1),
                tokens_s=round(sum(result.token_counts) / seconds),
                compute_s=round(result.timings.compute, 2),
                tokenize_s=round(result.timings.tokenize, 2),
                total_s=round(seconds, 2),
                padding_percent=round(padded.waste, 1),
                teraflops=round(teraflops, 1),
                peak_percent=round(100 * teraflops / gpu.peak, 1) if gpu and gpu.peak else None,
                active_mb=memory.active >> 20,
                peak_mb=memory.peak >> 20,
                cache_mb=memory.cache >> 20,
            )
            if number == 0:
                _compare(result.vectors[:_KEPT], texts, task)


def _compare(vectors: Any, texts: Sequence[str], task: Mapping[str, Any]) -> None:
    """Keep the first vectors as the reference, or say how close they are to it; null where there is none."""
    import numpy as np

    from akidb_embeddings.vectors.finish import row_cosines

    file = reference_file(texts, task)
    if task["is_reference"]:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, vectors)
    elif file.is_file():
        found = row_cosines(vectors, np.load(file))
        say(lowest_cosine_to_strict=round(float(found.min()), 7), mean_cosine=round(float(found.mean()), 7))
    else:
        say(lowest_cosine_to_strict=None)


def reference_file(texts: Sequence[str], task: Mapping[str, Any]) -> Path:
    """The strict vectors: a digest of what they come from is in the name, so that no others are compared."""
    sources = json.dumps([task["model"], _PASSAGE_TOKENS, list(texts[:_KEPT])])
    digest = hashlib.sha256(sources.encode()).hexdigest()[:16]
    return Path(task["references"]) / f"strict-{Path(task['model']).name}-{digest}.npy"


def single(task: Mapping[str, Any]) -> None:
    """Single queries, one after the other, all different; then some once more, which have no new shape.

    The figures are those of all queries so far.
    """
    with load(task) as service:
        everything = queries(task["queries"])
        for visit, asked in (("first", everything), ("second", everything[:300])):
            seconds: list[float] = []
            for query in asked:
                start = time.perf_counter()
                service.embed_query(query)
                seconds.append(time.perf_counter() - start)
                if len(seconds) % _SAID_EVERY == 0 or len(seconds) == len(asked):
                    slow = sorted(zip(seconds, asked, strict=False), reverse=True)[:10]
                    words = [(len(query.split()), round(taken * 1e3, 1)) for taken, query in slow]
                    say(visit=visit, queries=len(seconds), **tails(seconds), slowest_words_ms=words)


def open_loop(task: Mapping[str, Any]) -> None:
    """Queries at fixed times, at several rates."""
    from bench.open_loop import offer, precise_loop

    asked = queries(1000)
    with load(task) as service, asyncio.Runner(loop_factory=precise_loop) as runner:
        for rate in task["rates"]:

            async def call(index: int) -> object:
                return await service.aembed_query(asked[index % len(asked)])

            outcome = runner.run(offer(call, rate, task["seconds"]))
            say(rate=rate, errors=len(outcome.errors), **tails(outcome.latencies))


def cold(task: Mapping[str, Any]) -> None:
    """The first vector of this process, from the import on; MLX_PTX_CACHE_DIR is the caller's."""
    start = time.perf_counter()
    from akidb_embeddings import EmbeddingService

    imported = time.perf_counter()
    with EmbeddingService(task["model"], warm_up=False) as service:
        loaded = time.perf_counter()
        service.embed(["how do I await a coroutine?"])
        first = time.perf_counter()
    marks = {"import_s": imported - start, "load_s": loaded - imported, "first_vector_s": first - loaded}
    say(**{name: round(value, 3) for name, value in {**marks, "whole_s": first - start}.items()})


def golden(task: Mapping[str, Any]) -> None:
    """The lowest cosines of tiny models to their golden vectors, with these changes."""
    from tests.gpu.goldens import lowest_cosines

    for name in task["models"]:
        try:
            say(model=name, **lowest_cosines(name, **task["settings"]))
        except Exception as error:  # one model's failure is reported, and the others are still measured
            say(model=name, error=f"{type(error).__name__}: {error}"[:300])


def peer(task: Mapping[str, Any]) -> None:
    """sentence-transformers in bfloat16 on the same device."""
    from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
    from bench.peers import PEERS, Peer
    from bench.texts import exact_tokenizer

    texts, asked = passages(task), queries(task["queries"])
    counts = exact_tokenizer(read_checkpoint(_folder(task["model"]))).encode(texts).counts
    with Peer(PEERS[0], task["python"], patience=task["patience"]) as other:
        folder, dtype = Path(task["plain"]), task["dtype"]
        version = other.load(folder, _PASSAGE_TOKENS, task["threads"], device=task["device"], dtype=dtype)
        say(peer=f"sentence-transformers {version}", dtype=dtype, device=task["device"])
        for query in asked[:20]:
            other.embed([query])
        say(queries=len(asked), **tails([other.embed([query])[0] for query in asked]))
        other.embed(texts[:256])
        seconds, _ = other.embed(texts)
        tokens = sum(min(count, _PASSAGE_TOKENS) for count in counts)
        say(texts=len(texts), texts_s=round(len(texts) / seconds, 1), tokens_s=round(tokens / seconds))


TASKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    task.__name__: task
    for task in (prepare, about, corpus, single, open_loop, cold, golden, peer, shapes, thousand, packed)
}
_WITHOUT_MLX = ("prepare", "peer")


def main() -> None:
    """Run one task."""
    name, task = sys.argv[1], json.load(sys.stdin)
    if name not in _WITHOUT_MLX and (task["device"] == "cpu" or task["changes"]):
        from bench.gpu_variants import use

        use(task["changes"], device=task["device"])
    TASKS[name](task)


if __name__ == "__main__":
    main()
