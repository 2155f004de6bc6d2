"""A checkpoint's encoder and readout in one compute dtype: a micro-batch in, an array for its texts out."""

import numpy as np

from akidb_embeddings.architectures import Inputs, build_encoder
from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.compute.backend import Backend
from akidb_embeddings.compute.footprint import array_bytes
from akidb_embeddings.compute.low_rank import merge
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights, load_tensors
from akidb_embeddings.engine.planner import MicroBatch
from akidb_embeddings.engine.readout import build_readout
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.vectors.ragged import Rows


class ForwardPass:
    """The weights of a checkpoint, as a backend uses them.

    Attributes:
        dtype: The compute dtype.
        weight_bytes: The memory that the weights take.

    Raises:
        CheckpointError: A tensor or a setting does not fit the architecture.
    """

    def __init__(self, checkpoint: BaseCheckpoint, backend: Backend, dtype: mx.Dtype) -> None:
        self.dtype = dtype
        try:
            self._build(checkpoint, backend)
        except CheckpointError as error:
            raise error.changed(source=str(checkpoint.path)) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # A setting of a type that the architecture does not check.
            raise CheckpointError(f"{checkpoint.path / 'config.json'} cannot be used: {error!r}") from error
        self.weight_bytes = array_bytes(self._encoder, self._readout)

    def __call__(self, batch: MicroBatch) -> mx.array:
        """The graph of what the readout makes of the hidden states, float32 [B, …]; nothing is computed yet."""
        types = None
        if batch.first_parts is not None:
            types = mx.array((np.arange(batch.ids.shape[1]) >= batch.first_parts[:, None]).astype(np.int32))
        attended = batch.lengths if batch.attended is None else batch.attended
        texts = Inputs(mx.array(batch.ids), attended, self._readout.tokens(batch), types)
        return self._readout(self._encoder(texts), batch)

    def rows(self, output: mx.array, batch: MicroBatch) -> Rows:
        """Each text's row, on the host."""
        return self._readout.rows(np.array(output), batch)

    def _build(self, checkpoint: BaseCheckpoint, backend: Backend) -> None:
        tensors = load_tensors(checkpoint.tensors)
        if checkpoint.adapter is not None:
            merge(tensors, checkpoint.quantization, checkpoint.adapter)
        weights = Weights(tensors, checkpoint.quantization, backend, self.dtype)
        self._readout = build_readout(checkpoint, weights)
        self._encoder = build_encoder(checkpoint.architecture, checkpoint.config, weights, backend.kernels)
        weights.finish(checkpoint.architecture.ignored)
