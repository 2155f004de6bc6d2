"""Predict speed on Apple chips from FLOPs, bytes and published peaks, and write ``docs/roofline.md``.

    time = max(FLOPs / (efficiency * peak FLOP/s), bytes / (efficiency * peak bandwidth)) + overhead

Beside each prediction stands the bound: the same with full efficiency, the weights as the only bytes and no overhead.
The prose is in ``roofline.md.in`` beside this file. Standard library and the package's registry only.

Run: ``python scripts/roofline.py``.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).with_suffix(".md.in")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "roofline.md"

COMPUTE_EFFICIENCY = 0.7
BANDWIDTH_EFFICIENCY = 0.8
CALL_SECONDS = 1e-3  # tokenizing, handing over, building the graph, one round trip to the device
LAYER_SECONDS = 40e-6  # starting a layer's kernels
GROUP = 64  # weights that share a scale and a bias
TRAFFIC = 2  # norms, residuals and activations move about as much as the linear maps' inputs and outputs
MARGIN = 1.5  # a target counts as feasible if it is met even where the prediction is this much too fast

P50, P95, BATCH, RATE = 0.010, 0.025, 0.010, 50.0  # the targets: seconds, seconds, seconds, queries a second


@dataclass(frozen=True)
class Dimensions:
    """A model's shape, and how it is kept and computed on Metal (``backend.metal``).

    ``tables`` counts the rows of all embedding tables, ``dense`` gives (inputs, outputs) of the layers after pooling,
    ``value_bytes`` is the size of an activation, a scale or a bias: 2 for float16, 4 for float32. ``fused`` says
    whether MLX's fused attention takes this head size; otherwise the scores go through memory.
    """

    layers: int
    hidden: int
    inner: int
    gated: bool
    heads: int
    kv_heads: int
    head_dim: int
    tables: int
    bits: int
    value_bytes: int
    fused: bool
    dense: tuple[tuple[int, int], ...] = ()

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of one layer's products, those of the same input together."""
        mixed = self.heads * self.head_dim
        return (
            (self.hidden, mixed + 2 * self.kv_heads * self.head_dim),
            (mixed, self.hidden),
            (self.hidden, self.inner * (2 if self.gated else 1)),
            (self.inner, self.hidden),
        )

    @property
    def layer_weights(self) -> int:
        return sum(inputs * outputs for inputs, outputs in self.linears)

    @property
    def dense_weights(self) -> int:
        return sum(inputs * outputs for inputs, outputs in self.dense)

    @property
    def read_weights(self) -> int:
        """Weights that every forward pass reads whole: all but the embedding tables."""
        return self.layers * self.layer_weights + self.dense_weights

    @property
    def packed_bytes(self) -> float:
        """Bytes of one weight as kept on Metal, with its share of the group's scale and bias."""
        return self.bits / 8 + 2 * self.value_bytes / GROUP

    @property
    def overhead(self) -> float:
        return CALL_SECONDS + LAYER_SECONDS * self.layers


DIMENSIONS = {
    "qwen3-0.6b-4bit": Dimensions(28, 1024, 3072, True, 16, 8, 128, 151669, bits=4, value_bytes=2, fused=True),
    "gemma-300m-4bit": Dimensions(
        24, 768, 1152, True, 3, 1, 256, 262144, bits=4, value_bytes=2, fused=False, dense=((768, 3072), (3072, 768))
    ),
    "minilm-l6-v2": Dimensions(6, 384, 1536, False, 12, 12, 32, 30522 + 512 + 2, bits=8, value_bytes=2, fused=False),
}


@dataclass(frozen=True)
class Machine:
    """Peaks in FLOP/s and bytes/s. ``tile``: the rows a matrix product is rounded up to.

    ``packed``: whether weights are read as stored, or as float32 (``backend.cpu``).
    """

    name: str
    flops: float
    bandwidth: float
    tokens_per_batch: int = 8192
    tile: int = 32
    packed: bool = True


CHIPS = (Machine("M1", 2.6e12, 68.25e9), Machine("M2 Pro", 6.8e12, 200e9), Machine("M4 Max", 18.4e12, 546e9))
LINUX_LENGTH, LINUX_PASSAGES = 182, 25.2  # tokens of a passage; passages a second, measured by `make bench`
LINUX = Machine("two-core Linux", 180e9, 20e9, tokens_per_batch=512, tile=1, packed=False)


