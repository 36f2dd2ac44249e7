"""What a command says: lines on stdout, troubles on stderr, a progress bar on a terminal.

A windowed host has neither stream, and a terminal may know fewer characters than a line has: both are no error.
"""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["Bar", "complain", "put", "remark", "say", "show", "write"]


def say(text: str) -> None:
    """A line on stdout."""
    put(sys.stdout, text + "\n")


def write(text: str) -> None:
    """A part of a line, shown at once."""
    put(sys.stdout, text)
    if sys.stdout is not None:
        sys.stdout.flush()


def remark(text: str) -> None:
    """A line beside the output, on stderr."""
    put(sys.stderr, f"{text}\n")


def complain(text: str) -> None:
    """What went wrong, on stderr."""
    remark(f"modkit: {text}")


def show(engine: Any, stream: Any) -> None:
    """Write a stream's words as they come; raises its error."""
    while not stream.done:
        engine.tick()
        write(stream.take())
        time.sleep(0.005)
    say(stream.take())
    if stream.error is not None:
        raise stream.error


class Bar:
    """A progress bar on a terminal; nothing anywhere else."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._shown = sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, share: float) -> None:
        if self._shown:
            done = round(share * 30)
            sys.stderr.write(f"\r{self._label} [{'#' * done}{'.' * (30 - done)}] {share:4.0%}")
            sys.stderr.flush()

    def close(self) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")


def put(stream: Any, text: str) -> None:
    """`text` as this stream can show it."""
    if stream is None:  # a windowed host has none
        return
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
