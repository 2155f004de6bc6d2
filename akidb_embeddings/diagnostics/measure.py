"""The speed of the bundled model on this machine, compared with plain MLX on the same weights.

"Plain" means MLX as its wheel comes: with the BLAS that it links, quantized products on the stored 8-bit weights, fused
attention, and GELU by erf. A process cannot change its BLAS, so plain MLX runs in another process:
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
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import WorkerError
from akidb_embeddings.hub.download import resolve_model
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from akidb_embeddings.vectors.finish import Vectors, finish

TEXTS = 32
TOKENS = 128
# Plain MLX takes a second or more per text, in proportion to their number, so a few are enough.
PLAIN_TEXTS = 4
_PLAIN_TIMEOUT = 900.0
# Longer than any requested limit, so that every text is truncated to the same number of tokens.
_LONG_TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on under the old apple tree. " * 24
_QUERY = "how do I read a file line by line in python"
_QUERY_RUNS = 50
_REPEATS = 3
_WARM_UP = 3


@dataclass(frozen=True)
class PlainMeasurement:
    """What the process with plain MLX measured.

    Attributes:
        texts: How many texts it embedded.
        seconds: How long that took.
        gflops: Speed of its float32 products, in GFLOP/s.
        openblas: OpenBLAS libraries loaded there. There should be none, unless MLX itself was built with one.
        difference: The largest difference between a component of its vectors and ours.
    """

    texts: int
    seconds: float
    gflops: float
    openblas: tuple[str, ...]
    difference: float


@dataclass(frozen=True)
class Measurement:
    """The speed of the bundled model; times are medians.

    Attributes:
        texts: How many texts were embedded at once.
        tokens: Tokens of each of these texts.
        seconds: How long that took.
        query_tokens: Tokens of the query.
        query_seconds: How long one query took.
        plain: The same with plain MLX; None if that is not a fair comparison.
        reason: Why there is no comparison; "" if there is one.
    """

    texts: int
    tokens: int
    seconds: float
    query_tokens: int
    query_seconds: float
    plain: PlainMeasurement | None
    reason: str

    @property
    def plain_seconds(self) -> float:
        """Plain MLX's time in seconds, scaled to ``texts``; NaN without a comparison."""
        return self.plain.seconds * self.texts / self.plain.texts if self.plain else float("nan")

    @property
    def ratio(self) -> float:
        """How many times longer plain MLX takes."""
        return self.plain_seconds / self.seconds


def measure(texts: int = TEXTS, tokens: int = TOKENS, plain_texts: int = PLAIN_TEXTS) -> Measurement:
    """Measure throughput, latency and, on a Linux CPU, plain MLX. Takes ten seconds or more with the defaults.

    Args:
        texts: How many texts to embed at once.
        tokens: Tokens of each text.
        plain_texts: How many texts to embed with plain MLX.

    Returns:
        The measured times.

    Raises:
        WorkerError: The process that runs plain MLX failed.
    """
    with EmbeddingService(config=EmbeddingConfig(model_name=BUNDLED, max_tokens=tokens)) as service:
        batch = [_LONG_TEXT] * texts
        vectors = service.encode(batch).vectors
        seconds = _median(lambda: service.encode(batch), _REPEATS)
        query_tokens = service.encode([_QUERY] * _WARM_UP).token_counts[0]
        query_seconds = _median(lambda: service.encode([_QUERY]), _QUERY_RUNS)
    reason = _no_comparison_reason()
    plain = None if reason else _measure_plain(plain_texts, tokens, vectors)
    return Measurement(texts, tokens, seconds, query_tokens, query_seconds, plain, reason)


def matmul_speed() -> float:
    """Measure float32 products on the CPU, in GFLOP/s: the best of five, because other programs may disturb some."""
    from akidb_embeddings.compute.cores import measure_matmul

    return max(measure_matmul(512) for _ in range(5))


def _median(run: Callable[[], object], times: int) -> float:
    return statistics.median(_elapsed(run) for _ in range(times))


def _elapsed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _no_comparison_reason() -> str:
    from akidb_embeddings.compute.devices import select_backend

    name = select_backend().name
    if name != "cpu":
        return f"no comparison with plain mlx[cpu]: this machine computes on its GPU ({name})"
    return "" if sys.platform == "linux" else "no comparison with plain mlx[cpu]: only on Linux it has a slow BLAS"


def _measure_plain(texts: int, tokens: int, vectors: Vectors) -> PlainMeasurement:
    command = [sys.executable, "-m", __name__, str(texts), str(tokens)]
    # Started in this package's folder, so that the process imports the same one, and without the user's preloaded BLAS.
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
    return PlainMeasurement(texts, found["seconds"], found["gflops"], tuple(found["openblas"]), difference)


def _run_plain(texts: int, tokens: int) -> dict[str, object]:
    """Run one micro-batch on plain MLX, in a process with ``AKIDB_BLAS=mlx``."""
    from akidb_embeddings.compute.backend import Backend, WeightStorage
    from akidb_embeddings.compute.fused import FUSED
    from akidb_embeddings.compute.runtime import mx
    from akidb_embeddings.engine.model import MLXModel
    from akidb_embeddings.engine.planner import pad

    files = resolve_model(BUNDLED)
    checkpoint = read_checkpoint(files.path, files.spec)
    rows = Tokenizer(checkpoint, tokens).encode([_LONG_TEXT] * texts).ids
    backend = Backend(
        name="plain",
        device=mx.Device(mx.cpu),
        dtype=mx.float32,
        storage=WeightStorage.PACKED,
        kernels=FUSED,
        streams=1,
        tokens_per_batch=texts * tokens,
        cache_limit=1 << 30,
    )
    model = MLXModel(checkpoint, backend)
    model.start([pad([rows[0][:8]], "mean")])()  # touches every weight once
    batch = [pad(rows, "mean")]
    start = time.perf_counter()
    vectors = model.start(batch)()[0]
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "gflops": matmul_speed(),
        # NumPy's own library is called libscipy_openblas64_; MLX does not use it.
        "openblas": _mapped_libraries("libopenblas") + _mapped_libraries("libscipy_openblas."),
        "vectors": finish(vectors, None, True).tolist(),
    }


def _mapped_libraries(name: str) -> list[str]:
    """Files mapped into this process whose names begin with ``name``; none on systems without /proc."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return []
    files = {line.split(maxsplit=5)[5].strip() for line in maps.splitlines() if "/" in line}
    return sorted(file for file in files if Path(file).name.startswith(name))


if __name__ == "__main__":
    json.dump(_run_plain(int(sys.argv[1]), int(sys.argv[2])), sys.stdout)
