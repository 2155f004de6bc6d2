"""The figures that are promised, and whether they were reached here.

They are for Apple Silicon with the default model. On other machines they are shown for the bundled model, which is
what everybody has; for anything else they say nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.figures import Figure, find
from bench.summary import Summary

Verdict = Literal["PASS", "MISS", "NOT APPLICABLE"]

OPEN_LOOP, OPEN_LOOP_RATE = "open loop", 50
AT_RATE = f"{OPEN_LOOP_RATE} queries a second"
ERRORS = f"errors at {OPEN_LOOP_RATE} queries a second"
SATURATION = "answers a second, at most"
MEMORY, PEAK = "memory", "peak"
THROUGHPUT, QUERY_BATCH = "throughput", "32 queries in one call"
SERVER, OVER_HTTP = "server", f"over HTTP, {AT_RATE}"
HTTP_ERRORS = f"errors over HTTP at {OPEN_LOOP_RATE} queries a second"
NEIGHBOURS = "neighbours"
RERANKING, PAIRS = "reranking", "pairs of mixed lengths"
RERANKING_PEER, BESIDE_CROSS_ENCODER = "reranking beside CrossEncoder", f"{PAIRS}, their time to ours"
OVER_ASYNC = "REST, more than async in process"
TURNS, TURNS_P95 = "models that take turns", "P95 of requests whose model is loaded, to that without loading"
OVER_ENGINE = "REST, more than the engine's own time"
OVERHEAD = {name: f"{name}, more than in process" for name in ("REST", "OpenAI, base64", "gRPC")}


def beside(programs: int) -> str:
    """The figure that compares the chosen BLAS threads with the better of all and one, beside busy programs."""
    return f"{programs} busy programs, chosen to the better of both"


@dataclass(frozen=True)
class Target:
    """A bound on one number of one figure; ``of_every_model``: whether it holds whatever the machine and the model."""

    name: str
    group: str
    figure: str
    pick: Callable[[Summary], float]
    below: bool
    bound: float
    unit: str
    of_every_model: bool = False

    def reached(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value < self.bound if self.below else value >= self.bound


@dataclass(frozen=True)
class Judgement:
    """What became of a target; ``measured`` is empty where nothing was."""

    name: str
    wanted: str
    measured: str
    verdict: Verdict
    reason: str = ""


TARGETS = (
    Target(f"P50 at {AT_RATE}", OPEN_LOOP, AT_RATE, lambda found: found.p50, True, 10, "ms"),
    Target(f"P95 at {AT_RATE}", OPEN_LOOP, AT_RATE, lambda found: found.p95, True, 25, "ms"),
    Target(ERRORS, OPEN_LOOP, ERRORS, lambda found: found.high, True, 1, "errors"),
    Target("throughput, single queries", OPEN_LOOP, SATURATION, lambda found: found.p50, False, 50, "queries/s"),
    Target("throughput, batch of 32 queries", THROUGHPUT, QUERY_BATCH, lambda found: found.p50, False, 50, "queries/s"),
    Target("footprint at its peak", MEMORY, PEAK, lambda found: found.high, True, 1000, "MB"),
    Target(f"P95 {OVER_HTTP}", SERVER, OVER_HTTP, lambda found: found.p95, True, 50, "ms"),
    Target(HTTP_ERRORS, SERVER, HTTP_ERRORS, lambda found: found.high, True, 1, "errors"),
    Target("server overhead over the engine, REST", SERVER, OVER_ENGINE, lambda found: found.p50, True, 1.5, "ms"),
    *(
        Target(f"server overhead, {name}", SERVER, figure, lambda found: found.p50, True, 2, "ms")
        for name, figure in OVERHEAD.items()
    ),
    Target(
        "P95 while models take turns",
        TURNS,
        TURNS_P95,
        lambda found: found.p50,
        True,
        2,
        "times",
        of_every_model=True,  # it is the bundled one that takes turns
    ),
    Target("a query beside 2 busy programs", NEIGHBOURS, beside(2), lambda found: found.p50, True, 1.5, "times"),
    Target(
        "reranking, CrossEncoder's time to ours",
        RERANKING_PEER,
        BESIDE_CROSS_ENCODER,
        lambda found: found.p50,
        False,
        1,
        "times",
        of_every_model=True,  # --model is not what is reranked with
    ),
)


def judge(
    figures: Sequence[Figure], *, apple_silicon: bool, default_model: bool, bundled_model: bool
) -> list[Judgement]:
    """Every target's verdict for this machine and model."""
    reason = why_not(apple_silicon, default_model, bundled_model)
    return [
        _judge(target, find(figures, target.group, target.figure), "" if target.of_every_model else reason)
        for target in TARGETS
    ]


def why_not(apple_silicon: bool, default_model: bool, bundled_model: bool) -> str:
    """Why the targets say nothing about this machine and model; empty if they do."""
    if apple_silicon:
        return "" if default_model else "on Apple Silicon the targets are for the default model"
    return "" if bundled_model else "on machines other than Apple Silicon the targets are shown for the bundled model"


def _judge(target: Target, found: Summary | None, reason: str) -> Judgement:
    wanted = f"{'<' if target.below else '>='} {target.bound:g} {target.unit}".strip()
    if found is None:
        return Judgement(target.name, wanted, "", "NOT APPLICABLE", "not measured in this run")
    value = target.pick(found)
    measured = f"{value:.4g} {target.unit}".strip()
    if reason:
        return Judgement(target.name, wanted, measured, "NOT APPLICABLE", reason)
    return Judgement(target.name, wanted, measured, "PASS" if target.reached(value) else "MISS")
