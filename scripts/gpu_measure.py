"""Everything that is to be known of the library on a GPU, in one go: figures as JSON lines, each written at once.

Run from the repository's root, where MLX with CUDA is installed (and PyTorch with sentence-transformers, to compare)::

    PYTHONPATH=. python3 scripts/gpu_measure.py --out "$OUT/gpu.jsonl" --corpus corpus.jsonl

Each step is a process of its own with a limit in seconds, so that one that hangs costs little; ``bench.gpu_plan`` has
them in the order of their importance. What no longer fits into ``--budget`` is named and left out; for a second call,
with words of these names::

    … --only new,few,compiled,float,micro-batch,ahead,packed

To try the script without a GPU: ``--device cpu --quick``.
"""

import argparse
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from bench.gpu_plan import Plan, Step, choose, make_steps, sum_of_limits

ROOT = Path(__file__).resolve().parent.parent
# A step that would have less than this is not begun.
_LEAST_SECONDS = 8.0
_LAST_WORDS = 600


class Output:
    """The file of figures, and a short line of each on the terminal."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._stream, self._begun = file.open("a", encoding="utf-8"), time.monotonic()
        self.card = "unknown"

    @property
    def seconds(self) -> float:
        """Since the script began."""
        return time.monotonic() - self._begun

    def write(self, step: str, **values: Any) -> None:
        """One figure, on the disk when this returns."""
        line = json.dumps({"at": round(self.seconds, 1), "card": self.card, "step": step, **values}, ensure_ascii=False)
        self._stream.write(line + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        shown = " ".join(f"{name}={value}" for name, value in values.items())
        print(f"{self.seconds:6.1f} {step}: {shown}"[:400], flush=True)


def run_step(step: Step, output: Output, limit: float) -> None:
    """Run a step and write what it says, line by line; end it at its limit."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            step.command,
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1", **step.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(step.task))
        process.stdin.close()
        is_late = not _read(process.stdout, output, step, limit)
        if is_late:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        errors.seek(0)
        words = " ".join(errors.read().split())[-_LAST_WORDS:]
    if is_late:
        output.write(step.name, failed=f"not done in {limit:.0f} s", last_words=words)
    elif code:
        output.write(step.name, failed=f"exit code {code}", last_words=words)


def _read(stream: IO[str], output: Output, step: Step, limit: float) -> bool:
    """Write the lines of a stream as they come. Whether it ended before the limit."""
    lines: queue.Queue[str | None] = queue.Queue()

    def pump() -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=pump, daemon=True).start()
    end = time.monotonic() + limit
    while True:
        try:
            line = lines.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            return False
        if line is None:
            return True
        for values in _figures(line, step):
            output.write(step.name, **values)


def _figures(line: str, step: Step) -> Iterator[dict[str, Any]]:
    """What a line says: JSON, or a line of pytest about one test."""
    if step.is_pytest:
        name, found, rest = line.rstrip().partition("::")
        if found or line.startswith(("=", "E  ")):
            yield {"test": f"{Path(name).name}{found}{rest}".strip("= ")[:300]}
        return
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if isinstance(values, dict):
        yield values
    elif line.strip():
        yield {"said": line.strip()[:300]}


def run_together(steps: list[Step], output: Output) -> None:
    """Steps that need no GPU, at the same time."""
    threads = [threading.Thread(target=run_step, args=(step, output, step.limit)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def read_card(output: Output, file: Path) -> None:
    """Take the card's name from what the first step wrote, so that every later line has it."""
    for line in file.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if found["step"] == "about" and "machine" in found:
            gpu = found["gpu"] or {}
            output.card = gpu.get("GPU") or f"no GPU: {found['machine']['chip']}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("OUT", ".")) / "gpu-measure.jsonl"
    parser.add_argument("--out", type=Path, default=default, help="the file of figures, which is added to")
    parser.add_argument("--corpus", type=Path, help='JSON lines with "text"; without it, texts that come with Python')
    parser.add_argument("--budget", type=float, default=480, help="seconds in all (default: 480)")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--quick", action="store_true", help="tiny models and few texts, to try the script")
    parser.add_argument("--only", default="", metavar="WORDS", help="steps whose names have one of these, with commas")
    parser.add_argument("--skip", default="", metavar="WORDS", help="leave these out")
    parser.add_argument("--list", action="store_true", help="name the steps, their limits and the sum")
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "gpu-measure-models")
    parser.add_argument("--peers-python", default=sys.executable, help="the interpreter of sentence-transformers")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    has_peer = options.peers_python != sys.executable or importlib.util.find_spec("sentence_transformers") is not None
    corpus = str(options.corpus.resolve()) if options.corpus else None
    python = options.peers_python if has_peer else ""
    plan = Plan(options.models.resolve(), corpus, options.device, options.quick, python)
    only, skip = ([word for word in words.split(",") if word] for words in (options.only, options.skip))
    steps = choose(make_steps(plan), only, skip)
    if options.list:
        for step in steps:
            print(f"{step.limit:5.0f} s  {step.name}")
        print(f"{sum_of_limits(steps):5.0f} s  in all; models are made at the same time")
        return
    output = Output(options.out)
    for step in [step for step in steps if step.is_first]:
        run_step(step, output, step.limit)
        read_card(output, options.out)
    run_together([step for step in steps if step.makes], output)
    for step in [step for step in steps if not step.is_first and not step.makes]:
        left = options.budget - output.seconds
        if left < _LEAST_SECONDS:
            output.write(step.name, skipped="no time left")
        else:
            begun = output.seconds
            run_step(step, output, min(step.limit, left))
            output.write(step.name, step_s=round(output.seconds - begun, 1))
    output.write("end", total_s=round(output.seconds, 1))


if __name__ == "__main__":
    main()
