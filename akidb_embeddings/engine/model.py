"""A checkpoint on a backend: micro-batches in, rows out. It is used on one thread only."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from akidb_embeddings.architectures import Inputs, build_encoder
from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.compute.backend import Backend
from akidb_embeddings.compute.core_sharing import CoreSharing
from akidb_embeddings.compute.devices import free_memory, wire_memory
from akidb_embeddings.compute.footprint import array_bytes
from akidb_embeddings.compute.heap import trim_heap, weights_apart
from akidb_embeddings.compute.low_rank import merge
from akidb_embeddings.compute.runtime import mx, thread_streams
from akidb_embeddings.compute.sizing import Demand, count_weights, fit
from akidb_embeddings.compute.weights import Weights, load_tensors
from akidb_embeddings.engine.planner import MicroBatch
from akidb_embeddings.engine.readout import build_readout
from akidb_embeddings.errors import CheckpointError


class MLXModel:
    """The forward pass of a checkpoint, from token ids to what ``readout`` makes of the hidden states.

    Raises:
        CheckpointError: A tensor or a setting does not fit the architecture.
    """

    def __init__(self, checkpoint: BaseCheckpoint, backend: Backend) -> None:
        dtype = backend.dtype if checkpoint.architecture.float16(checkpoint.config) else backend.safe_dtype
        backend, dtype = _fit(checkpoint, backend, dtype)
        self._backend = backend
        self.streams, self.tokens_per_batch = backend.streams, backend.tokens_per_batch
        self.obeys_batch_size, self.window_scale = backend.obeys_batch_size, backend.window_scale
        self.ahead, self.few_shapes, self.is_gpu = backend.ahead, backend.few_shapes, backend.is_gpu
        self._cores = None if backend.is_gpu else CoreSharing()
        mx.set_cache_limit(backend.cache_limit)
        wire_memory(backend)
        self._streams = thread_streams(backend.device, backend.streams)
        with mx.stream(self._streams[0]), weights_apart():
            try:
                self._build(checkpoint, dtype)
            except CheckpointError as error:
                raise error.changed(source=str(checkpoint.path)) from error
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                # A setting of a type that the architecture does not check.
                raise CheckpointError(f"{checkpoint.path / 'config.json'} cannot be used: {error!r}") from error
        mx.clear_cache()
        self.weight_bytes = array_bytes(self._encoder, self._readout)

    def _build(self, checkpoint: BaseCheckpoint, dtype: mx.Dtype) -> None:
        tensors = load_tensors(checkpoint.tensors)
        if checkpoint.adapter is not None:
            merge(tensors, checkpoint.quantization, checkpoint.adapter)
        weights = Weights(tensors, checkpoint.quantization, self._backend, dtype)
        self._readout = build_readout(checkpoint, weights)
        self._encoder = build_encoder(checkpoint.architecture, checkpoint.config, weights, self._backend.kernels)
        weights.finish(checkpoint.architecture.ignored)

    def start(self, batches: Sequence[MicroBatch]) -> Callable[[], list[Any]]:
        """Start at most ``backend.streams`` micro-batches; a GPU computes them while this thread goes on.

        Returns:
            A function that waits for their rows, float32 [B, n] each, or a list of B rows of different sizes.
        """
        outputs = []
        for batch, stream in zip(batches, self._streams[: len(batches)], strict=True):
            with mx.stream(stream):
                outputs.append(self._rows(batch))
        if self._backend.ahead:
            mx.async_eval(outputs)  # type: ignore[no-untyped-call]

        def finish() -> list[Any]:
            with self._share_cores(batches):
                mx.eval(outputs)
            pairs = zip(outputs, batches, strict=True)
            return [self._readout.rows(np.array(output), batch) for output, batch in pairs]

        return finish

    def close(self) -> None:
        """Free the weights and MLX's buffer cache."""
        if self._cores is not None:
            self._cores.close()
        del self._encoder, self._readout
        mx.clear_cache()
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

    def _rows(self, batch: MicroBatch) -> mx.array:
        types = None
        if batch.first_parts is not None:
            types = mx.array((np.arange(batch.ids.shape[1]) >= batch.first_parts[:, None]).astype(np.int32))
        attended = batch.lengths if batch.attended is None else batch.attended
        texts = Inputs(mx.array(batch.ids), attended, self._readout.tokens(batch), types)
        return self._readout(self._encoder(texts), batch)


def _fit(checkpoint: BaseCheckpoint, backend: Backend, dtype: mx.Dtype) -> tuple[Backend, mx.Dtype]:
    """The backend and the compute dtype, fitted to the device's memory."""
    bits, hidden_size = checkpoint.quantization.get("bits"), checkpoint.config.get("hidden_size")
    if not backend.is_gpu or not isinstance(hidden_size, int):
        return backend, dtype
    shapes = ((name, location.shape) for name, location in checkpoint.tensors.items())
    demand = Demand(count_weights(shapes, bits if isinstance(bits, int) else 32), hidden_size)
    return fit(backend, demand, dtype, free_memory(backend.device))
