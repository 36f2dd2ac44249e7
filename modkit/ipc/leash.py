"""What ties a child to its parent, and what keeps it from taking the machine with it.

The child's side (`hold_on`): on Linux the kernel kills it when its parent ends, whatever it is doing; everywhere
else the end of its stdin does. The parent's side (`job_for`): on Windows a job object that dies with its
handle. Limits are the system's own (rlimits; a job's), so they hold against native code as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import Any

__all__ = ["give_way", "hold_on", "job_for", "limit"]

_PR_SET_PDEATHSIG = 1


def hold_on(parent: int) -> None:
    """In the child, first thing: end when `parent` (its pid) does. Ctrl-C in a terminal is the parent's to answer."""
    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(ImportError, OSError, AttributeError):  # without ctypes, stdin's end remains
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent and os.getppid() != parent:  # it ended before the kernel was told
        os._exit(1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("600")  # when memory runs out, this process goes before the game


def limit(memory: int | None = None, processor_seconds: int | None = None) -> None:
    """In the child: at most so many bytes of address space and seconds of processor time. No core dumps. POSIX only."""
    try:
        import resource
    except ImportError:
        return
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, processor_seconds),
    ):
        if value is not None:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, (value, value))


def give_way() -> None:
    """In the child: this thread alone, which hands on what others compute, goes behind whoever wants the processor.

    On Linux; elsewhere a thread has no such weight of its own that the system would let us set."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def job_for(process: Any, memory: int | None = None) -> object | None:
    """In the parent, on Windows: a job object around `process` that ends it when the returned handle is dropped.
    None elsewhere."""
    if sys.platform == "win32":
        return _windows_job(process, memory)
    return None


def _windows_job(process: Any, memory: int | None) -> object | None:
    import ctypes
    from ctypes import wintypes

    class Basic(ctypes.Structure):
        _fields_ = [
            ("times", ctypes.c_int64 * 2),
            ("flags", wintypes.DWORD),
            ("sizes", ctypes.c_size_t * 2),
            ("processes", wintypes.DWORD),
            ("affinity", ctypes.c_size_t),
            ("classes", wintypes.DWORD * 2),
        ]

    class Extended(ctypes.Structure):
        _fields_ = [("basic", Basic), ("io", ctypes.c_uint64 * 6), ("memory", ctypes.c_size_t * 4)]

    kernel: Any = getattr(ctypes, "WinDLL")("kernel32", use_last_error=True)  # noqa: B009  typeshed has it on Windows alone
    kernel.CreateJobObjectW.restype = wintypes.HANDLE
    job = kernel.CreateJobObjectW(None, None)
    if not job:
        return None
    limits = Extended()
    limits.basic.flags = 0x2000 | (0x100 if memory else 0)  # KILL_ON_JOB_CLOSE, PROCESS_MEMORY
    limits.memory[0] = memory or 0
    handle = wintypes.HANDLE(job)
    kernel.SetInformationJobObject(handle, 9, ctypes.byref(limits), ctypes.sizeof(limits))
    kernel.AssignProcessToJobObject(handle, wintypes.HANDLE(int(process._handle)))

    class Job:
        def __del__(self) -> None:
            kernel.CloseHandle(handle)

    return Job()
