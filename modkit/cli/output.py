"""What a command says: lines on stdout, troubles on stderr, a progress bar on a terminal.

A windowed host has neither stream, and a terminal may know fewer characters than a line has: both are no error.
"""

from __future__ import annotations

import codecs
import io
import sys
import time
from typing import Any

__all__ = ["Bar", "complain", "hear", "listen", "put", "remark", "say", "show", "write"]


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
    stream.write(_shown(stream, text))


def listen() -> None:
    """Makes stdin take whatever is typed: a terminal without a locale (LANG=C) sends UTF-8 all the same."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        ascii_only = codecs.lookup(sys.stdin.encoding).name == "ascii"
        sys.stdin.reconfigure(encoding="utf-8" if ascii_only else None, errors="replace")


def hear(prompt: str) -> str:
    """The next line of stdin; raises EOFError at its end, and where there is none."""
    if sys.stdin is None:
        raise EOFError
    return input(prompt if sys.stdout is None else _shown(sys.stdout, prompt))


def _shown(stream: Any, text: str) -> str:
    encoding = stream.encoding or "utf-8"
    return str(text.encode(encoding, "replace").decode(encoding))
