"""The machine that measured: chip, cores, memory, system, versions, BLAS, backend. No paths, no host name."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil

from bench.gpu import find_gpu

_DISTRIBUTIONS = (
    "akidb-embeddings", "mlx", "mlx-cpu", "mlx-metal", "mlx-cuda-12", "mlx-cuda-13", "scipy-openblas32", "numpy",
    "tokenizers",
)  # fmt: skip


def describe_machine() -> dict[str, str]:
    """Name and value of everything that a figure depends on beside the suite's options."""
    from akidb_embeddings.compute.cores import available_cores
    from akidb_embeddings.compute.devices import select_backend

    backend, gpu = select_backend(), find_gpu()
    dtype = str(backend.dtype).rpartition(".")[2]
    return {
        "chip": chip(),
        **(gpu.describe() if gpu else {}),
        "cores": f"{available_cores()} for this process, {psutil.cpu_count(logical=False) or '?'} physical, "
        f"{os.cpu_count()} logical",
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
        "system": platform.platform(),
        "Python": platform.python_version(),
        "versions": ", ".join(versions()),
        "BLAS": blas(),
        "backend": f"{backend.name}: {dtype}, weights {backend.storage.value}, {backend.streams} streams, "
        f"{backend.tokens_per_batch} tokens a micro-batch",
    }


def device_name() -> str:
    """What computes: the GPU's name, else the processor's."""
    gpu = find_gpu()
    return gpu.name if gpu else chip()


def load() -> str:
    """The load averages: other programs that were busy spoil figures."""
    return " ".join(f"{average:.1f}" for average in os.getloadavg())


class OtherPrograms:
    """How much of the machine others use from now on, or a host that it shares: with that, figures are no figures."""

    def __init__(self) -> None:
        self._start, self._busy, self._own = time.monotonic(), _busy_seconds(), _own_seconds()

    @property
    def share(self) -> float:
        """Their share of all cores since the start, percent."""
        others = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        elapsed = time.monotonic() - self._start
        return max(0.0, 100 * others / elapsed / (os.cpu_count() or 1)) if elapsed else 0.0


def _busy_seconds() -> float:
    """What all cores have worked since the machine started."""
    times = psutil.cpu_times()._asdict()
    # What guests take is in "user" too.
    return float(sum(value for name, value in times.items() if name not in ("idle", "iowait", "guest", "guest_nice")))


def _own_seconds() -> float:
    """What this process has worked, and its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def is_apple_silicon() -> bool:
    """Whether the absolute targets are meant for this machine."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def chip() -> str:
    """The processor's name, as its maker calls it where the system tells."""
    try:
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return " ".join(line.partition(":")[2].split())
    except (OSError, subprocess.SubprocessError):
        pass
    return platform.processor() or platform.machine()


def slug(chip_name: str) -> str:
    """The chip's name as part of a file's: ``apple-m2-pro``."""
    words = re.sub(r"\(R\)|\(TM\)|CPU|Processor", " ", chip_name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-.")[:40] or "machine"


def versions() -> list[str]:
    """Name and version of each installed distribution that computes."""
    found = []
    for name in _DISTRIBUTIONS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def blas() -> str:
    """The library of matrix products on the CPU, in its own words."""
    from akidb_embeddings.compute.runtime import BLAS

    return f"{Path(BLAS.path).name}: {BLAS.description}" if BLAS.path else "MLX's own"
