"""How much memory this process may still take. Only asks the system; any thread."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["free_memory"]


def free_memory() -> int:
    """Bytes that could be allocated without swapping; 0 when the system does not say."""
    system: str = sys.platform  # by name: mypy knows only the one it runs on
    if system == "win32":
        return _windows()
    if system.startswith("linux"):
        known = [value for value in (_meminfo(), _cgroup()) if value > 0]
        return min(known, default=0)
    try:  # macOS says how much there is, not how much is free: nobody should plan with more than three quarters
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4
    except (OSError, ValueError):
        return 0


def _meminfo() -> int:
    try:
        with open("/proc/meminfo", "rb") as file:
            for line in file:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _cgroup() -> int:
    """What a container's limit leaves; the files of either version of cgroups."""
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            return max(1, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # "max": no limit
            continue
    return 0


def _windows() -> int:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *((name, ctypes.c_uint64) for name in ("total", "free", "a", "b", "c", "d", "e")),
        )

    status = Status(length=ctypes.sizeof(Status))
    ask = getattr(ctypes, "windll").kernel32.GlobalMemoryStatusEx  # noqa: B009  only Windows has it
    return int(status.free) if ask(ctypes.byref(status)) else 0
