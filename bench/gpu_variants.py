"""Other settings of the backend than its defaults, for measurements alone: by patching what selects the backend."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from akidb_embeddings.architectures import Inputs
from akidb_embeddings.compute import devices
from akidb_embeddings.compute.backend import Backend, WeightStorage, cuda
from akidb_embeddings.compute.fused import FUSED
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.engine import model
from akidb_embeddings.engine.forward_pass import ForwardPass
from akidb_embeddings.engine.planner import MicroBatch

# What ``change`` understands, besides the names of numbers and flags of ``Backend``.
_DTYPE, _STORAGE, _ACTIVATIONS = "dtype", "storage", "compiled_activations"
# What ``use`` does itself.
_ENCODER = "compiled_encoder"


def change(backend: Backend, changes: Mapping[str, Any]) -> Backend:
    """The backend with changes: fields by name, ``dtype`` of what fits float16, ``storage`` by its value in words."""
    fields = dict(changes)
    if name := fields.pop(_DTYPE, None):
        fields |= {"dtype": getattr(mx, name), "small_dtype": None}
    if storage := fields.pop(_STORAGE, None):
        fields["storage"] = WeightStorage(storage)
    if not fields.pop(_ACTIVATIONS, True):
        plain = {name: getattr(FUSED, name) for name in ("gelu", "gelu_tanh", "silu")}
        fields["kernels"] = backend.kernels._replace(**plain)
    return replace(backend, **fields)


class CompiledForwardPass(ForwardPass):
    """The encoder as one compiled graph for each shape, which takes the host less time to build than Python does.

    For causal models only: masks of others depend on lengths, which would stay those of the first micro-batch.
    """

    def __call__(self, batch: MicroBatch) -> mx.array:
        """See ``ForwardPass``."""
        if "_compiled" not in vars(self):
            plain, lengths = self._encoder, batch.lengths
            self._compiled = mx.compile(lambda ids, tokens: plain(Inputs(ids, lengths, tokens, None)))
        tokens = self._readout.tokens(batch)
        assert tokens is not None  # of one token, as causal models are pooled
        return self._readout(self._compiled(mx.array(batch.ids), tokens), batch)


def use(changes: Mapping[str, Any], *, device: str = "gpu") -> None:
    """Compute with these changes from now on; on the ``device`` "cpu", with CUDA's settings, but in float32."""
    changes = dict(changes)
    if changes.pop(_ENCODER, False):
        vars(model)["ForwardPass"] = CompiledForwardPass
    original = devices.select_backend

    def select(memory: str = "fast", compute: str = "fast") -> Backend:
        if device == "gpu":
            return change(original(memory, compute), changes)
        stand_in = cuda(mx.Device(mx.cpu), memory, strict=compute == "strict")
        return change(replace(stand_in, dtype=mx.float32, tokens_per_batch=4096), changes)

    devices.select_backend = select  # type: ignore[assignment]
