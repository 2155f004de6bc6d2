"""The page of models is what the registry says."""

import subprocess
import sys
from pathlib import Path

from akidb_embeddings.registry import MODELS
from scripts import models_page
from tests.conftest import REPOSITORY


def test_the_page_is_what_the_script_makes() -> None:
    assert models_page.FILE.read_text(encoding="utf-8") == models_page.page(), "run: python scripts/models_page.py"


def test_every_model_has_a_line() -> None:
    page = models_page.page()
    assert all(f"| `{name}` |" in page for name in MODELS)


def test_check_tells_a_page_that_is_old(tmp_path: Path) -> None:
    file = tmp_path / "models.md"
    command = [sys.executable, "-m", "scripts.models_page", str(file)]
    missing = subprocess.run([*command, "--check"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "run `python scripts/models_page.py`" in missing.stderr
    subprocess.run(command, cwd=REPOSITORY, check=True)
    subprocess.run([*command, "--check"], cwd=REPOSITORY, check=True)
    file.write_text(file.read_text(encoding="utf-8").replace("8192", "8193"), encoding="utf-8")
    assert subprocess.run([*command, "--check"], cwd=REPOSITORY, capture_output=True, check=False).returncode == 1
