"""Options and fixtures of the suite, and the report at its end."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from bench.figures import Recorder
from bench.machine import OtherPrograms, describe_machine, device_name, is_apple_silicon, load, slug
from bench.models import Model, choose_model, wrong_usage
from bench.report import Report
from bench.scale import CORPUS_TOKENS, FULL, QUICK, Scale
from bench.targets import Judgement, judge
from bench.texts import BUILT_IN, Texts, exact_tokenizer, spread_evenly

_HERE = Path(__file__).parent
# The order of the report. Memory and cold start have processes of their own and disturb nobody.
_ORDER = (
    "latency", "open_loop", "throughput", "reranking", "concurrency", "server", "turns", "neighbours", "memory",
    "cold_start", "peers",
)  # fmt: skip
_LONGEST_TEST = 6 * 3600

_recorder = pytest.StashKey[Recorder]()
_model = pytest.StashKey[Model]()
_report = pytest.StashKey[tuple[Report, list[Path]]]()
_begun = pytest.StashKey[float]()
_load = pytest.StashKey[str]()
_threads = pytest.StashKey[str]()
_others = pytest.StashKey[OtherPrograms]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("akidb", "the benchmark suite of akidb-embeddings")
    group.addoption(
        "--model",
        metavar="NAME",
        help="a registry name, a repository, a folder, random:qwen3-0.6b-4bit or random:gemma-300m-4bit "
        "(default: the configured model if it is on this machine, else the bundled one)",
    )
    group.addoption(
        "--reranker",
        metavar="NAME",
        help="a registry name, a repository or a folder (default: random weights of ms-marco-MiniLM-L6's dimensions)",
    )
    group.addoption("--corpus", type=Path, metavar="FILE", help='texts: JSON lines with "text", or plain lines')
    group.addoption("--peers", action="store_true", help="compare with other libraries, side by side")
    group.addoption("--peers-python", metavar="PYTHON", help="the interpreter that has them (default: this one)")
    group.addoption("--enforce-targets", action="store_true", help="fail where a target is missed")
    group.addoption("--quick", action="store_true", help="two to four minutes with the bundled model on two cores")
    group.addoption("--soak", type=float, metavar="MINUTES", help="how long the memory test goes on")
    group.addoption("--reports", type=Path, metavar="FOLDER", default=_HERE / "reports", help="where reports go")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[_recorder] = Recorder()
    config.stash[_begun] = time.time()
    config.stash[_load] = load()
    config.stash[_others] = OtherPrograms()
    if not config.getoption("benchmark_columns", None):
        config.option.benchmark_quiet = True  # its table repeats the report, and needs 200 columns


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return _ORDER.index(name) if name in _ORDER else len(_ORDER)

    items.sort(key=place)
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.timeout(_LONGEST_TEST + 120 * (config.option.soak or 0)))


@pytest.fixture(scope="session")
def record(pytestconfig: pytest.Config) -> Recorder:
    return pytestconfig.stash[_recorder]


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> Scale:
    return QUICK if pytestconfig.option.quick else FULL


@pytest.fixture(scope="session")
def texts(pytestconfig: pytest.Config) -> Texts:
    with wrong_usage():
        return Texts(pytestconfig.option.corpus)


@pytest.fixture(scope="session")
def model(pytestconfig: pytest.Config) -> Model:
    with wrong_usage():
        chosen = choose_model(pytestconfig.option.model, with_peers=pytestconfig.option.peers)
    pytestconfig.stash[_model] = chosen
    return chosen


@pytest.fixture(scope="session")
def service(pytestconfig: pytest.Config, model: Model) -> Iterator[EmbeddingService]:
    """The measured model with its configured limit of tokens, warm."""
    with wrong_usage():
        service = EmbeddingService(config=model.config)
    with service:
        service.embed(["warm up"] * 8)
        yield service
        found = service.statistics
    pytestconfig.stash[_threads] = (
        f"{found.lone_threads} for a query in the end; set to one {found.thread_drops} times beside busy programs"
    )


@pytest.fixture(scope="session")
def corpus_service(model: Model, service: EmbeddingService) -> Iterator[EmbeddingService]:
    """The same weights with the limit for whole texts."""
    limit = min(CORPUS_TOKENS, service.checkpoint.max_tokens)
    with EmbeddingService(config=model.config.with_values(max_tokens=limit)) as limited:
        yield limited


@pytest.fixture(scope="session")
def pace(corpus_service: EmbeddingService, texts: Texts) -> float:
    """Seconds for one text of the corpus, roughly: how much a slow model can be asked to do."""
    sample = spread_evenly(texts.passages(64))[:8]
    corpus_service.encode(sample[:1])
    start = time.perf_counter()
    corpus_service.encode(sample)
    return (time.perf_counter() - start) / len(sample)


@pytest.fixture(scope="session")
def tokenizer(service: EmbeddingService) -> Tokenizer:
    return exact_tokenizer(service.checkpoint)


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    recorder = config.stash[_recorder]
    if not recorder.figures or _model not in config.stash:
        return
    report = _make_report(config, recorder, config.stash[_model])
    stamp = datetime.fromtimestamp(config.stash[_begun]).astimezone().strftime("%Y%m%d-%H%M%S")
    config.stash[_report] = report, report.write(config.option.reports, f"{stamp}-{slug(device_name())}")
    if config.option.enforce_targets and _missed(report.targets):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _report not in config.stash:
        return
    report, files = config.stash[_report]
    terminalreporter.section("akidb-embeddings")
    terminalreporter.write_line(report.to_terminal())
    terminalreporter.write_line("")
    if report.warning:  # again, since the first line may have left the screen
        terminalreporter.write_line(report.warning, yellow=True)
    for file in files:
        terminalreporter.write_line(f"report: {os.path.relpath(file)}")
    missed = _missed(report.targets)
    if missed and config.option.enforce_targets:
        terminalreporter.write_line(f"FAILED: targets missed: {'; '.join(missed)}", red=True)


def _make_report(config: pytest.Config, recorder: Recorder, model: Model) -> Report:
    options = config.option
    begun = datetime.fromtimestamp(config.stash[_begun], UTC)
    run = {
        "model": model.label,
        "settings": ", ".join(f"{name} {getattr(model.config, name)}" for name in ("memory", "batch_size")),
        "texts": options.corpus.name if options.corpus else BUILT_IN,
        "form": "quick" if options.quick else "full",
        "took": f"{time.time() - config.stash[_begun]:.0f} s",
        "BLAS threads": config.stash.get(_threads, "not asked"),
        "load": f"{config.stash[_load]} before, {load()} after (1, 5 and 15 minutes)",
    }
    targets = judge(
        recorder.figures,
        apple_silicon=is_apple_silicon(),
        default_model=model.is_default,
        bundled_model=model.is_bundled,
    )
    machine = describe_machine()
    return Report(
        begun.isoformat(timespec="seconds"),
        machine,
        run,
        recorder.figures,
        recorder.curves,
        targets,
        config.stash[_others].share,
    )


def _missed(targets: list[Judgement]) -> list[str]:
    return [target.name for target in targets if target.verdict == "MISS"]
