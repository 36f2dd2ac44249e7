"""Three games to measure in: one that waits, one at 60 frames a second, one that never rests.

A frame is pure Python of a fixed amount (8 ms of it when nothing disturbs), then one tick. Times are
nanoseconds. Standard library only: rivals run this in environments of their own.
"""

from __future__ import annotations

import resource
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["FRAME_NS", "MODES", "WORK_MS", "Frames", "calibrate", "faults", "rss_kib", "run", "work"]

MODES = ("idle", "60fps", "flat")
FRAME_NS = 1_000_000_000 // 60
WORK_MS = 8.0


def work(amount: int) -> int:
    """Plain Python that allocates little and never lets go of the interpreter by itself."""
    x = 1
    for i in range(amount):
        x = (x * 1103515245 + i) & 0x7FFFFFFF
    return x


def calibrate(milliseconds: float = WORK_MS) -> int:
    """The amount of work() that takes so long on this machine when it is left alone."""
    amount = 20_000
    best = min(_timed(amount) for _ in range(20))
    amount = max(1, round(amount * milliseconds * 1e6 / best))
    best = min(_timed(amount) for _ in range(60))
    return max(1, round(amount * milliseconds * 1e6 / best))


def _timed(amount: int) -> int:
    begun = time.perf_counter_ns()
    work(amount)
    return time.perf_counter_ns() - begun


@dataclass
class Frames:
    """What a run of frames took, in nanoseconds: the Python of each frame, and its tick."""

    work: Sequence[int] = ()
    tick: Sequence[int] = ()


def run(mode: str, amount: int, tick: Callable[[], None], over: Callable[[int], bool]) -> Frames:
    """Plays frames in a mode until over(frames so far) is true. The idle host ticks each millisecond."""
    work_ns, tick_ns = array("q"), array("q")
    clock = time.perf_counter_ns
    busy = mode != "idle"
    n = 0
    boundary = clock() + FRAME_NS
    while not over(n):
        begun = clock()
        if busy:
            work(amount)
        worked = clock()
        tick()
        ticked = clock()
        if busy:
            work_ns.append(worked - begun)
        tick_ns.append(ticked - worked)
        n += 1
        if mode == "idle":
            time.sleep(0.001)
        elif mode == "60fps":
            left = boundary - clock()
            if left > 0:
                time.sleep(left / 1e9)
                boundary += FRAME_NS
            else:  # late: the next frame begins now, as in a game without a queue of frames
                boundary = clock() + FRAME_NS
    return Frames(work_ns, tick_ns)


def faults() -> int:
    """Page faults of this process so far, minor and major."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


def rss_kib() -> int:
    """Resident memory of this process now; where the system does not tell, the most it ever had."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak
