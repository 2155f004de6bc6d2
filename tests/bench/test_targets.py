import pytest

from bench.figures import Recorder
from bench.targets import (
    AT_RATE,
    BESIDE_CROSS_ENCODER,
    ERRORS,
    HTTP_ERRORS,
    MEMORY,
    NEIGHBOURS,
    OPEN_LOOP,
    OVER_ENGINE,
    OVER_HTTP,
    OVERHEAD,
    PEAK,
    QUERY_BATCH,
    RERANKING_PEER,
    SATURATION,
    SERVER,
    TARGETS,
    THROUGHPUT,
    TURNS,
    TURNS_P95,
    Judgement,
    beside,
    judge,
)

APPLE, OTHER = True, False
DEFAULT, BUNDLED, RANDOM = "default", "bundled", "random"


def measured(
    latency: float = 5,
    errors: int = 0,
    rate: float = 200,
    footprint: float = 400,
    overhead: float = 1,
    beside_others: float = 1.1,
    reranking: float = 1.2,
    turns: float = 1.5,
) -> Recorder:
    record = Recorder()
    record.figure(OPEN_LOOP, AT_RATE, "ms", [latency] * 10)
    record.figure(OPEN_LOOP, ERRORS, "errors", [errors])
    record.figure(OPEN_LOOP, SATURATION, "queries/s", [rate])
    record.figure(THROUGHPUT, QUERY_BATCH, "queries/s", [rate])
    record.figure(MEMORY, PEAK, "MB", [footprint / 2, footprint])
    record.figure(SERVER, OVER_HTTP, "ms", [2 * latency] * 10)
    record.figure(SERVER, HTTP_ERRORS, "errors", [0])
    record.figure(SERVER, OVER_ENGINE, "ms", [0.75 * overhead])
    for name in OVERHEAD.values():
        record.figure(SERVER, name, "ms", [overhead])
    record.figure(TURNS, TURNS_P95, "times", [turns])
    record.figure(NEIGHBOURS, beside(2), "times", [beside_others])
    record.figure(RERANKING_PEER, BESIDE_CROSS_ENCODER, "times", [reranking])
    return record


def verdicts(record: Recorder, machine: bool, model: str) -> list[Judgement]:
    return judge(record.figures, apple_silicon=machine, default_model=model == DEFAULT, bundled_model=model == BUNDLED)


@pytest.mark.parametrize(
    ("machine", "model", "applies"),
    [
        (APPLE, DEFAULT, True),
        (APPLE, BUNDLED, False),
        (APPLE, RANDOM, False),
        (OTHER, BUNDLED, True),
        (OTHER, DEFAULT, False),
        (OTHER, RANDOM, False),
    ],
)
def test_where_the_targets_apply(machine: bool, model: str, applies: bool) -> None:
    of_every_model = {target.name for target in TARGETS if target.of_every_model}  # they are not for --model
    assert of_every_model == {"P95 while models take turns", "reranking, CrossEncoder's time to ours"}
    everything = verdicts(measured(), machine, model)
    assert [target.name for target in everything] == [target.name for target in TARGETS]
    assert {(one.verdict, one.reason) for one in everything if one.name in of_every_model} == {("PASS", "")}
    found = [one for one in everything if one.name not in of_every_model]
    assert {target.verdict for target in found} == {"PASS" if applies else "NOT APPLICABLE"}
    assert all(target.measured for target in found)
    assert all(bool(target.reason) != applies for target in found)


@pytest.mark.parametrize(
    ("record", "missed"),
    [
        (measured(latency=9.99), []),
        (measured(latency=10), ["P50 at 50 queries a second"]),
        (
            measured(latency=25),
            ["P50 at 50 queries a second", "P95 at 50 queries a second", "P95 over HTTP, 50 queries a second"],
        ),
        (measured(errors=1), ["errors at 50 queries a second"]),
        (measured(rate=50), []),
        (measured(rate=49.9), ["throughput, single queries", "throughput, batch of 32 queries"]),
        (measured(footprint=1000), ["footprint at its peak"]),
        (measured(beside_others=1.5), ["a query beside 2 busy programs"]),
        (measured(turns=2), ["P95 while models take turns"]),
        (measured(reranking=0.99), ["reranking, CrossEncoder's time to ours"]),
        (measured(reranking=1), []),
        (
            measured(overhead=2),
            ["server overhead over the engine, REST", *(f"server overhead, {name}" for name in OVERHEAD)],
        ),
    ],
)
def test_bounds(record: Recorder, missed: list[str]) -> None:
    found = verdicts(record, OTHER, BUNDLED)
    assert [target.name for target in found if target.verdict == "MISS"] == missed


def test_what_was_not_measured_is_neither_passed_nor_missed() -> None:
    record = Recorder()
    record.absent(OPEN_LOOP, AT_RATE, "no query was answered")
    for target in verdicts(record, APPLE, DEFAULT):
        assert (target.verdict, target.measured) == ("NOT APPLICABLE", "")
        assert target.reason == "not measured in this run"
