"""The first vector of a new process, and what a text costs in calls of a hundred to a hundred thousand."""

from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from akidb_embeddings import EmbeddingService
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from bench.figures import Recorder
from bench.models import Model
from bench.process import run_worker
from bench.scale import Scale
from bench.texts import Texts
from bench.timing import timed

_GROUP, _GROWTH = "cold start", "growth"
_STEPS = {"import": "import", "load": "load the model", "first": "first vector"}
# Times the budget of other measurements: a slow machine would sit over 100,000 texts for a day.
_PATIENCE = 6
_POOL = 1000


def test_first_vector(
    benchmark: BenchmarkFixture,
    service: EmbeddingService,
    model: Model,
    texts: Texts,
    tokenizer: Tokenizer,
    record: Recorder,
    scale: Scale,
) -> None:
    """From starting Python to the end of the process, and its parts. The files are in the system's cache."""
    text = texts.exact(tokenizer, 16, 1)[0]
    parts: dict[str, list[float]] = defaultdict(list)

    def start(text: str) -> None:
        [found] = run_worker("cold", model.config, text=text)
        for name, seconds in found.items():
            parts[name].append(seconds)

    whole = timed(benchmark, start, [text] * scale.cold_starts, _GROUP)
    for name, label in _STEPS.items():
        record.figure(_GROUP, label, "ms", [1e3 * seconds for seconds in parts[name]])
    record.figure(_GROUP, "whole process", "ms", [1e3 * seconds for seconds in whole], "Python's start and end too")


def test_kernels_of_a_fresh_machine(model: Model, record: Recorder, scale: Scale, tmp_path: Path) -> None:
    """On CUDA, kernels are compiled at their first use and kept in a folder: with an empty one, and when it is filled.

    What a warm-up would compile in the background is left out.
    """
    from akidb_embeddings.compute.devices import select_backend

    if select_backend().name != "cuda":
        pytest.skip("only CUDA's kernels are compiled and kept")
    config = model.config.with_values(warm_up=False)
    for label, count in (("fresh machine", 1), ("second process", scale.cold_starts)):
        environment = {"MLX_PTX_CACHE_DIR": str(tmp_path)}
        found = [run_worker("cold", config, environment, text="a text")[0] for _ in range(count)]
        milliseconds = [1e3 * (one["load"] + one["first"]) for one in found]
        record.figure(_GROUP, f"load and first vector, {label}", "ms", milliseconds, "kernels in a folder of its own")


def test_growth(
    service: EmbeddingService,
    model: Model,
    texts: Texts,
    tokenizer: Tokenizer,
    record: Recorder,
    scale: Scale,
) -> None:
    """One call with ever more queries of 8-32 tokens: time and footprint for each text should stay the same."""
    steps = [(count, max(1, min(10, scale.growth[-1] // 3 // count))) for count in scale.growth]
    queries = texts.queries(tokenizer, _POOL)
    found = run_worker("growth", model.config, texts=queries, steps=steps, budget=_PATIENCE * scale.budget)
    done: list[tuple[float, float]] = []
    for count, _ in steps:
        lines = [line for line in found if line["count"] == count]
        if "expected" in lines[0]:
            reason = f"not measured: it would take {lines[0]['expected'] / 60:.0f} minutes"
            record.absent(_GROWTH, f"{count:,} texts", reason)
            continue
        record.figure(_GROWTH, f"{count:,} texts, time", "ms/text", [1e3 * line["seconds"] / count for line in lines])
        record.figure(
            _GROWTH, f"{count:,} texts, footprint", "MB", [line["net"] / 1e6 for line in lines],
            f"peak, without the {(lines[0]['peak'] - lines[0]['net']) / 1e6:.1f} MB of vectors returned",
        )  # fmt: skip
        per_text = [line["peak"] / 1e3 / count for line in lines]
        record.figure(
            _GROWTH, f"{count:,} texts, footprint per text", "kB/text", per_text, "the whole peak, vectors too"
        )
        done.append((median(line["seconds"] / count for line in lines), median(line["net"] for line in lines)))
    if len(done) > 1:
        (first_time, first_size), (last_time, last_size) = done[0], done[-1]
        note = "most texts to fewest: 1 is no growth"
        record.figure(_GROWTH, "time per text", "times", [last_time / first_time], note)
        record.figure(_GROWTH, "footprint without vectors", "times", [last_size / first_size], note)
