"""The GPU that computes: its name, memory and driver, what MLX holds of its memory, and its published peak."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Dense bfloat16 products with float32 sums, TFLOP/s, from NVIDIA's data sheets of these products (those that give the
# figure "with sparsity" give twice as much). The longest name that a card's begins with counts: makers append memory.
PEAKS: Mapping[str, float] = {
    "NVIDIA A100": 312,
    "NVIDIA A10": 125,
    "NVIDIA A30": 165,
    "NVIDIA H100": 989,  # SXM
    "NVIDIA H100 PCIe": 756,
    "NVIDIA H100 NVL": 835,
    "NVIDIA H200": 989,  # SXM
    "NVIDIA H200 NVL": 835,
    "NVIDIA L4": 121,
    "NVIDIA L40": 181,
    "NVIDIA L40S": 362,
}
_QUERY = "name,memory.total,driver_version"


@dataclass(frozen=True)
class Gpu:
    """A GPU. ``driver`` and ``memory`` are empty where nothing tells them."""

    name: str
    memory: str = ""
    driver: str = ""
    architecture: str = ""

    @property
    def peak(self) -> float | None:
        """Published bfloat16 TFLOP/s, dense; None if unknown."""
        known = [name for name in PEAKS if self.name == name or self.name.startswith((f"{name} ", f"{name}-"))]
        return PEAKS[max(known, key=len)] if known else None

    def describe(self) -> dict[str, str]:
        """Name and value for the report."""
        peak = f"{self.peak:g} TFLOP/s in dense bfloat16, as published" if self.peak else "unknown"
        found = {"GPU": self.name, "GPU memory": self.memory, "driver": self.driver, "GPU peak": peak}
        return {name: value for name, value in found.items() if value}


def find_gpu() -> Gpu | None:
    """The GPU that the backend computes on; None for a CPU."""
    from akidb_embeddings.compute.devices import device_info, select_backend

    backend = select_backend()
    if not backend.is_gpu:
        return None
    return make_gpu(device_info(backend.device), _nvidia_smi() if backend.name == "cuda" else "")


def make_gpu(info: Mapping[str, Any], smi: str) -> Gpu:
    """From what MLX says of its device, and the first line of nvidia-smi's table, if there is one."""
    name, memory, driver = [*(part.strip() for part in smi.partition("\n")[0].split(",")), "", "", ""][:3]
    size = next((info[key] for key in ("total_memory", "memory_size") if key in info), 0)
    return Gpu(
        str(info.get("device_name") or name or "unknown"),
        memory or (f"{int(size) / 1e9:.1f} GB" if size else ""),
        driver,
        str(info.get("architecture", "")),
    )


def _nvidia_smi() -> str:
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes that MLX holds of the device's memory: ``active`` for arrays, ``cache`` for reuse; ``peak`` of active."""

    active: int
    peak: int
    cache: int


def device_memory() -> DeviceMemory:
    """What this process holds."""
    from akidb_embeddings.compute.runtime import mx

    return DeviceMemory(mx.get_active_memory(), mx.get_peak_memory(), mx.get_cache_memory())
