"""Cores and memory that this process is really allowed to use."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Return the cores granted by affinity, the cgroup's quota and Slurm, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [float(cores or 1)]
    quota = _words(root / "sys/fs/cgroup/cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        limits.append(float(quota[0]) / float(quota[1]))
    old_quota = _words(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    old_period = _words(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if old_quota and old_period and float(old_quota[0]) > 0:
        limits.append(float(old_quota[0]) / float(old_period[0]))
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdigit():
        limits.append(float(slurm))
    return max(1, int(min(limits)))


def usable_memory_gb(root: Path = Path("/")) -> float:
    """Return the memory granted by the machine, the cgroup and Slurm, in GiB."""
    limits = []
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            limits.append(float(line.split()[1]) / 2**20)
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        value = _words(root / "sys/fs/cgroup" / name)
        if value and value[0].isdigit():
            limits.append(float(value[0]) / 2**30)
    slurm = os.environ.get("SLURM_MEM_PER_NODE", "")
    if slurm.isdigit() and int(slurm) > 0:
        limits.append(float(slurm) / 1024)
    return min(limits, default=4.0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    lines = _lines(path)
    return lines[0].split() if lines else []