@dataclass(frozen=True)
class Work:
    """One micro-batch: FLOPs of the real rows, FLOPs of whole tiles, weight bytes, and all bytes."""

    flops: float
    tiled_flops: float
    weight_bytes: float
    moved_bytes: float


def work(model: Dimensions, machine: Machine, texts: int, length: int) -> Work:
    """What a forward pass of ``texts`` texts of ``length`` tokens does."""
    rows = texts * length
    mixed = model.heads * model.head_dim
    # q k^T and scores v; our masks are arrays, so hidden positions are computed too.
    attention = 4.0 * model.layers * texts * length**2 * mixed

    def products(tile: int) -> float:
        layers = 2.0 * model.layers * model.layer_weights * math.ceil(rows / tile) * tile
        return layers + 2.0 * model.dense_weights * math.ceil(texts / tile) * tile

    value = model.value_bytes if machine.packed else 4
    weight = model.packed_bytes if machine.packed else 4.0
    streamed = sum(inputs + outputs for inputs, outputs in model.linears)
    scores = 0 if model.fused and machine.packed else 4 * texts * model.heads * length**2
    moved = model.layers * value * (TRAFFIC * rows * streamed + scores) + rows * model.hidden * model.packed_bytes
    weights = model.read_weights * weight
    return Work(products(1) + attention, products(machine.tile) + attention, weights, weights + moved)


def parts(job: Work, machine: Machine) -> tuple[float, float]:
    """Seconds of arithmetic and of memory at the assumed efficiencies."""
    return (
        job.tiled_flops / (COMPUTE_EFFICIENCY * machine.flops),
        job.moved_bytes / (BANDWIDTH_EFFICIENCY * machine.bandwidth),
    )


def predicted(model: Dimensions, machine: Machine, texts: int, length: int) -> float:
    """Seconds, by the formula."""
    return max(parts(work(model, machine, texts, length), machine)) + model.overhead


def bound(model: Dimensions, machine: Machine, texts: int, length: int) -> float:
    """Seconds below which this forward pass cannot be on this machine, if its peaks are right."""
    job = work(model, machine, texts, length)
    return max(job.flops / machine.flops, job.weight_bytes / machine.bandwidth)


