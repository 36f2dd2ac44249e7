"""The helper thread: Python work that must not run inside a frame (retrieval, templates, commits).

One thread per engine, started at first use, jobs in order. It never touches the worker or a stream:
what a job makes is handed back through a deque that `tick()` empties.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

__all__ = ["Helper"]

log = logging.getLogger("modkit.engine")


class Helper:
    """Runs functions one after another on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, job: Callable[[], None]) -> None:
        """Queues a job; returns at once. An exception in it is logged, and the next job runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _main(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # the thread must outlive one bad job
                log.exception("a background job failed")

    def close(self, timeout: float = 10.0) -> None:
        """Finishes what is queued (a save must not lose its last commit), then ends the thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(timeout)
            self._thread = None
