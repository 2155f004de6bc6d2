"""A loaded model of either kind, which stays loaded until it is closed."""

import weakref
from pathlib import Path
from typing import NoReturn, SupportsIndex

from akidb_embeddings.checkpoint.folder import tokenizer_bytes
from akidb_embeddings.engine.engine import Engine
from akidb_embeddings.engine.statistics import Statistics
from akidb_embeddings.engine.table import release_engine
from akidb_embeddings.errors import WorkerError
from akidb_embeddings.service.closing import Closing


class OpenModel(Closing):
    """Holds an engine until it is closed or garbage-collected, unless others share the engine.

    Args:
        engine: The engine, acquired once for this object.
        folder: The model's folder.
        memory: The configured "memory".
        compute: The configured "compute".
    """

    def __init__(self, engine: Engine, folder: Path, memory: str, compute: str) -> None:
        self._engine, self._computed = engine, (memory, compute)
        self._tokenizer_bytes = tokenizer_bytes(folder)
        self._release = weakref.finalize(self, release_engine, engine)

    @property
    def backend(self) -> str:
        """What computes: "cpu", "cuda" or "metal"."""
        from akidb_embeddings.compute.devices import select_backend  # this module is imported before MLX is needed

        return select_backend(*self._computed).name

    @property
    def statistics(self) -> Statistics:
        """What the MLX thread did so far and what waits for it; services that share the thread share the figures."""
        return self._engine.statistics

    @property
    def memory_bytes(self) -> int:
        """The memory that the model takes while it is loaded: its weights', and about what its tokenizer's is."""
        return self._engine.weight_bytes + self._tokenizer_bytes

    @property
    def window_scale(self) -> int:
        """By which factor the windows of a long list, each sorted by length, are larger than a CPU's."""
        return self._engine.window_scale

    @property
    def alive(self) -> bool:
        """Whether it takes texts: not closed, its MLX thread not dead for good, and in the process that made it."""
        return self._release.alive and self._engine.alive

    def close(self) -> None:
        """Give the engine back; the last service that shares it frees the weights. Closing twice does nothing."""
        self._release()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """What ``copy``, ``deepcopy`` and ``pickle`` call. A copy would end with the original, which holds a thread.

        Raises:
            WorkerError: Always.
        """
        name = type(self).__name__
        raise WorkerError(
            f"{name} objects can be neither copied nor pickled: weights and thread belong to this process. Share one, "
            f"as all threads may use it, or make another of the same weights: {name}(config=service.config)."
        )

    def _describe(self, model: str) -> str:
        state = "" if self.alive else ", dead" if self._release.alive else ", closed"
        return f"{type(self).__name__}({model}, backend={self.backend!r}{state})"

    def _check_open(self) -> None:
        if not self._release.alive:
            raise WorkerError(f"This {type(self).__name__} is closed; make a new one.")
