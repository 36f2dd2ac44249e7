"""What a report has to say about where it was measured: processor, system, versions. No host names."""

from __future__ import annotations

import datetime
import os
import platform
import re
import resource
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["Others", "describe", "revision", "today"]


def _processor() -> str:
    try:
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
        )
        if found:
            return found[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def revision() -> str:
    """The commit that is measured, marked when the working tree has changes to the library; "" outside a checkout."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return ""
        return done.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD")
    changed = git("status", "--porcelain", "--", "modkit", "benchmarks/*.py", "benchmarks/*.c")
    return f"commit {commit}{' and uncommitted changes' if changed else ''}" if commit else ""


def _provider() -> str:
    for name in ("llama-cpp-python", "xllamacpp"):  # in the order in which modkit looks for them
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return ""


class Others:
    """How busy everybody else keeps the processors while children of this process are measured."""

    def __init__(self) -> None:
        self._begun = self._look()

    @staticmethod
    def _look() -> tuple[float, float, float]:
        """Seconds of clock, of processor time of the whole machine, and of ours and our children's."""
        own = sum(
            usage.ru_utime + usage.ru_stime
            for usage in (
                resource.getrusage(resource.RUSAGE_SELF),
                resource.getrusage(resource.RUSAGE_CHILDREN),
            )
        )
        try:
            fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
        except OSError:
            return time.monotonic(), own, own  # unknown: nobody else, as far as one can tell
        ticks = [int(field) for field in fields]
        busy = sum(ticks[:3]) + sum(ticks[5:8])  # without idle and waiting; irq and stolen time are others'
        return time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), own

    def cores(self) -> float:
        """Processors that others used since this object was made, on average: 0.0 is a quiet machine."""
        then, now = self._begun, self._look()
        seconds, machine, own = (after - before for before, after in zip(then, now, strict=True))
        return max(0.0, (machine - own) / seconds) if seconds > 0 else 0.0


def describe() -> list[str]:
    """Lines for a report: machine, system, Python, modkit."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    import modkit

    provider = _provider() if "MODKIT_LLAMA" not in os.environ else "the build that MODKIT_LLAMA names"
    return [
        f"{_processor()}, {usable} cores usable, {platform.machine()}, {platform.system()}",
        f"Python {platform.python_version()}, modkit {modkit.__version__} ({revision() or 'no checkout'})",
        f"llama.cpp from {provider}",
    ]


def today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
