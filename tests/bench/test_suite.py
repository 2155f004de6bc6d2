"""The suite as a whole runs from the command line. How fast anything is does not matter here."""

import json
import mmap
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest

from bench import padding
from bench.footprint import Sampler, footprint
from bench.machine import OtherPrograms
from bench.neighbours import Asker, busy_programs, settings, take_turns
from bench.process import run_worker
from tests.conftest import REPOSITORY, service
from tests.fixtures import DATA

pytestmark = pytest.mark.long

TINY = str(DATA / "models" / "tiny-bert")


def run_suite(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "bench", "--quick", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_a_part_of_the_suite_writes_its_report(tmp_path: Path) -> None:
    done = run_suite("--model", TINY, "-k", "test_hot and 16 or one_call", "--reports", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hot, 16 tokens" in done.stdout
    assert "P50 at 50 queries a second" in done.stdout
    assert "not measured in this run" in done.stdout
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".html", ".json", ".md"]
    [file] = tmp_path.glob("*.json")
    figures = json.loads(file.read_text(encoding="utf-8"))["figures"]
    assert [figure["name"] for figure in figures] == [
        "hot, 16 tokens", "32 queries in one call", "32 queries in one call, time",
    ]  # fmt: skip
    assert all(figure["summary"]["count"] >= 5 for figure in figures)


def test_a_reranker_is_measured(tmp_path: Path) -> None:
    reranker = str(DATA / "models" / "tiny-bert-reranker")
    arguments = ("--model", TINY, "--reranker", reranker, "-k", "reranking", "--reports", str(tmp_path), "--peers")
    done = run_suite(*arguments, "--peers-python", "/no/such/python")
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = tmp_path.glob("*.json")
    figures = json.loads(file.read_text(encoding="utf-8"))["figures"]
    assert [figure["name"] for figure in figures] == [
        "pairs of mixed lengths", "pairs of mixed lengths, tokens",
        "20 documents of 200 tokens", "100 documents of 200 tokens", "CrossEncoder",
    ]  # fmt: skip
    assert all(figure["summary"]["count"] >= 2 for figure in figures[:-1])
    assert figures[-1]["note"] == "absent; to compare: pip install sentence-transformers"


def test_a_target_that_is_missed_fails_only_when_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unreachable.py").write_text(
        "import dataclasses\n"
        "from bench import targets\n"
        "targets.TARGETS = [dataclasses.replace(one, bound=1e9) for one in targets.TARGETS if not one.below]\n"
        "targets.why_not = lambda *_: ''\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{tmp_path}")
    arguments = ("-p", "unreachable", "--model", TINY, "-k", "one_call", "--reports", str(tmp_path))
    shown = run_suite(*arguments)
    assert shown.returncode == 0
    assert "MISS" in shown.stdout
    enforced = run_suite(*arguments, "--enforce-targets")
    assert enforced.returncode == 1, enforced.stdout
    assert "FAILED: targets missed: throughput, batch of 32 queries" in enforced.stdout


def test_a_model_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    done = run_suite("--model", "minilm-l6", "-k", "test_hot and 16", "--reports", str(tmp_path))
    assert done.returncode == 4
    assert "Unknown model 'minilm-l6'. Did you mean 'minilm-l6-v2' (bundled" in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_plain_pytest_does_not_collect_the_suite(pytestconfig: pytest.Config) -> None:
    folders = [Path(folder).parts[0] for folder in pytestconfig.getini("testpaths")]
    assert folders
    assert "bench" not in folders


def test_fresh_processes_measure_start_memory_and_growth() -> None:
    config = service(model_name=TINY).config
    [cold] = run_worker("cold", config, text="a text")
    assert set(cold) == {"import", "load", "first"}
    assert all(seconds > 0 for seconds in cold.values())
    found = run_worker("memory", config, texts=["some words"] * 20, minutes=0.005)
    assert {line["phase"] for line in found} == {"idle", "loaded", "corpus", "soak"}
    assert all(line["bytes"] > 1e6 for line in found)
    assert [line["seconds"] for line in found] == sorted(line["seconds"] for line in found)
    steps = [(100, 2), (10**12, 1)]
    *measured, last = run_worker("growth", config, texts=["a", "b c"], steps=steps, budget=60)
    assert [line["count"] for line in measured] == [100, 100]
    assert all(line["peak"] - line["net"] == 100 * 32 * 4 for line in measured)
    assert last["count"] == 10**12
    assert last["expected"] > 60


def test_queries_are_asked_in_turns_beside_busy_programs() -> None:
    config = service(model_name=TINY).config
    with ExitStack() as stack:
        askers = {
            name: stack.enter_context(Asker(config, ["one", "two"], environment))
            for name, environment in settings(2).items()
        }
        with busy_programs(1):
            found = take_turns(askers, 2, 3)
    for turns in found.values():
        assert [len(turn.milliseconds) for turn in turns] == [3, 3]
        assert all(value > 0 for turn in turns for value in turn.milliseconds)
    assert {turns[0].threads for name, turns in found.items() if name == "1 BLAS thread"} == {1}
    with (
        Asker(config.with_values(model_name="./nowhere"), [], {}) as asker,
        pytest.raises(RuntimeError, match="code 1"),
    ):
        asker.ask(1)


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"measures cold failed: (?s:.*)No model folder"):
        run_worker("cold", service(model_name=TINY).config.with_values(model_name="./nowhere"), text="a")


def test_padding_is_counted_where_it_is_computed() -> None:
    with service(model_name=TINY) as tiny, padding.observed() as found:
        tiny.embed(["one", "two"])
    assert 0 < found.real <= found.computed
    assert found.waste == 100 * (1 - found.real / found.computed)
    before = found.computed
    with service(model_name=TINY) as tiny:
        tiny.embed(["three"])
    assert found.computed == before


def test_the_sampler_sees_what_is_held_meanwhile() -> None:
    with Sampler(interval=0.01) as sampler:
        # Pages of its own: malloc may have kept as many from earlier tests.
        held = mmap.mmap(-1, 50_000_000)
        held.write(b"x" * len(held))
        time.sleep(0.1)
    assert sampler.peak >= footprint() - 1_000_000
    assert sampler.peak - sampler.samples[0][1] > 0.8 * len(held)
    assert [moment for moment, _ in sampler.samples] == sorted(moment for moment, _ in sampler.samples)


def test_what_other_programs_take_is_not_what_we_take() -> None:
    others = OtherPrograms()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert 0 <= others.share <= 100
    with mock.patch("bench.machine._busy_seconds", return_value=others._busy + 1e9):
        assert others.share > 100
