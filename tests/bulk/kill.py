"""Kill ``akidb-embed file`` at random moments, let it go on, and compare what it writes with an undisturbed run's.

Run: ``python -m tests.bulk.kill [KILLS [ROWS [FORMAT [MODEL [OPTION …]]]]]``; 20 kills of a Parquet of 4,000 rows by
default, with parts of 50 rows unless AKIDB_BULK_PART_ROWS says otherwise.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bulk.jobs import every_file
from tests.cli.tools import PROCESS

PART_ROWS = int(os.environ.get("AKIDB_BULK_PART_ROWS", "50"))


def write_input(path: Path, rows: int) -> None:
    """JSON lines with texts of 1 to 30 words; every 41st is no JSON, every 97th has no text."""
    generator = random.Random(4)
    with open(path, "w", encoding="utf-8") as stream:
        for number in range(rows):
            text = " ".join(
                generator.choice(("time", "way", "water", "Straße", "number")) for _ in range(number % 30 + 1)
            )
            record = {"id": f"row {number}"} if number % 97 == 96 else {"id": f"row {number}", "text": text}
            stream.write("{oops\n" if number % 41 == 40 else json.dumps(record) + "\n")


def start(source: Path, out: Path, model: str, *options: str) -> "subprocess.Popen[bytes]":
    """The command in a process of its own, with small parts."""
    command = [*PROCESS, "file", str(source), "--id-field", "id", "--out", str(out), "--model", model, *options]
    environment = os.environ | {"AKIDB_BULK_PART_ROWS": str(PART_ROWS)}
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)


def kill_and_compare(
    folder: Path, kills: int, rows: int, form: str, model: str, seed: int = 0, options: Sequence[str] = ()
) -> list[int]:
    """How many parts were finished at each kill; AssertionError where the outputs differ.

    Moments go by what is finished, up to two parts more than before, so that a busy machine does not matter; some come
    before the model is loaded, and the last one while the parts are put together.
    """
    generator = random.Random(seed)
    source = folder / "in.jsonl"
    write_input(source, rows)
    outs = [folder / name / f"out.{form}" for name in ("whole", "killed")]
    for out in outs:
        out.parent.mkdir()
    with start(source, outs[0], model, *options) as process:
        _wait(process, outs[0], "job.json", 1)
        begin = time.monotonic()
        assert process.wait() == 3, process.communicate()[1].decode()
        seconds = time.monotonic() - begin
    finished: list[int] = []
    for kill in range(kills):
        with start(source, outs[1], model, *options) as process:
            if kill == kills - 1:
                _wait(process, outs[1], "final", 1)
            elif generator.random() < 0.85:
                _wait(process, outs[1], "part-*", (finished or [0])[-1] + generator.randint(0, 2))
                time.sleep(generator.uniform(0, seconds * PART_ROWS / rows))
            else:
                time.sleep(generator.uniform(0, 1))
            process.send_signal(signal.SIGKILL)
        parts = len(list(outs[1].parent.glob("*.parts/part-*")))
        finished.append(-(-rows // PART_ROWS) if outs[1].exists() else parts)
    with start(source, outs[1], model, *options) as process:
        told = process.communicate()[1].decode()
        assert process.returncode == 3, told
    whole, killed = every_file(outs[0].parent), every_file(outs[1].parent)
    assert whole.keys() == killed.keys()
    assert [name for name in whole if whole[name] != killed[name]] == []
    return finished


def _wait(process: "subprocess.Popen[bytes]", out: Path, name: str, count: int) -> None:
    """Wait until the job is begun and has so many files or folders of a name among its parts, or is over."""
    while process.poll() is None:
        if list(out.parent.glob("*.parts/lock")) and len(list(out.parent.glob(f"*.parts/{name}"))) >= count:
            return
        time.sleep(0.002)


def main(
    kills: str = "20", rows: str = "4000", form: str = "parquet", model: str = "minilm-l6-v2", *options: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        finished = kill_and_compare(Path(folder), int(kills), int(rows), form, model, time.time_ns(), options)
    print(f"{kills} kills, with {finished} of {-(-int(rows) // PART_ROWS)} parts finished: the same bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
