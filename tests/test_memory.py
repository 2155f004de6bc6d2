"""The process footprint does not grow with the number of texts, nor with the shapes they come in."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long


def test_twenty_thousand_texts_of_random_lengths() -> None:
    command = [sys.executable, "-m", "tests.soak"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=110, check=True, cwd=Path(__file__).parent.parent
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["growth"] < 0.05, done.stdout
