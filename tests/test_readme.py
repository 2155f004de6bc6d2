"""The READMEs' Python examples run as they stand, in an empty folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

READMES = ["README.md", "integrations/langchain/README.md", "integrations/llama-index/README.md"]


@pytest.mark.long
@pytest.mark.parametrize("readme", READMES)
def test_every_python_example_runs(readme: str, tmp_path: Path) -> None:
    examples = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / readme).read_text(), re.DOTALL | re.MULTILINE)
    assert len(examples) >= 3
    for number, example in enumerate(examples):
        script = tmp_path / f"example{number}.py"
        script.write_text(example)
        done = subprocess.run(
            [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
        )
        assert not done.returncode, f"{example}\n{done.stderr}"
