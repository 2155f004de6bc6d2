"""The GPU that these tests run on, also in programs of their own.

With ``AKIDB_TESTS_GPU=cpu`` in the environment the CPU stands in for it, with CUDA's settings but in float32 (16 bits
take minutes there) and with smaller models: that tries the tests, not a GPU.
"""

import os
from collections.abc import Mapping
from dataclasses import replace

from akidb_embeddings.compute import devices
from akidb_embeddings.compute.backend import Backend, cuda
from akidb_embeddings.compute.runtime import mx

STAND_IN = os.environ.get("AKIDB_TESTS_GPU") == "cpu"
ENVIRONMENT: Mapping[str, str] = {"AKIDB_BACKEND": "auto"}


def stand_in(memory: str = "fast", compute: str = "fast") -> Backend:
    """CUDA's settings on the CPU, in place of ``devices.select_backend``."""
    return replace(cuda(mx.Device(mx.cpu), memory, strict=compute == "strict"), dtype=mx.float32, tokens_per_batch=4096)


def prepare_program() -> None:
    """Let this process, which computes nothing else, compute on the GPU or on what stands in for it."""
    os.environ.update(ENVIRONMENT)
    if STAND_IN:
        devices.select_backend = stand_in  # type: ignore[assignment]
