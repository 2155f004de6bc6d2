"""The talk with a peer's process, with scripts that answer as peers would."""

import base64
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench.peers import (
    CROSS_ENCODER,
    PEERS,
    WORKER,
    AbsentError,
    Kind,
    Pairs,
    Peer,
    PeerError,
    alternate,
    lowest_cosine,
    quiet_environment,
)

KIND = Kind("fake", "pip install fake")
VECTORS = np.array([[0.6, 0.8], [1, 0]], dtype=np.float32)
SCORES = np.array([0.25, -3], dtype=np.float32)
ANSWERS = f"""
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "load":
        told = [request[name] for name in ("model", "max_tokens", "threads")]
        print(json.dumps({{"version": " ".join(map(str, told))}}))
    elif request["do"] == "score":
        scores = {base64.b64encode(SCORES.tobytes()).decode()!r}
        print(json.dumps({{"seconds": len(request["pairs"]) / 4, "vectors": scores}}))
    else:
        vectors = {base64.b64encode(VECTORS.tobytes()).decode()!r}
        print(json.dumps({{"seconds": len(request["texts"]) / 4, "vectors": vectors}}))
    sys.stdout.flush()
"""


def worker(folder: Path, code: str) -> Path:
    (folder / "worker.py").write_text(code, encoding="utf-8")
    return folder / "worker.py"


def test_a_peer_loads_and_embeds(tmp_path: Path) -> None:
    with Peer(KIND, sys.executable, worker(tmp_path, ANSWERS)) as peer:
        assert peer.load(Path("model"), 256, 2) == "model 256 2"
        seconds, vectors = peer.embed(["a", "b"])
    assert seconds == 0.5
    np.testing.assert_array_equal(vectors, VECTORS)
    assert peer._process.returncode is not None


def test_a_peer_scores_pairs(tmp_path: Path) -> None:
    with Peer(KIND, sys.executable, worker(tmp_path, ANSWERS)) as peer:
        seconds, scores = peer.score([("a", "b"), ("a", "c")])
    assert seconds == 0.5
    np.testing.assert_array_equal(scores, SCORES)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('print(\'{"error": "ValueError: no"}\', flush=True)', "ValueError: no"),
        ("import sys; sys.exit('out of memory')", "its process ended: out of memory"),
        ("import os; os._exit(3)", "its process ended: exit code 3"),
    ],
)
def test_a_peer_that_fails_says_why(code: str, message: str, tmp_path: Path) -> None:
    with Peer(KIND, sys.executable, worker(tmp_path, code)) as peer, pytest.raises(PeerError, match=message):
        peer.load(Path("model"), 256, 2)


def test_a_peer_that_hangs_is_ended(tmp_path: Path) -> None:
    script = worker(tmp_path, "import time; time.sleep(60)")
    with Peer(KIND, sys.executable, script, patience=0.3) as peer, pytest.raises(PeerError, match="its process ended"):
        peer.load(Path("model"), 256, 2)


def test_no_such_interpreter() -> None:
    with pytest.raises(AbsentError, match="No such file"):
        Peer(KIND, "/no/such/python")


@pytest.mark.parametrize("kind", [*PEERS, CROSS_ENCODER], ids=lambda kind: kind.name)
def test_peers_that_are_not_installed_are_absent(kind: Kind, tmp_path: Path) -> None:
    """The real worker, under an interpreter that finds nothing but the standard library."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n', encoding="utf-8")
    bare.chmod(0o755)
    with Peer(kind, str(bare), WORKER) as peer, pytest.raises(AbsentError):
        peer.load(tmp_path, 256, 2)
    assert kind.install.startswith("pip install ")


def test_the_worker_imports_nothing_of_ours_unless_we_are_the_peer() -> None:
    text = WORKER.read_text(encoding="utf-8")
    [own] = [
        line for line in text.splitlines() if re.search(r"import.*akidb_embeddings|from (akidb_embeddings|bench)", line)
    ]
    assert own == "        from akidb_embeddings import EmbeddingService"
    assert text.index(own) > text.index("class Ours:")


NOISY = f"""
import importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("peer_worker", {str(WORKER)!r})
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)

class Noisy:
    distribution = "numpy"
    def __init__(self, model, max_tokens, threads):
        print("loading")
    def embed(self, texts):
        print("embedding")
        return np.array([[len(text), 1] for text in texts], dtype=np.float64)
    def score(self, pairs):
        print("scoring")
        return np.array([len(query) - len(text) for query, text in pairs], dtype=np.float64)

worker._PEERS["fake"] = Noisy
worker.main()
"""


def test_the_real_worker_and_a_library_that_prints(tmp_path: Path) -> None:
    with Peer(KIND, sys.executable, worker(tmp_path, NOISY)) as peer:
        with pytest.raises(PeerError, match="NoneType"):
            peer.embed(["not loaded yet"])
        assert peer.load(Path("model"), 256, 2) == np.__version__
        seconds, vectors = peer.embed(["a", "bcd"])
        _, scores = peer.score([("a", "bcd")])
        with pytest.raises(PeerError, match="TypeError"):
            peer.embed([1])  # type: ignore[list-item]
    assert seconds > 0
    np.testing.assert_array_equal(vectors, np.array([[1, 1], [3, 1]], dtype=np.float32))
    assert scores.tolist() == [-2]


def test_ours_and_theirs_take_turns() -> None:
    turns: list[str] = []

    def take(name: str, seconds: float) -> float:
        turns.append(name)
        return seconds

    found = alternate(lambda: take("A", 2), lambda: take("B", 5), pairs=3)
    assert turns == ["A", "B"] * 3
    assert found == Pairs([2] * 3, [5] * 3)
    assert found.ratios == [2.5] * 3


def test_vectors_are_compared_by_the_worst_of_them() -> None:
    other = np.array([[0.6, 0.8], [0, 1]], dtype=np.float32)
    assert lowest_cosine(VECTORS, 3 * VECTORS) == pytest.approx(1)
    assert lowest_cosine(VECTORS, other) == pytest.approx(0)
    assert lowest_cosine(VECTORS, VECTORS[:, :1]) == -1


def test_peers_are_on_their_own() -> None:
    found = quiet_environment({"PYTHONPATH": "here", "LD_PRELOAD": "blas", "HOME": "home"})
    assert found == {"HOME": "home", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}


@pytest.mark.long
def test_patience_ends_with_the_answer(tmp_path: Path) -> None:
    with Peer(KIND, sys.executable, worker(tmp_path, ANSWERS), patience=0.5) as peer:
        peer.load(Path("model"), 1, 1)
        time.sleep(0.7)
        assert peer.embed(["a", "b"])[0] == 0.5
