import dataclasses
import html
import json
import re
from pathlib import Path

import pytest

from bench.figures import Recorder, find
from bench.machine import describe_machine, slug
from bench.plots import AGAINST_RATE, LATENCIES
from bench.report import Report, number
from bench.summary import Summary
from bench.targets import Judgement


@pytest.fixture
def report() -> Report:
    record = Recorder()
    record.figure("latency", "hot, 16 tokens", "ms", [5.125, 6.25, 7.5, 61.5], "a | remark with <marks> & more")
    record.figure("open loop", "errors", "errors", [0])
    record.absent("peers", "fastembed", "absent; to compare: pip install fastembed")
    record.distribution(LATENCIES, "16 tokens", [5.125, 6.25, 7.5, 61.5])
    record.point(AGAINST_RATE, "P50", 25, 5.5)
    record.point(AGAINST_RATE, "P50", 50, 7.5)
    return Report(
        begun="2026-01-02T03:04:05+00:00",
        machine={"chip": "Apple M2 <Pro>", "memory": "16.0 GB"},
        run={"model": "minilm-l6-v2", "form": "quick"},
        figures=record.figures,
        curves=record.curves,
        targets=[
            Judgement("P50", "< 10 ms", "6.875 ms", "PASS"),
            Judgement("P95", "< 25 ms", "53.4 ms", "MISS"),
            Judgement("footprint", "< 1000 MB", "", "NOT APPLICABLE", "not measured in this run"),
        ],
    )


def test_json_has_every_figure_with_its_spread(report: Report) -> None:
    again = Report.from_json(report.to_json())
    assert again == report
    found = find(again.figures, "latency", "hot, 16 tokens")
    assert found is not None
    assert (found.count, found.low, found.p50, found.high) == (4, 5.125, 6.875, 61.5)
    assert all(f'"{field.name}"' in report.to_json() for field in dataclasses.fields(Summary))
    assert [curve.x for curve in again.curves if curve.plot == AGAINST_RATE] == [[25, 50]]


WORDS = (
    "hot, 16 tokens", "6.875", "5.125", "61.50", "errors", "fastembed", "pip install fastembed", "minilm-l6-v2",
    "quick", "16.0 GB", "PASS", "MISS", "NOT APPLICABLE", "< 10 ms", "53.4 ms", "not measured in this run",
)  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_every_form_tells_everything(report: Report, word: str) -> None:
    assert word in report.to_markdown()
    assert html.escape(word) in report.to_html()
    assert word in report.to_terminal()


@pytest.mark.parametrize(("share", "warned"), [(0.0, False), (9.9, False), (10.4, True), (48.2, True), (None, False)])
def test_what_others_used_of_the_machine_is_at_the_top(report: Report, share: float | None, warned: bool) -> None:
    report = dataclasses.replace(report, others=share)
    page, notes, terminal = report.to_html().partition("<body>")[2], report.to_markdown(), report.to_terminal()
    if warned:
        warning = f"WARNING: others used {share:.0f} % of this machine, latencies suffer most; measure again."
        assert page.startswith(f'\n<p class="warning">{warning}</p>\n<h1>')
        assert notes.startswith(f"> **{warning}**\n\n# ")
        assert terminal.startswith(f"{warning}\n\n")
        return
    for text in (page, notes, terminal):
        assert "warning" not in text.lower()
        assert (f"Other programs used {share or 0:.0f} % of this machine meanwhile." in text) == (share is not None)
    assert page.startswith("\n<h1>")
    assert share is None or terminal.startswith("Other programs used")


def test_a_report_from_before_that_was_measured_is_read(report: Report) -> None:
    content = json.loads(report.to_json())
    del content["others"]
    assert Report.from_json(json.dumps(content)) == report


def test_a_terminal_of_100_columns_shows_everything(report: Report) -> None:
    record = Recorder()
    remark = " ".join(f"word{number}" for number in range(40))
    name = "hot, 256 tokens (the limit of this model, which is lower than the 512 that were wanted)"
    record.figure("latency", name, "queries/s", [1234567.0, 2345678.0] * 99, remark)
    record.figure("a long group, for which there is a line of its own", "short", "ms", [1.0], "")
    wide = dataclasses.replace(
        report,
        figures=record.figures,
        machine={**report.machine, "versions": ", ".join(f"distribution-{n} {n}.0" for n in range(20))},
        targets=[Judgement(name, "< 10 queries/s", "123456.7 queries/s", "NOT APPLICABLE", remark)],
    )
    shown = wide.to_terminal()
    assert max(map(len, shown.splitlines())) <= 100
    for word in [*name.split(), *remark.split(), "distribution-19", "123456.7 queries/s", "1234567", "± SD", "P99.9"]:
        assert word in shown, word


@pytest.mark.long
def test_cells_cannot_break_the_tables(report: Report) -> None:
    assert "a \\| remark with <marks>" in report.to_markdown()
    assert "remark with &lt;marks&gt; &amp; more" in report.to_html()
    assert "Apple M2 &lt;Pro&gt;" in report.to_html()


def test_the_page_has_its_plots_and_needs_nothing_else(report: Report) -> None:
    page = report.to_html()
    assert page.count("<svg") == 2
    assert "16 tokens" in page
    for pattern in (r"\bsrc\s*=", r"<link", r"<script", r"@import", r"<!DOCTYPE svg", r"<\?xml", r"url\((?!#)"):
        assert not re.search(pattern, page, re.IGNORECASE), pattern
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', page))


def test_three_files_are_written(report: Report, tmp_path: Path) -> None:
    files = report.write(tmp_path / "reports", "now-here")
    assert [file.name for file in files] == ["now-here.json", "now-here.md", "now-here.html"]
    assert Report.from_json(files[0].read_text(encoding="utf-8")) == report


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.012"), (8.5, "8.500"), (61.5, "61.50"), (123.44, "123.4"), (1e6, "1000000")],
)
def test_numbers_are_for_people(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("chip", "text"),
    [
        ("Apple M2 Pro", "apple-m2-pro"),
        ("Intel(R) Xeon(R) CPU @ 2.80GHz", "intel-xeon-2.80ghz"),
        ("", "machine"),
    ],
)
def test_the_chip_is_part_of_the_file_name(chip: str, text: str) -> None:
    assert slug(chip) == text


def test_the_machine_is_described_without_paths() -> None:
    found = describe_machine()
    assert all(found[name] for name in ("chip", "cores", "memory", "system", "versions", "BLAS", "backend"))
    assert str(Path.home()) not in str(found)
    assert "site-packages" not in str(found)
