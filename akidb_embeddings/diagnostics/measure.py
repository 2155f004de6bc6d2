"""How fast this machine embeds with the bundled model, and what plain MLX takes with the same weights.

"Plain" is MLX as its wheel comes: the BLAS that it links, its quantized products on the stored 8-bit weights, its fused
attention, its GELU by erf. A process has one BLAS for good, so that runs in another, told to leave MLX its own:
``AKIDB_BLAS=mlx python -m akidb_embeddings.diagnostics.measure``.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.checkpoint.tokenizer import Tokenizer
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import WorkerError
from akidb_embeddings.hub.download import resolve_model
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import Vectors, finish

TEXTS = 32
TOKENS = 128
# Plain MLX takes a second or more for each text, and as long for each further one, so a few tell enough.
PLAIN_TEXTS = 4
_PLAIN_TIMEOUT = 900.0
# Longer than any limit asked for: cut there, every text has the same number of tokens.
_LONG_TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on under the old apple tree. " * 24
_QUERY = "how do I read a file line by line in python"
_QUERY_RUNS = 50
_REPEATS = 3
_WARM_UP = 3


@dataclass(frozen=True)
class Plain:
    """What the other process measured: ``seconds`` for ``texts`` texts, and ``gflops`` of its float32 products.

    ``openblas``: the libraries of that name in it. None should be, except where MLX itself was built with one.
    ``difference`` is the largest between its vectors' components and ours.
    """

    texts: int
    seconds: float
    gflops: float
    openblas: tuple[str, ...]
    difference: float


@dataclass(frozen=True)
class Measurement:
    """``seconds`` for ``texts`` texts of ``tokens`` tokens, ``query_seconds`` for one of ``query_tokens``: medians.

    ``plain`` is None where plain MLX is no comparison; ``reason`` then says why.
    """

    texts: int
    tokens: int
    seconds: float
    query_tokens: int
    query_seconds: float
    plain: Plain | None
    reason: str

    @property
    def plain_seconds(self) -> float:
        """Plain MLX's time for as many texts, in proportion to those it ran; NaN without a comparison."""
        return self.plain.seconds * self.texts / self.plain.texts if self.plain else float("nan")

    @property
    def ratio(self) -> float:
        """How many times as long plain MLX takes."""
        return self.plain_seconds / self.seconds


def measure(texts: int = TEXTS, tokens: int = TOKENS, plain_texts: int = PLAIN_TEXTS) -> Measurement:
    """Measure throughput, latency and, on a Linux CPU, plain MLX. Takes ten seconds or more with the defaults.

    WorkerError: the process that runs plain MLX failed.
    """
    with EmbeddingService(config=EmbeddingConfig(model_name=BUNDLED, max_tokens=tokens)) as service:
        batch = [_LONG_TEXT] * texts
        vectors = service.encode(batch).vectors
        seconds = _median(lambda: service.encode(batch), _REPEATS)
        query_tokens = service.encode([_QUERY] * _WARM_UP).token_counts[0]
        query_seconds = _median(lambda: service.encode([_QUERY]), _QUERY_RUNS)
    reason = _why_not_plain()
    plain = None if reason else _measure_plain(plain_texts, tokens, vectors)
    return Measurement(texts, tokens, seconds, query_tokens, query_seconds, plain, reason)


def matmul_speed() -> float:
    """GFLOP/s of float32 products on the CPU: the best of a few, since a busy machine spoils single ones."""
    from akidb_embeddings.compute.backend import measure_matmul

    return max(measure_matmul(512) for _ in range(5))


def _median(run: Callable[[], object], times: int) -> float:
    return statistics.median(_seconds(run) for _ in range(times))


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _why_not_plain() -> str:
    from akidb_embeddings.compute.backend import select_backend

    name = select_backend().name
    if name != "cpu":
        return f"plain mlx[cpu] is no comparison here: this machine computes on its GPU ({name})"
    return "" if sys.platform == "linux" else "plain mlx[cpu] is no comparison here: its slow BLAS is Linux's alone"


def _measure_plain(texts: int, tokens: int, vectors: Vectors) -> Plain:
    command = [sys.executable, "-m", __name__, str(texts), str(tokens)]
    # Begun where this package lies, so that the process finds the same one; and without a BLAS that the user preloads.
    folder = Path(__file__).parent.parent.parent
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} | {"AKIDB_BLAS": "mlx"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, check=True, text=True, timeout=_PLAIN_TIMEOUT
        )
        found = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        output = error.stderr.strip()[-500:] if isinstance(error, subprocess.CalledProcessError) else error
        raise WorkerError(f"The process that runs plain MLX failed: {output}") from error
    difference = float(np.abs(np.array(found["vectors"], dtype=np.float32) - vectors[0]).max())
    return Plain(texts, found["seconds"], found["gflops"], tuple(found["openblas"]), difference)


def _run_plain(texts: int, tokens: int) -> dict[str, object]:
    """One micro-batch on MLX as it comes, in a process with ``AKIDB_BLAS=mlx``."""
    from akidb_embeddings.compute.backend import Backend, WeightStorage
    from akidb_embeddings.compute.kernels import FUSED
    from akidb_embeddings.compute.runtime import mx
    from akidb_embeddings.engine.model import MLXEmbeddingModel
    from akidb_embeddings.engine.planner import pad

    files = resolve_model(BUNDLED)
    checkpoint = read_checkpoint(files.path, files.spec)
    rows = Tokenizer(checkpoint, tokens).encode([_LONG_TEXT] * texts).ids
    backend = Backend(
        name="plain",
        device=mx.Device(mx.cpu),
        dtype=mx.float32,
        safe_dtype=mx.float32,
        storage=WeightStorage.PACKED,
        kernels=FUSED,
        streams=1,
        tokens_per_batch=texts * tokens,
        cache_limit=1 << 30,
    )
    model = MLXEmbeddingModel(checkpoint, backend)
    model.forward([pad([rows[0][:8]], "mean")])  # touches every weight once
    batch = [pad(rows, "mean")]
    start = time.perf_counter()
    vectors = model.forward(batch)[0]
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "gflops": matmul_speed(),
        # NumPy's own is called libscipy_openblas64_, and does not serve MLX.
        "openblas": _loaded("libopenblas") + _loaded("libscipy_openblas."),
        "vectors": finish(vectors, None, True).tolist(),
    }


def _loaded(name: str) -> list[str]:
    """The files mapped into this process whose names begin with ``name``; none where the system does not tell."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return []
    files = {line.split(maxsplit=5)[5].strip() for line in maps.splitlines() if "/" in line}
    return sorted(file for file in files if Path(file).name.startswith(name))


if __name__ == "__main__":
    json.dump(_run_plain(int(sys.argv[1]), int(sys.argv[2])), sys.stdout)
