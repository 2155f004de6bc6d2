"""A checkpoint on a backend: micro-batches in, rows out. It is used on one thread only."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.compute.backend import Backend
from akidb_embeddings.compute.buffer_cache import limit_cache, release_cache
from akidb_embeddings.compute.core_sharing import CoreSharing
from akidb_embeddings.compute.devices import free_memory, wire_memory
from akidb_embeddings.compute.heap import trim_heap, weights_apart
from akidb_embeddings.compute.runtime import mx, thread_streams
from akidb_embeddings.compute.sizing import demand_of, fit
from akidb_embeddings.engine.forward_pass import ForwardPass
from akidb_embeddings.engine.planner import MicroBatch
from akidb_embeddings.vectors.ragged import unusable_rows

# The largest micro-batch, in tokens, of models that another library computes.
_MOST_TOKENS_OF_OTHERS = 8192

_log = logging.getLogger(__name__)


class MLXModel:
    """The forward pass of a checkpoint, from token ids to what a readout makes of the hidden states.

    What overflows float16 is computed again, and from then on everything is computed, in float32.

    Raises:
        CheckpointError: A tensor or a setting does not fit the architecture.
    """

    def __init__(self, checkpoint: BaseCheckpoint, backend: Backend) -> None:
        self._checkpoint, self._versions = checkpoint, checkpoint.file_versions()
        self._may_widen = True
        self._whole_backend = backend  # not fitted to the free memory
        self._cores = None if backend.is_gpu else CoreSharing()
        self._streams = thread_streams(backend.device, backend.streams)
        wire_memory(backend)
        try:
            self._load(backend.compute_dtype(checkpoint.architecture.computes_in_float16(checkpoint.config)))
        except BaseException:
            release_cache(self)
            raise

    def _load(self, dtype: mx.Dtype) -> None:
        """Load the weights in a compute dtype, or another if those of that one do not fit the device's memory."""
        backend, dtype = _fit(self._checkpoint, self._whole_backend, dtype)
        limit_cache(self, backend.cache_limit)
        with mx.stream(self._streams[0]), weights_apart():
            self._forward = ForwardPass(self._checkpoint, backend, dtype)
        mx.clear_cache()
        self.weight_bytes = self._forward.weight_bytes
        self.streams, self.tokens_per_batch = backend.streams, backend.tokens_per_batch
        self.obeys_batch_size, self.window_scale = backend.obeys_batch_size, backend.window_scale
        self.ahead, self.few_shapes, self.is_gpu = backend.ahead, backend.few_shapes, backend.is_gpu

    def start(self, batches: Sequence[MicroBatch]) -> Callable[[], list[Any]]:
        """Start at most ``backend.streams`` micro-batches; a GPU computes them while this thread goes on.

        Returns:
            A function that waits for their rows, float32 [B, n] each, or a list of B rows of different sizes.
        """
        forward, outputs = self._forward, []
        for batch, stream in zip(batches, self._streams[: len(batches)], strict=True):
            with mx.stream(stream):
                outputs.append(forward(batch))
        if self.ahead:
            mx.async_eval(outputs)  # type: ignore[no-untyped-call]

        def finish() -> list[Any]:
            with self._share_cores(batches):
                mx.eval(outputs)
            found = [forward.rows(output, batch) for output, batch in zip(outputs, batches, strict=True)]
            if forward.dtype == mx.float16:
                for rows, batch in zip(found, batches, strict=True):
                    self._replace_unusable(rows, batch)
            return found

        return finish

    def close(self) -> None:
        """Free the weights and MLX's buffer cache."""
        if self._cores is not None:
            self._cores.close()
        del self._forward
        release_cache(self)
        trim_heap()

    @property
    def lone_threads(self) -> int:
        """The CPU threads that a lone micro-batch gets now; 0 on a GPU."""
        return self._cores.lone_threads if self._cores is not None else 0

    @property
    def thread_drops(self) -> int:
        """How often that was set to one, since other programs kept the cores busy."""
        return self._cores.drops if self._cores is not None else 0

    def _share_cores(self, batches: Sequence[MicroBatch]) -> AbstractContextManager[None]:
        if self._cores is None:
            return nullcontext()
        return self._cores.share(len(batches), batches[0].ids.size, fixed=batches[0].alone)

    def _replace_unusable(self, rows: Any, batch: MicroBatch) -> None:
        """Compute again, in float32, the rows of texts that float16 made NaN or infinite."""
        texts = len(batch.lengths) - batch.added
        unusable = [row for row in unusable_rows(rows) if row < texts]
        if not unusable or not self._may_widen:
            return
        try:
            self._widen()
            size = max(1, self.tokens_per_batch // batch.ids.shape[1])
            for begin in range(0, len(unusable), size):
                places = unusable[begin : begin + size]
                part = batch.take(places)
                with mx.stream(self._streams[0]):
                    again = self._forward.rows(self._forward(part), part)
                for place, row in zip(places, again, strict=True):
                    rows[place] = row
        except Exception:  # the files are gone, or the memory is full: other texts have their vectors
            self._may_widen = False  # or each further text that overflows would have the weights read again
            _log.exception("Activations of %s overflow float16, and float32 failed", self._checkpoint.path)

    def _widen(self) -> None:
        """Load the weights in float32, unless they are.

        Raises:
            CheckpointError: The files have changed.
            Exception: They cannot be read, or the memory is full.
        """
        if self._forward.dtype != mx.float16:
            return
        before = self.weight_bytes
        self._checkpoint.check_versions(self._versions)
        self._load(mx.float32)
        _log.warning(
            "Activations of %s overflow float16: from now on it is computed in %s, with %.2f GB of weights (%.2f GB "
            "before).",
            self._checkpoint.path,
            str(self._forward.dtype).rpartition(".")[2],
            self.weight_bytes / 1e9,
            before / 1e9,
        )


def _fit(checkpoint: BaseCheckpoint, backend: Backend, dtype: mx.Dtype) -> tuple[Backend, mx.Dtype]:
    """The backend and the compute dtype, fitted to the device's memory."""
    bits, hidden_size = checkpoint.quantization.get("bits"), checkpoint.config.get("hidden_size")
    if not backend.is_gpu or not isinstance(hidden_size, int):
        return backend, dtype
    if checkpoint.architecture.computed_by:  # mlx-lm's attention in float32 holds all scores, [B, heads, L, L]
        backend = replace(backend, tokens_per_batch=min(backend.tokens_per_batch, _MOST_TOKENS_OF_OTHERS))
    shapes = ((name, location.shape) for name, location in checkpoint.tensors.items())
    demand = demand_of(shapes, bits if isinstance(bits, int) else 4, hidden_size)
    return fit(backend, demand, dtype, free_memory(backend.device))
