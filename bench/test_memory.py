"""What a process holds: idle, with the model, at its peak on whole texts, and after a soak on random lengths."""

from collections import defaultdict
from statistics import median

import pytest

from akidb_embeddings import EmbeddingService
from bench.figures import Recorder
from bench.models import Model
from bench.plots import OVER_TIME
from bench.process import run_worker
from bench.scale import CORPUS_TOKENS, Scale
from bench.targets import MEMORY, PEAK
from bench.texts import Texts

_LAST = 20
_ENOUGH = 5
_CURVE_POINTS = 400


@pytest.mark.parametrize("memory", ["fast", "compact"])
def test_footprint(
    memory: str,
    pytestconfig: pytest.Config,
    service: EmbeddingService,
    model: Model,
    texts: Texts,
    record: Recorder,
    scale: Scale,
    pace: float,
) -> None:
    from akidb_embeddings.compute.devices import select_backend

    is_configured = memory == model.config.memory
    if not is_configured and (pytestconfig.option.quick or select_backend().name != "cpu"):
        pytest.skip("both ways are measured on CPUs, where they differ, and without --quick")
    soak = pytestconfig.option.soak
    config = model.config.with_values(memory=memory, max_tokens=min(CORPUS_TOKENS, service.checkpoint.max_tokens))
    passages = texts.passages(scale.affordable(scale.memory_texts, pace, least=32))
    minutes = scale.soak_minutes if soak is None else soak
    found = run_worker("memory", config, texts=passages, minutes=minutes)
    # The configured way has the names that targets look for.
    suffix = "" if is_configured else f", memory: {memory}"
    sizes: dict[str, list[float]] = defaultdict(list)
    device = [line for line in found if line["phase"] == "device"]
    found = [line for line in found if line["phase"] != "device"]
    for line in device:
        for name, meaning in (("active", "arrays after the texts"), ("peak", "arrays at most"), ("cache", "for reuse")):
            record.figure(MEMORY, f"GPU, {name}{suffix}", "MB", [line[name] / 1e6], f"MLX's {meaning}")
    for line in found:
        sizes[line["phase"]].append(line["bytes"] / 1e6)
    record.figure(MEMORY, f"idle{suffix}", "MB", sizes["idle"], "code without a model")
    record.figure(MEMORY, f"loaded{suffix}", "MB", sizes["loaded"])
    record.figure(MEMORY, f"{PEAK}{suffix}", "MB", sizes["corpus"] + sizes["soak"], "MAX is the peak, over all of it")
    if sizes["soak"]:
        note = f"at the end of {minutes:g} minutes on random lengths"
        record.figure(MEMORY, f"after the soak{suffix}", "MB", sizes["soak"][-_LAST:], note)
    tenth = len(sizes["soak"]) // 10
    if tenth >= _ENOUGH:
        # Not from the first tenth, in which shapes that come for the first time still ask for their buffers.
        ratio = median(sizes["soak"][-tenth:]) / median(sizes["soak"][tenth : 2 * tenth])
        record.figure(MEMORY, f"growth through the soak{suffix}", "times", [ratio], "last tenth to second: 1 is none")
    for line in found[:: max(1, len(found) // _CURVE_POINTS)]:
        record.point(OVER_TIME, f"memory: {memory}", line["seconds"], line["bytes"] / 1e6)
