"""The page on scaling: as committed it is what the script makes, and its arithmetic is right on cases done by hand."""

import pytest

from scripts import scaling
from scripts.roofline import CHIPS


def test_the_page_is_what_the_script_makes() -> None:
    assert scaling.PAGE.read_text(encoding="utf-8") == scaling.page(), "run: python -m scripts.scaling"


def test_hours() -> None:
    assert scaling.hours(3600, 1.0) == 1
    assert scaling.hours(scaling.BILLION, 100.0) / 24 == pytest.approx(115.74, abs=0.01)


def test_rates_are_the_roofline_s() -> None:
    """docs/roofline.md has 1,936 tokens a second for Qwen3 on M1: 7.56 texts of 256 tokens."""
    assert scaling.rate("qwen3-0.6b-4bit", CHIPS[0]) == pytest.approx(7.56, abs=0.01)


@pytest.mark.parametrize(
    ("count", "written"),
    [(48, "48 B"), (1536e6, "1.5 GB"), (384e6, "384 MB"), (1.024e12, "1.0 TB"), (4.1e15, "4,100 TB")],
)
def test_sizes(count: float, written: str) -> None:
    assert scaling.size(count) == written