def micro_batch(machine: Machine, length: int, most_texts: int = 32) -> int:
    """Texts that the planner puts into one micro-batch."""
    return max(1, min(most_texts, machine.tokens_per_batch // length))


def mean_wait(service: float, rate: float = RATE) -> float:
    """Seconds a query waits on average if arrivals are random and each alone takes ``service`` (Pollaczek-Khinchine).

    Infinite where the queue only grows.
    """
    load = rate * service
    return load * service / (2 * (1 - load)) if load < 1 else math.inf


def verdict(best: float, expected: float, limit: float) -> str:
    """Of a time that must stay under ``limit``, from the bound and the prediction."""
    if best >= limit:
        return "no"
    return "yes" if MARGIN * expected < limit else "in doubt"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int) -> str:
    rule = ["---" if column < numbers_from else "---:" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return "unbounded" if math.isinf(value) else f"{value:.{2 if value < 1 else 1 if value < 100 else 0}f}"


def pairs() -> list[tuple[str, Dimensions, Machine]]:
    return [(name, DIMENSIONS[name], chip) for name in DIMENSIONS for chip in CHIPS]


def model_table() -> str:
    def row(name: str, model: Dimensions) -> list[str]:
        job = work(model, CHIPS[0], 1, 32)
        return [
            f"`{name}`",
            "float16" if model.value_bytes == 2 else "float32",
            f"{model.read_weights / 1e6:.1f}",
            f"{8 * model.packed_bytes:.1f}",
            f"{job.weight_bytes / 1e6:.0f}",
            f"{job.flops / 32 / 1e9:.3f}",
            f"{1e3 * model.overhead:.2f}",
        ]

    head = ["model", "computes in", "weights read, M", "bits per weight", "MB read", "GFLOP per token", "overhead, ms"]
    return table(head, [row(name, DIMENSIONS[name]) for name in DIMENSIONS], 2)


def prediction_table() -> str:
    def row(name: str, model: Dimensions, chip: Machine) -> list[str]:
        times = [
            f"{milliseconds(bound(model, chip, *shape))} / {milliseconds(predicted(model, chip, *shape))}"
            for shape in ((1, 16), (1, 32), (32, 32))
        ]
        texts = micro_batch(chip, 256)
        speeds = [texts * 256 / seconds(model, chip, texts, 256) for seconds in (bound, predicted)]
        return [f"`{name}`", chip.name, *times, f"{speeds[0]:,.0f} / {speeds[1]:,.0f}"]

    head = ["model", "chip", "query of 16, ms", "query of 32, ms", "32 queries of 32, ms", "documents of 256, tokens/s"]
    return table(head, [row(*pair) for pair in pairs()], 2)


def target_table() -> str:
    def row(name: str, model: Dimensions, chip: Machine) -> list[str]:
        short, query, batch = [
            (bound(model, chip, *shape), predicted(model, chip, *shape)) for shape in ((1, 16), (1, 32), (32, 32))
        ]
        each = min(query[0], batch[0] / 32), min(query[1], batch[1] / 32)
        return [
            f"`{name}`",
            chip.name,
            verdict(*short, P50),
            verdict(*query, P50),
            verdict(*query, min(P95, 1 / RATE)),
            milliseconds(mean_wait(query[1])),
            f"{verdict(*each, 1 / RATE)} ({1 / each[1]:,.0f})",
            verdict(*batch, BATCH),
        ]

    head = ["model", "chip", "P50 < 10 ms, 16 tokens", "P50 < 10 ms, 32 tokens", "P95 < 25 ms, 32 tokens"]
    head += ["mean wait, ms", "50 queries/s (predicted)", "batch of 32 in 10 ms"]
    return table(head, [row(*pair) for pair in pairs()], 8)


def linux_speed() -> float:
    """Predicted passages a second on the Linux machine of the check."""
    texts = micro_batch(LINUX, LINUX_LENGTH)
    return texts / predicted(DIMENSIONS["minilm-l6-v2"], LINUX, texts, LINUX_LENGTH)


def linux_table() -> str:
    model, speed = DIMENSIONS["minilm-l6-v2"], linux_speed()
    products = 1e3 * work(model, LINUX, 6, 180).flops / model.layers / (LINUX.flops / 2)
    query = 1e3 * predicted(model, LINUX, 1, 16)
    figures = [
        ("one layer's matrix products, 6 x 180 tokens, one core at its peak, ms", products, 42.0, 42.0),
        ("that whole layer, one core, ms", products / COMPUTE_EFFICIENCY, 73.0, 73.0),
        ("one query of 16 tokens, prototype, ms", query, 9.0, 14.0),
        ("one query of 16 tokens, ONNX Runtime, ms", query, 4.5, 4.5),
        ("passages, today's code, texts/s", speed, LINUX_PASSAGES, LINUX_PASSAGES),
        ("passages, ONNX Runtime, texts/s", speed, 27.0, 32.0),
    ]

    def row(what: str, made: float, low: float, high: float) -> list[str]:
        seen, ratios = [f"{low:g}", f"{high:g}"], [f"{made / high:.2f}", f"{made / low:.2f}"]
        return [what, f"{made:.1f}", *(" to ".join(dict.fromkeys(ends)) for ends in (seen, ratios))]

    return table(["figure", "predicted", "measured", "predicted / measured"], [row(*figure) for figure in figures], 1)


def page() -> str:
    """The whole of ``docs/roofline.md``."""
    qwen, shapes = DIMENSIONS["qwen3-0.6b-4bit"], ((1, 16), (1, 32), (32, 32), (32, 256))
    cells = [parts(work(model, chip, *shape), chip) for _, model, chip in pairs() for shape in shapes]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        compute=f"{COMPUTE_EFFICIENCY:g}",
        bandwidth=f"{BANDWIDTH_EFFICIENCY:g}",
        call=f"{1e3 * CALL_SECONDS:g}",
        layer=f"{1e3 * LAYER_SECONDS:g}",
        models=model_table(),
        predictions=prediction_table(),
        targets=target_table(),
        linux=linux_table(),
        linux_passages=f"{linux_speed() / LINUX_PASSAGES:.1f}",
        arithmetic=sum(arithmetic > memory for arithmetic, memory in cells),
        cells=len(cells),
        qwen_batch=f"{work(qwen, CHIPS[0], 32, 32).flops / 1e9:.0f}",
        qwen_peak=f"{work(qwen, CHIPS[0], 32, 32).flops / BATCH / 1e12:.0f}",
        qwen_bounds=", ".join(f"{milliseconds(bound(qwen, chip, 32, 32))} ms on {chip.name}" for chip in CHIPS),
    )


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(PAGE.parent.parent))
