"""The processor: how many cores this process has, and how fast its matrix products are."""

import os
import time

from akidb_embeddings.compute.runtime import mx


def available_cores() -> int:
    """The cores this process may run on, limited by OPENBLAS_NUM_THREADS and OMP_NUM_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")]
    return min([cores, *(int(limit) for limit in limits if limit.isdigit() and int(limit) > 0)])


def measure_matmul(size: int = 256) -> float:
    """GFLOP/s of a float32 [size, size] product on the CPU. Call it on the thread that runs the model."""
    with mx.stream(mx.Device(mx.cpu)):
        matrix = mx.ones((size, size))
        mx.eval(matrix @ matrix)
        start = time.perf_counter()
        mx.eval(matrix @ matrix)
    return 2 * size**3 / (time.perf_counter() - start) / 1e9
