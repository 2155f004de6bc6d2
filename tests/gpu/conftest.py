"""Every test of this folder computes on the GPU, or is skipped."""

from collections.abc import Iterator

import pytest

from akidb_embeddings.compute import devices
from akidb_embeddings.compute.backend import Backend
from akidb_embeddings.engine import table as engine_table
from tests.gpu.device import ENVIRONMENT, STAND_IN, stand_in


@pytest.fixture(scope="package", autouse=True)
def gpu() -> Iterator[Backend]:
    """The backend of the GPU. Other tests of this process compute on the CPU; their engines stay theirs."""
    if not STAND_IN and devices.gpu_kind() is None:
        pytest.skip("MLX finds no GPU on this machine")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr(engine_table, "_engines", {})
        patch.setattr(engine_table, "_users", {})
        if STAND_IN:
            patch.setattr(devices, "select_backend", stand_in)
        else:
            devices.select_backend.cache_clear()
        yield devices.select_backend()
    devices.select_backend.cache_clear()
