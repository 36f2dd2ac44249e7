"""Stops a call into a mod that does not come back, when the host was asked to (`watchdog="interrupt"`).

A thread looks a few times within the limit at what runs; when it is still the same call, `Overdue` is raised in the
host's thread. That ends a loop of Python code, within milliseconds. It does not end a single long call into
C (a `time.sleep`, a huge allocation), nor a mod that catches everything: only another process does (`run =
"worker"`). On some interpreters such an exception can come up a few instructions after the call it was meant for;
`Host.tick` has a second net for that.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modkit.host.guard import Guard

__all__ = ["Overdue", "Watchdog"]

_log = logging.getLogger("modkit.host")


class Overdue(BaseException):
    """The call took longer than the watchdog allows. Not an Exception, so that `except Exception` does not keep it."""

    def __str__(self) -> str:
        return "the watchdog stopped it, because it did not come back"


class Watchdog:
    """Watches the calls that `guard` makes on the thread `ident`; `limit` is in seconds of real time."""

    def __init__(self, guard: Guard, ident: int, limit: float) -> None:
        import ctypes  # only hosts that ask for a watchdog pay for it

        self._set: Any = ctypes.pythonapi.PyThreadState_SetAsyncExc
        self._ident = ctypes.c_ulong(ident)
        self._overdue = ctypes.py_object(Overdue)
        self._guard = guard
        self._step = limit / 4
        self._closing = threading.Event()
        self._firing = False
        self.fired: tuple[Any, Any] | None = None
        """the call it was last fired at, until `settle()`"""
        self._thread = threading.Thread(target=self._watch, name="modkit-watchdog", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        seen, looks = None, 0
        while not self._closing.wait(self._step):
            running = self._guard.running
            looks = looks + 1 if running is seen and running is not None else 0
            seen = running
            if looks >= 4:
                looks = 0
                self._firing = True
                if self._guard.running is seen:  # as late as can be asked
                    self.fired = seen
                    self._set(self._ident, self._overdue)
                self._firing = False

    def settle(self) -> tuple[Any, Any] | None:
        """On the host's thread, between calls: let an exception that is still on its way come up here, harmlessly.

        Returns the call that was stopped since the last time, or None.
        """
        try:
            while self._firing:  # no lock: the exception could come up while it is held
                time.sleep(0)
            if self.fired is None:
                return None
            for _ in range(100):  # a loop is where the interpreter looks for it; taking it back would leave 3.11
                pass  # looking for ever
        except Overdue:
            _log.debug("the watchdog's exception came up after its call")
        fired, self.fired = self.fired, None
        return fired

    def close(self) -> None:
        """End the thread. May be called twice."""
        self._closing.set()
        self._thread.join(5.0)
