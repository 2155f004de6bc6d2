"""Where a new shape costs time: attention, products, activations and whole forwards, the first and the second time.

Tasks of ``gpu_worker``.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

_REPEATS = 3


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def _milliseconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def _report(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(median(values), 3), "longest": round(max(values), 3), "total": round(sum(values), 1)}


def shapes(task: Mapping[str, Any]) -> None:
    """For each operation: milliseconds of the first visits of ever new shapes, of the second, and of the third."""
    from akidb_embeddings.compute.devices import select_backend
    from akidb_embeddings.compute.runtime import mx

    backend = select_backend()
    generator = random.Random(5)
    with mx.stream(backend.device):
        for name, run in _operations(task, backend):
            run(1024)  # compiles what is compiled once
            lengths = generator.sample(range(9, 9 + 4 * task["shapes"]), task["shapes"])
            visits = [[_milliseconds(partial(run, length)) for length in lengths] for _ in range(_REPEATS)]
            _say(operation=name, shapes=len(lengths), **{f"visit_{i + 1}_ms": _report(v) for i, v in enumerate(visits)})


def _operations(task: Mapping[str, Any], backend: Any) -> Iterator[tuple[str, Callable[[int], None]]]:
    """Name and function of the number of tokens; each evaluates its result."""
    import numpy as np

    from akidb_embeddings.compute.masks import Visibility
    from akidb_embeddings.compute.runtime import mx

    dtype, kernels = backend.dtype, backend.kernels
    width = task["width"]
    weight, bias = mx.ones((width, 3 * width), dtype), mx.ones((3 * width,), dtype)
    mx.eval(weight, bias)

    def attention(head_dim: int, causal: bool, padded: bool) -> Callable[[int], None]:
        def run(length: int) -> None:
            q = mx.ones((2, 8, length, head_dim), dtype)
            lengths = np.array([length, length - padded], dtype=np.int32)
            mask = kernels.mask(Visibility(lengths, length, causal), dtype)
            mx.eval(kernels.attention(q, q, q, head_dim**-0.5, mask))

        return run

    for head_dim in (32, 64, 128, 256):
        yield f"attention, heads of {head_dim}, no mask", attention(head_dim, causal=False, padded=False)
        yield f"attention, heads of {head_dim}, padding", attention(head_dim, causal=False, padded=True)
        yield f"attention, heads of {head_dim}, causal", attention(head_dim, causal=True, padded=False)
    yield "product", lambda length: mx.eval(mx.ones((length, width), dtype) @ weight)
    yield "product with bias", lambda length: mx.eval(mx.addmm(bias, mx.ones((length, width), dtype), weight))
    yield "GELU", lambda length: mx.eval(kernels.gelu(mx.ones((length, width), dtype)))
    yield "SiLU with gate", lambda length: mx.eval(kernels.silu.gated(*[mx.ones((length, width), dtype)] * 2))
    norm = mx.ones((width,), dtype)
    yield "norm", lambda length: mx.eval(mx.fast.rms_norm(mx.ones((length, width), dtype), norm, 1e-6))


def thousand(task: Mapping[str, Any]) -> None:
    """Whole forwards of new shapes: how long each visit takes, and whether any is an error."""
    import numpy as np

    from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
    from akidb_embeddings.compute.devices import select_backend
    from akidb_embeddings.engine.model import MLXModel
    from akidb_embeddings.engine.planner import MicroBatch
    from akidb_embeddings.hub.resolve import find_model

    found = find_model(task["model"])
    assert found
    checkpoint = read_checkpoint(found.path, found.spec)
    model = MLXModel(checkpoint, select_backend())

    def forward(rows: int, length: int) -> None:
        lengths = np.full(rows, length, dtype=np.int32)
        lengths[: rows - 1] -= 1
        model.start([MicroBatch(np.full((rows, length), 5, dtype=np.int32), lengths, checkpoint.pooling or "mean")])()

    forward(1, 512)
    chosen = [(rows, length) for length in range(6, 131) for rows in range(1, 9)]
    random.Random(6).shuffle(chosen)
    for visit in range(task["visits"]):
        times = [_milliseconds(partial(forward, *shape)) for shape in chosen[: task["shapes"]]]
        _say(visit=visit + 1, forwards=len(times), **_report(times))
    model.close()


def packed(task: Mapping[str, Any]) -> None:
    """Products of packed weights: the first of a shape, which may compile, and the next, beside expanded ones."""
    from akidb_embeddings.compute.devices import select_backend
    from akidb_embeddings.compute.layers import Packed, Quantization
    from akidb_embeddings.compute.runtime import mx

    backend = select_backend()
    width = task["width"]
    with mx.stream(backend.device):
        for name in task["dtypes"]:
            dtype = getattr(mx, name)
            for bits in (4, 8):
                matrix = mx.random.normal((3 * width, width)).astype(dtype)
                weight, scales, *biases = mx.quantize(matrix, 64, bits)
                whole = Packed(weight, scales, biases[0] if biases else None, Quantization(64, bits))
                plain = whole.expand(dtype).T
                mx.eval(plain)
                for rows in task["rows"]:
                    x = mx.random.normal((rows, width)).astype(dtype)
                    mx.eval(x)
                    what = {"dtype": name, "bits": bits, "rows": rows}
                    _say(**what, begun=True)
                    _say(**what, packed_ms=_visits(whole.multiply, x), expanded_ms=_visits(partial(_product, plain), x))


def _visits(function: Callable[[Any], Any], x: Any) -> list[float]:
    """Milliseconds of each evaluation of the same product."""
    from akidb_embeddings.compute.runtime import mx

    return [round(_milliseconds(lambda: mx.eval(function(x))), 3) for _ in range(_REPEATS)]


def _product(matrix: Any, x: Any) -> Any:
    return x @ matrix
