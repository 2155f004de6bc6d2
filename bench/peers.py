"""Other libraries, each in a process of its own, asked over pipes: see ``peer_worker``."""

import base64
import contextlib
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from akidb_embeddings.vectors.finish import Vectors, row_cosines

WORKER = Path(__file__).parent / "peer_worker.py"
# Vectors further apart than this are not the same computation, and a time for them is no comparison.
SAME = 0.999
# bfloat16 has 8 bits: it moves single vectors by up to 0.003, and those of random weights by more.
SAME_IN_BFLOAT16 = 0.98
# Loading may export a model; a forward on MLX's stock wheel takes minutes.
_PATIENCE = 1800.0


@dataclass(frozen=True)
class Kind:
    """A peer: its name and how to install it; ``architectures``: the model types it is compared on; ``is_mlx``:
    whether it reads weights as MLX packs them; ``gpus``: the GPUs that it is put on, as we are, by our backend's name
    and its own."""

    name: str
    install: str
    architectures: tuple[str, ...] = ("bert", "qwen3", "gemma3_text")
    is_mlx: bool = False
    gpus: Mapping[str, str] = field(default_factory=dict)


PEERS: Sequence[Kind] = (
    Kind("sentence-transformers", "pip install sentence-transformers", gpus={"cuda": "cuda", "metal": "mps"}),
    Kind("onnxruntime", "pip install onnxruntime onnx torch transformers", ("bert",)),
    Kind("fastembed", "pip install fastembed onnx torch transformers", ("bert",)),
    Kind("mlx-embeddings", "pip install mlx-embeddings 'mlx[cpu]' (on macOS without [cpu])", is_mlx=True),
    Kind("mlx-lm", "pip install mlx-lm 'mlx[cpu]' (on macOS without [cpu])", ("qwen3",), is_mlx=True),
)
CROSS_ENCODER = Kind("CrossEncoder", "pip install sentence-transformers", gpus=PEERS[0].gpus)
"""The peer for rerankers: sentence-transformers' class."""


class PeerError(Exception):
    """A peer failed; its words."""


class AbsentError(PeerError):
    """A peer is not installed."""


class Peer:
    """One peer's process. As a context manager it ends the process."""

    def __init__(self, kind: Kind, python: str, worker: Path = WORKER, patience: float = _PATIENCE) -> None:
        """Start it. AbsentError: there is no such interpreter."""
        self.kind, self._patience = kind, patience
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        try:
            self._process = subprocess.Popen(
                [python, str(worker)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=quiet_environment(os.environ),
            )
        except OSError as error:
            self._errors.close()
            raise AbsentError(f"{python}: {error.strerror}") from error

    def load(self, folder: Path, max_tokens: int, threads: int, **place: str) -> str:
        """Load a model; the peer's version. ``device`` and ``dtype`` for a GPU. AbsentError: it is not installed."""
        answer = self._ask(
            do="load", peer=self.kind.name, model=str(folder), max_tokens=max_tokens, threads=threads, **place
        )
        if "absent" in answer:
            raise AbsentError(str(answer["absent"]))
        return str(answer["version"])

    def embed(self, texts: list[str]) -> tuple[float, Vectors]:
        """Seconds, as the peer measured them, and its vectors."""
        seconds, values = self._compute(do="embed", texts=texts)
        return seconds, values.reshape(len(texts), -1)

    def score(self, pairs: Sequence[tuple[str, str]]) -> tuple[float, Vectors]:
        """Seconds, as the peer measured them, and its scores of pairs, float32 [n]."""
        return self._compute(do="score", pairs=pairs)

    def _compute(self, **request: Any) -> tuple[float, Vectors]:
        answer = self._ask(**request)
        values: Vectors = np.frombuffer(base64.b64decode(answer["vectors"]), dtype=np.float32)
        return float(answer["seconds"]), values

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watch = threading.Timer(self._patience, self._process.kill)
        watch.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            watch.cancel()
        if not line:
            raise PeerError(f"its process ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(str(answer["error"]))
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        return " ".join(self._errors.read().split())[-300:] or f"exit code {self._process.returncode}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def quiet_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a peer: nothing is downloaded, and none of our own modules are found."""
    kept = {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "LD_PRELOAD")}
    return kept | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}


@dataclass(frozen=True)
class Pairs:
    """Times of the same texts, ours and theirs taken in turn."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """How many times as long the peer took, pair by pair."""
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]


def alternate(ours: Callable[[], float], theirs: Callable[[], float], pairs: int) -> Pairs:
    """Ours, theirs, ours, theirs, …: a machine that drifts hurts both alike."""
    found = Pairs([], [])
    for _ in range(pairs):
        found.ours.append(ours())
        found.theirs.append(theirs())
    return found


def lowest_cosine(a: Vectors, b: Vectors) -> float:
    """The cosine of the two vectors that differ most, in float64; -1 where even their lengths differ."""
    return float(row_cosines(a, b).min()) if a.shape == b.shape else -1.0
