"""The page of models is what the registry says."""

import re
import subprocess
import sys
from pathlib import Path

from akidb_embeddings.checkpoint.static import read_config
from akidb_embeddings.registry import MODELS, REFUSED, RERANKERS, SPECS
from akidb_embeddings.registry.architectures import ARCHITECTURES
from akidb_embeddings.registry.twins import architecture_name
from scripts import models_page
from tests.conftest import REPOSITORY
from tests.fixtures import DATA, STATIC, TINY, golden


def test_the_page_is_what_the_script_makes() -> None:
    assert models_page.FILE.read_text(encoding="utf-8") == models_page.page(), "run: python scripts/models_page.py"


def test_every_model_has_a_line() -> None:
    page = models_page.page()
    assert all(f"\n| `{name}` |" in page for name in SPECS)
    assert all(f"\n- [{repo}](https://huggingface.co/{repo}): {reason}\n" in page for repo, reason in REFUSED.items())


def test_rerankers_have_a_table_of_their_own() -> None:
    [table] = re.findall(r"(?<=\n## Rerankers\n).*?(?=\n## )", models_page.page(), re.DOTALL)
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + len(RERANKERS)
    names, row = lines[0], next(line for line in lines if line.startswith("| `bge-reranker-v2-m3` "))
    cells = dict(zip(names.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert cells["architecture"] == "xlm-roberta"
    assert (cells["size"], cells["tokens"], cells["languages"]) == ("2.29 GB", "8192", "multilingual")
    assert (cells["licence"], cells["weights"], cells["scores"]) == ("Apache-2.0", "float32", "0 to 1")
    assert (cells["instruction"], cells["published"]) == ("", "yes")
    assert "BAAI/bge-reranker-v2-m3" in cells["repository"]


def test_the_columns_are_named() -> None:
    lines = models_page.page().splitlines()
    [row] = [line for line in lines if line.startswith("| `nomic-embed-text-v1.5` | 5")]
    names = next(line for line in lines if line.startswith("| name |"))
    cells = dict(zip(names.split(" | "), row.split(" | "), strict=True))
    assert cells["tokens"] == "8192"
    assert cells["dimensions"] == "768"
    assert cells["licence"] == "Apache-2.0"
    assert cells["pooling"] == "mean"
    assert cells["prompts"].startswith("query, document")
    assert "nomic-ai/nomic-embed-text-v1.5" in cells["repository |"]


def test_what_the_page_says_is_proven_is_tested() -> None:
    """By test_static.py and test_parity.py of tests/architectures; tiny-pplx and tiny-stella by tests of their own."""
    assert models_page.RANDOM.keys() == ARCHITECTURES.keys()
    for architecture, names in models_page.RANDOM.items():
        for name in names:
            assert architecture_name(read_config(DATA / "models" / name)) == architecture
            assert name in (*TINY, "tiny-pplx", "tiny-stella", *STATIC)
            assert golden(name)["texts"].size
    parity = (REPOSITORY / "tests/architectures/test_parity.py").read_text(encoding="utf-8")
    for name in models_page.REAL:
        assert f'[*TINY, "{name}"]' in parity
        assert golden(name)["texts"].size


def test_every_model_is_in_the_table_of_what_is_proven_and_the_default_is_marked() -> None:
    [table] = re.findall(r"\| architecture \| models \| .*?\n\n", models_page.page(), re.DOTALL)
    assert all(table.count(f"`{name}`") == 1 for name in MODELS)
    assert "`qwen3-0.6b-4bit` (**default**)" in table
    for row in table.splitlines()[2:-1]:
        architecture, names, *_, compared = (cell.strip() for cell in row.strip("|").split("|"))
        for spec in (MODELS[name] for name in re.findall(r"`(.*?)`", names)):
            assert architecture == f"`{spec.architecture}`"
            assert (compared == "published similarities") is (spec.card is not None)
    assert models_page.page().replace(table, "").count("✓") == 2  # where it is explained


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
