"""The report of one run: as JSON, which has everything, and as Markdown and one HTML page made of the same."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from bench.columns import table, wrapped
from bench.figures import Curve, Figure
from bench.plots import draw_plots
from bench.summary import Summary
from bench.targets import Judgement

_COLUMNS = ("WHAT", "UNIT", "P50", "P95", "P99", "P99.9", "MIN", "MAX", "± SD", "N", "REMARK")
_TARGET_COLUMNS = ("TARGET", "WANTED", "MEASURED", "VERDICT", "REMARK")
# Percent of all cores that others may use before the report is doubted.
_DISTURBING = 10
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; margin: 0 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e4e4e4; }
th { font-size: .75rem; color: #666; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } .plots svg { max-width: 100%; height: auto; }
.warning { background: #b3261e; color: #fff; font-weight: 600; padding: .6rem 1rem; }
.PASS { color: #0a7a35; font-weight: 600; } .MISS { color: #b3261e; font-weight: 600; }
"""


@dataclass(frozen=True)
class Report:
    """One run.

    ``begun``: when, ISO 8601; ``machine`` and ``run``: what was measured, on what and how, as name and value;
    ``others``: what other programs used of all cores meanwhile, in percent.
    """

    begun: str
    machine: Mapping[str, str]
    run: Mapping[str, str]
    figures: list[Figure]
    curves: list[Curve]
    targets: list[Judgement]
    others: float | None = None

    @property
    def disturbance(self) -> str:
        """What other programs used of the machine meanwhile, in words; "" if that is not known."""
        return "" if self.others is None else f"Other programs used {self.others:.0f} % of this machine meanwhile."

    @property
    def warning(self) -> str:
        """That the figures are not this machine's, where others used more than a tenth of it; else ""."""
        if self.others is None or self.others <= _DISTURBING:
            return ""
        return f"WARNING: others used {self.others:.0f} % of this machine, latencies suffer most; measure again."

    def to_json(self) -> str:
        """Everything, for programs; ``from_json`` reads it."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report that ``to_json`` wrote."""
        content = json.loads(text)
        figures = [
            Figure(**{**figure, "summary": figure["summary"] and Summary(**figure["summary"])})
            for figure in content.pop("figures")
        ]
        curves = [Curve(**curve) for curve in content.pop("curves")]
        targets = [Judgement(**target) for target in content.pop("targets")]
        return cls(**content, figures=figures, curves=curves, targets=targets)

    def to_markdown(self) -> str:
        """Tables without plots, for issues and notes."""
        parts = [f"> **{self.warning}**"] if self.warning else []
        parts += [f"# akidb-embeddings: {self.run['model']}, {self.machine['chip']}", self._begun_and_others()]
        parts += ["## Targets", _markdown(_TARGET_COLUMNS, self._target_rows())]
        for group, rows in self._groups():
            parts += [f"## {group.capitalize()}", _markdown(_COLUMNS, rows)]
        parts += ["## Machine and run", _markdown(("", ""), [*self.machine.items(), *self.run.items()])]
        return "\n\n".join(parts) + "\n"

    def to_html(self) -> str:
        """One page with tables and plots that needs nothing else."""
        title = html.escape(f"akidb-embeddings: {self.run['model']}, {self.machine['chip']}")
        parts = [f'<p class="warning">{html.escape(self.warning)}</p>'] if self.warning else []
        parts += [f"<h1>{title}</h1><p>{html.escape(self._begun_and_others())}</p>", "<h2>Targets</h2>"]
        parts += [
            _html(_TARGET_COLUMNS, self._target_rows()),
            '<div class="plots">',
            *draw_plots(self.curves),
            "</div>",
        ]
        for group, rows in self._groups():
            parts += [f"<h2>{html.escape(group.capitalize())}</h2>", _html(_COLUMNS, rows)]
        parts += ["<h2>Machine and run</h2>", _html(("", ""), [*self.machine.items(), *self.run.items()])]
        head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"

    def to_terminal(self) -> str:
        """The tables, 100 columns wide."""
        facts = {**self.run, **self.machine}
        machine = [line for name, value in facts.items() for line in wrapped(f"{name}: {value}", hanging="  ")]
        parts = ["\n".join(wrapped(self.warning or self.disturbance)), "\n".join(machine)]
        parts += [f"{group.upper()}\n{table(_COLUMNS, rows)}" for group, rows in self._groups()]
        parts += [f"TARGETS\n{table(_TARGET_COLUMNS, self._target_rows())}"]
        return "\n\n".join(part for part in parts if part)

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write the three files; where they are."""
        folder.mkdir(parents=True, exist_ok=True)
        contents = {"json": self.to_json(), "md": self.to_markdown(), "html": self.to_html()}
        files = [folder / f"{name}.{suffix}" for suffix in contents]
        for file, content in zip(files, contents.values(), strict=True):
            file.write_text(content, encoding="utf-8")
        return files

    def _begun_and_others(self) -> str:
        return f"{self.begun}. {self.disturbance}".rstrip()

    def _groups(self) -> list[tuple[str, list[tuple[str, ...]]]]:
        groups = dict.fromkeys(figure.group for figure in self.figures)
        return [(group, [_row(figure) for figure in self.figures if figure.group == group]) for group in groups]

    def _target_rows(self) -> list[tuple[str, ...]]:
        return [tuple(getattr(target, field.name) for field in fields(Judgement)) for target in self.targets]


def number(value: float) -> str:
    """A number for people: four digits, and never an exponent."""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return f"{value:.{digits}f}" if value else "0"


def _row(figure: Figure) -> tuple[str, ...]:
    found = figure.summary
    if found is None:
        return (figure.name, *[""] * 9, figure.note)
    values = (found.p50, found.p95, found.p99, found.p999, found.low, found.high, found.deviation)
    return (figure.name, figure.unit, *map(number, values), str(found.count), figure.note)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(row: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(_cell(cell, tag) for cell in row)}</tr>"

    return "\n".join(["<table>", line(head, "th"), *(line(row, "td") for row in rows), "</table>"])


def _cell(text: str, tag: str) -> str:
    shade = f' class="{text}"' if text in ("PASS", "MISS") else ""
    return f"<{tag}{shade}>{html.escape(text)}</{tag}>"
