"""The processor: how many cores this process has, and how fast its matrix products are."""

import os
import time
from pathlib import Path, PurePosixPath

from akidb_embeddings.compute.runtime import mx

_CGROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_cores() -> int:
    """The cores this process may use: by affinity and its control group's quota, and by two variables.

    The variables are OPENBLAS_NUM_THREADS and OMP_NUM_THREADS. A quota of 1.5 cores is one: two threads would use it up
    and then stand still for the rest of each period.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [limit for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS") if (limit := _limit(name))]
    quota = cpu_quota()
    return min([cores, *limits, *([max(1, int(quota))] if quota else [])])


def threads_are_fixed() -> bool:
    """Whether the user has decided how many threads products get, with OPENBLAS_NUM_THREADS."""
    return _limit("OPENBLAS_NUM_THREADS") is not None


def cpu_quota() -> float | None:
    """The cores that this process's control groups allow on average, as in a container; None without a limit."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return None
    quotas = [quota for line in lines for folder in _group_folders(line) if (quota := _read_quota(folder)) is not None]
    return min(quotas, default=None)


def measure_matmul(size: int = 256) -> float:
    """GFLOP/s of a float32 [size, size] product on the CPU. Call it on the thread that runs the model."""
    with mx.stream(mx.Device(mx.cpu)):
        matrix = mx.ones((size, size))
        mx.eval(matrix @ matrix)
        start = time.perf_counter()
        mx.eval(matrix @ matrix)
    return 2 * size**3 / (time.perf_counter() - start) / 1e9


def _limit(name: str) -> int | None:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() and int(value) > 0 else None


def _group_folders(line: str) -> list[Path]:
    """The folders of a control group and the groups around it, from a line ``hierarchy:controllers:path``.

    In a container the path may be one that only the host has; the folder of the container's own group is then the root.
    """
    _, controllers, path = line.split(":", 2)
    if controllers and "cpu" not in controllers.split(","):
        return []
    root = _CGROUPS / "cpu" if controllers else _CGROUPS  # version 1 or 2
    inner = PurePosixPath(path.lstrip("/"))
    return [root / inner, *(root / parent for parent in inner.parents)]


def _read_quota(folder: Path) -> float | None:
    """The quota in cores of one control group; None without one."""
    try:
        if (file := folder / "cpu.max").exists():  # version 2: "150000 100000", or "max 100000"
            quota, period = file.read_text(encoding="utf-8").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no such file, "max", or -1
        return None
