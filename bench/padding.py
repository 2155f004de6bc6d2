"""How much of what the model computes is padding, seen where the micro-batches reach it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from unittest import mock

from akidb_embeddings.engine.model import MLXModel
from akidb_embeddings.engine.planner import MicroBatch
from akidb_embeddings.vectors.finish import Vectors


@dataclass
class Padding:
    """Token positions that were computed, and those of them that are tokens of texts."""

    computed: int = 0
    real: int = 0

    @property
    def waste(self) -> float:
        """The share of padding, percent."""
        return 100 * (1 - self.real / self.computed) if self.computed else 0.0


@contextlib.contextmanager
def observed() -> Iterator[Padding]:
    """Count the padding of every forward meanwhile; it costs microseconds a micro-batch."""
    found = Padding()
    start = MLXModel.start

    def counted(model: MLXModel, batches: Sequence[MicroBatch]) -> Callable[[], list[Vectors]]:
        found.computed += sum(batch.ids.size for batch in batches)
        found.real += sum(int(batch.lengths.sum()) for batch in batches)
        return start(model, batches)

    with mock.patch.object(MLXModel, "start", counted):
        yield found
