"""The table of the README beside other libraries: from measured rows to Markdown between two comments."""

from pathlib import Path

import numpy as np
import pytest

from scripts import compare
from scripts.compare import AUTHORS, BEGIN, BUNDLED_ROW, END, OURS, Row, description, table, write
from tests.conftest import REPOSITORY

VECTORS = np.array([[0.6, 0.8], [1, 0]], dtype=np.float32)
OTHERS = np.array([[0.6, 0.8], [0.8, 0.6]], dtype=np.float32)
ROWS = [
    Row(OURS, "0.5.0", 214.4, [0.008, 0.009, 0.1], [2.0, 4.0, 3.0], VECTORS),
    Row(BUNDLED_ROW, "0.5.0", 214.4, [0.007], [2.0], VECTORS),
    Row(AUTHORS, "6.2.0", 5369.1, [0.01], [4.0], VECTORS),
    Row("fastembed", "0.9.1", 228, [0.004], [3.5], OTHERS),
]


def test_rows_are_medians_with_the_worst_cosine() -> None:
    lines = table(ROWS, 60).splitlines()
    assert lines[2] == "| **akidb-embeddings** 0.5.0 | 20 | 9.0 ms | 214 MB | 1.000000 |"
    assert lines[3] == "| **akidb-embeddings** 0.5.0, bundled 8 bits | 30 | 7.0 ms | 214 MB | 1.000000 |"
    assert lines[4] == "| sentence-transformers 6.2.0 | 15 | 10.0 ms | 5,369 MB | the reference |"
    assert lines[5] == "| fastembed 0.9.1 | 17 | 4.0 ms | 228 MB | 0.800000 |"


def test_the_load_of_the_machine_is_told() -> None:
    told = description(60, 104.2, 12, 35.2, "0.1 0.2 0.3 before, 2.0 0.5 0.4 after")
    assert "other programs used 35 % of the machine" in told
    assert "Load 0.1 0.2 0.3 before, 2.0 0.5 0.4 after" in told
    assert "60 texts of 104 tokens" in told


def test_the_table_replaces_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for text in ("new", "newer"):
        write(text, page)
    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\nnewer\n{END}\nafter\n"


def test_every_library_has_an_environment_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[str, ...]] = []

    def uv(*arguments: str) -> None:
        calls.append(arguments)
        if arguments[0] == "venv":
            packages = Path(arguments[-1]) / "lib" / "python3.11" / "site-packages"
            packages.mkdir(parents=True)
            (packages / "module.py").write_bytes(b"x" * 2_000_000)

    monkeypatch.setattr(compare, "uv", uv)
    monkeypatch.setattr(compare, "ENVIRONMENTS", tmp_path)
    sizes = compare.install()
    assert set(sizes) == {OURS, AUTHORS, "fastembed"}
    assert all(2.0 <= megabytes < 2.1 for megabytes in sizes.values())
    assert (*calls[1][:3], calls[1][-1]) == ("pip", "install", "--compile-bytecode", f"{REPOSITORY}[cpu]")
