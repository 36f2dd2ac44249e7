"""Letting go of the interpreter while a grammar is made beside a frame.

CPython hands its lock over only every 5 ms unless who has it lets go. Making a grammar of hundreds of rules takes tens
of milliseconds of Python, and whatever a frame does meanwhile would take twice as long. So whoever makes one on another
thread than the main one rests for a moment every half millisecond: the frame then loses a tenth, not the half.
"""

from __future__ import annotations

import threading
import time

__all__ = ["breathe"]

EVERY = 0.0005  # s
_REST = 0.00005
_last = threading.local()


def breathe() -> None:
    """Called for each part of a grammar by whoever makes it: a fraction of a microsecond when there is no need."""
    if threading.get_ident() == threading.main_thread().ident:
        return
    if time.perf_counter() - getattr(_last, "time", 0.0) > EVERY:
        time.sleep(_REST)
        _last.time = time.perf_counter()
