"""How many cores there are, and how fast they multiply."""

import os
from pathlib import Path

import pytest

from akidb_embeddings.compute import cores as module


@pytest.mark.parametrize(("value", "cores"), [("1", 1), ("0", None), ("", None), ("many", None), ("99999", None)])
@pytest.mark.parametrize("name", ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"])
def test_the_usual_variables_limit_the_cores(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, cores: int | None
) -> None:
    for each in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(each, raising=False)
    every = module.available_cores()
    monkeypatch.setenv(name, value)
    assert module.available_cores() == (cores or every)


GROUPS = {
    "no limit": ("0::/job", {"job/cpu.max": "max 100000"}, None),
    "one and a half cores": ("0::/job", {"job/cpu.max": "150000 100000"}, 1.5),
    "limited by the group around it": ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5),
    "the smaller of two": ("0::/a/b", {"a/b/cpu.max": "100000 100000", "a/cpu.max": "400000 100000"}, 1.0),
    "a container, whose path only the host has": ("0::/docker/4f2", {"cpu.max": "200000 100000"}, 2.0),
    "version 1": ("4:cpu,cpuacct:/job", {"cpu/job/cpu.cfs_quota_us": "75", "cpu/job/cpu.cfs_period_us": "50"}, 1.5),
    "version 1 without a limit": ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "50000"}, None),
    "other controllers": ("3:cpuset:/job", {"cpu/job/cpu.cfs_quota_us": "1", "cpu/job/cpu.cfs_period_us": "1"}, None),
    "an unreadable file": ("0::/", {"cpu.max": "what"}, None),
}  # fmt: skip


@pytest.mark.parametrize(("line", "files", "quota"), GROUPS.values(), ids=GROUPS)
def test_the_quota_of_control_groups(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, files: dict[str, str], quota: float | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")
    (tmp_path / "self").write_text(f"12:pids:/\n{line}\n")
    monkeypatch.setattr(module, "_CGROUPS", tmp_path)
    monkeypatch.setattr(module, "_OWN_GROUPS", tmp_path / "self")
    assert module.cpu_quota() == quota


@pytest.mark.parametrize(("quota", "cores"), [(0.5, 1), (1.9, 1), (2.0, 2), (100.0, 3), (None, 3)])
def test_a_quota_limits_the_cores(monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(module, "cpu_quota", lambda: quota)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert module.available_cores() == cores


def test_only_openblas_own_variable_fixes_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for value, is_fixed in (("", False), ("0", False), ("2", True)):
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", value)
        assert module.threads_are_fixed() is is_fixed


def test_matmul_speed_is_a_speed() -> None:
    assert 0.1 < module.measure_matmul(64) < 1e5
