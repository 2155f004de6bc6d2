"""``akidb-embed bench``: what it runs, and what it says where there is nothing to run."""

import subprocess
import sys
from pathlib import Path

import pytest

from akidb_embeddings.cli import bench, main

SUITE = str(Path(bench.__file__).parent.parent.parent / "bench")


class Runs:
    """Stands in for what starts pytest."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str]) -> int:
        self.commands.append(command)
        return self.code


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ([], ["--quick"]),
        (["--model", "random:gemma-300m-4bit"], ["--quick", "--model=random:gemma-300m-4bit"]),
        (
            ["--peers", "--peers-python", "python", "--corpus", "c.jsonl", "--enforce-targets", "--soak", "5"],
            ["--quick", "--peers", "--enforce-targets", "--corpus=c.jsonl", "--peers-python=python", "--soak=5.0"],
        ),
        (["--full", "--", "-k", "latency"], ["-k", "latency"]),
    ],
)
def test_arguments_are_passed_on(given: list[str], passed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs()
    monkeypatch.setattr(bench, "_execute", runs)
    assert main(["bench", *given]) == 0
    assert runs.commands == [[sys.executable, "-m", "pytest", SUITE, *passed]]


@pytest.mark.parametrize(("pytests", "ours"), [(0, 0), (1, 1), (2, 130), (3, 1), (4, 2), (5, 1), (-9, 1)])
def test_exit_codes(pytests: int, ours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_execute", Runs(pytests))
    assert main(["bench"]) == ours


def test_an_installed_package_says_how_to_get_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "site-packages" / "akidb_embeddings" / "cli" / "bench.py"))
    assert main(["bench"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("akidb-embed: error: the benchmark suite is not part of the installed package. Get it")
    assert "git clone https://" in shown.err
    assert shown.err.count("\n") == 1


def test_what_the_suite_needs_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "pytest_benchmark", None)
    assert main(["bench"]) == 2
    assert "The benchmark suite needs pytest-benchmark: " in capsys.readouterr().err


def test_the_process_is_waited_for_also_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    interruptions = iter([KeyboardInterrupt, KeyboardInterrupt])
    wait = subprocess.Popen.wait

    def interrupted(process: "subprocess.Popen[bytes]", timeout: float | None = None) -> int:
        for interruption in interruptions:
            raise interruption
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    assert bench._execute([sys.executable, "-c", "raise SystemExit(7)"]) == 7


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--soak", "long"]) == 2
    assert "invalid float value: 'long'" in capsys.readouterr().err
