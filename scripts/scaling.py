"""Write ``docs/scaling.md``: what a corpus takes in time, on disk and in money, by the roofline and by measurements.

The prose is in ``scaling.md.in`` beside this file; measured figures stand below, with how to measure them again.

Run: ``python -m scripts.scaling``.
"""

from dataclasses import dataclass
from pathlib import Path
from string import Template

from akidb_embeddings.registry import MODELS
from scripts.roofline import CHIPS, DIMENSIONS, Machine, micro_batch, pairs, predicted, table

TEMPLATE = Path(__file__).with_suffix(".md.in")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"

TOKENS = 256  # of a text, in the predictions
SHARE = 0.9  # of a machine's throughput that is left beside Ray, in plans
MILLION, BILLION = 10**6, 10**9
BYTES = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "binary": 1 / 8}


@dataclass(frozen=True)
class Measured:
    """A corpus on a machine of ours: ``rate`` in texts a second, ``tokens`` of a text on average."""

    model: str
    texts: str
    tokens: float
    rate: float
    how: str


# Two cores of an AMD EPYC (x86-64 with AVX2, shared with other programs), Linux, float32.
MEASURED = (
    Measured("minilm-l6-v2", "titles, a million", 12.2, 326, "`akidb-embed file` to Parquet"),
    Measured("minilm-l6-v2", "passages", 180, 25.2, "`make bench`"),
)


def rate(model: str, chip: Machine) -> float:
    """Texts of ``TOKENS`` tokens a second, as the roofline predicts."""
    texts = micro_batch(chip, TOKENS)
    return texts / predicted(DIMENSIONS[model], chip, texts, TOKENS)


def hours(texts: int, texts_a_second: float) -> float:
    """Machine hours."""
    return texts / texts_a_second / 3600


def size(count: float) -> str:
    """Bytes as people write them."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:,.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"


def time_table() -> str:
    def row(model: str, chip: Machine) -> list[str]:
        speed = rate(model, chip)
        times = [f"{hours(MILLION, speed):,.2f}", f"{hours(BILLION, speed) / 24:,.1f}"]
        return [f"`{model}`", chip.name, f"{speed * TOKENS:,.0f}", f"{speed:,.1f}", *times]

    head = ["model", "chip", "tokens/s", "texts/s", "hours for a million", "days for a billion"]
    return table(head, [row(name, chip) for name, _, chip in pairs()], 2)


def measured_table() -> str:
    def row(one: Measured) -> list[str]:
        rates = [f"{one.tokens:g}", f"{one.tokens * one.rate:,.0f}", f"{one.rate:g}"]
        return [f"`{one.model}`", one.texts, one.how, *rates, f"{hours(MILLION, one.rate):,.2f}"]

    head = ["model", "texts", "how", "tokens per text", "tokens/s", "texts/s", "hours for a million"]
    return table(head, [row(one) for one in MEASURED], 3)


def storage_table() -> str:
    def row(model: str, precision: str) -> list[str]:
        each = MODELS[model].dimension * BYTES[precision]
        sizes = [f"{each:,.0f} B", *(size(each * count) for count in (MILLION, BILLION))]
        return [f"`{model}`", str(MODELS[model].dimension), f"`{precision}`", *sizes]

    head = ["model", "dimensions", "precision", "one vector", "a million", "a billion"]
    return table(head, [row(model, precision) for model in DIMENSIONS for precision in BYTES], 3)


def page() -> str:
    """The whole of ``docs/scaling.md``."""
    model, chip = "qwen3-0.6b-4bit", CHIPS[-1]
    speed = rate(model, chip)
    machine_hours = hours(BILLION, speed) / SHARE
    vectors = MODELS[model].dimension * BYTES["int8"] * BILLION
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        share=f"{SHARE:g}",
        tokens=TOKENS,
        times=time_table(),
        measured=measured_table(),
        storage=storage_table(),
        model=model,
        chip=chip.name,
        token_rate=f"{speed * TOKENS:,.0f}",
        rate=f"{speed:.1f}",
        million=f"{hours(MILLION, speed):.2f}",
        days=f"{hours(BILLION, speed) / 24:.0f}",
        ten=f"{hours(BILLION, speed) / 24 / 10 / SHARE:.0f}",
        machine_days=f"{hours(BILLION, speed) / 24:.1f}",
        machine_hours=f"{machine_hours:,.0f}",
        vectors=f"{vectors / 1e9:,.0f}",
        month=f"{vectors / 1e9 * 0.02:.0f}",
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(PAGE.parent.parent))
