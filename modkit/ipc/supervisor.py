"""Starts a child process, says hello to it, and tells when it has gone: all on a thread of its own.

The thread that starts a child stays for as long as the child lives: on Linux a child is tied to the *thread*
that made it. The owner (the game's thread) reads `news` and never waits; it talks through the Connection that
an arrival brings.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from modkit.errors import ModkitError
from modkit.ipc.framing import Limits
from modkit.ipc.handshake import check_answer, hello
from modkit.ipc.leash import job_for
from modkit.ipc.shared import Inlet, Region
from modkit.ipc.transport import Connection, Link, answer, pipe_link

__all__ = ["Arrived", "Gone", "Supervisor"]

log = logging.getLogger("modkit.ipc")
START_SECONDS = 60.0  # for a child to say hello, on a machine that is busy with a game's loading


@dataclass
class Arrived:
    """A child that has said hello. `connection` is the owner's from now on."""

    process: subprocess.Popen[bytes]
    connection: Connection

    def kill(self) -> None:
        """Ends the process at once; its going is told in the news."""
        with contextlib.suppress(OSError):
            self.process.kill()


@dataclass
class Gone:
    """A child that has ended, or that could not be started (`child` None); why, as a sentence."""

    child: Arrived | None
    why: str


class Supervisor:
    """One child at a time. start(), stop() and `news` belong to the owner's thread.

    shared: what the child says after its greeting comes through memory that both have, where there can be such.
    """

    def __init__(
        self, command: Sequence[str], name: str, limits: Limits, memory: int | None = None, *, shared: bool = False
    ) -> None:
        self.news: collections.deque[Arrived | Gone] = collections.deque()
        self._command = list(command)
        self._name = name
        self._limits = limits
        self._memory = memory
        self._shared = shared
        self._orders: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, delay: float = 0.0) -> None:
        """Starts a child after `delay` seconds; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name=f"{self._name}-supervisor", daemon=True)
            self._thread.start()
        self._orders.put(delay)

    def stop(self, timeout: float = 10.0) -> None:
        """Kills the child, if there is one, and ends the thread. Blocks for the milliseconds that takes."""
        self._stopping.set()
        self._orders.put(None)
        process = self._process
        if process is not None:
            with contextlib.suppress(OSError):
                process.kill()
        if self._thread is not None:
            self._thread.join(timeout)
            self._thread = None
        for news in self.news:
            if isinstance(news, Arrived):
                news.connection.close()
        self.news.clear()

    def _main(self) -> None:
        while (delay := self._orders.get()) is not None:
            if not self._stopping.wait(delay):
                try:
                    self._one_child()
                except Exception as error:  # the owner must hear of whatever it was
                    log.exception("the supervisor of %s failed", self._name)
                    self.news.append(Gone(None, f"{self._name} cannot be started: {type(error).__name__}: {error}"))

    def _one_child(self) -> None:
        last: collections.deque[str] = collections.deque(maxlen=20)
        flags = 0x08000000 if sys.platform == "win32" else 0  # CREATE_NO_WINDOW
        region = Region.make() if self._shared else None
        try:
            process = subprocess.Popen(
                [*self._command, *([region.name] if region else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                creationflags=flags,
                pass_fds=region.fds if region else (),
            )
        except (OSError, ValueError) as error:
            if region is not None:
                region.close()
            self.news.append(Gone(None, f"{self._command[0]} cannot be started: {error}"))
            return
        self._process = process
        job = job_for(process, self._memory)
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        link: Link = pipe_link(os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno()))
        if region is not None:
            region.forget_fds()
        connection = Connection(link, self._limits)
        process.stdin.close()
        process.stdout.close()
        child: Arrived | None = None
        why = ""
        try:
            if self._stopping.is_set():
                process.kill()
            greeting = hello(self._name)
            connection.send(greeting)
            check_answer(answer(connection, START_SECONDS, self._stopping), self._name)
            if region is not None:
                connection.link = Inlet(link, region)
            child = Arrived(process, connection)
            self.news.append(child)
        except ModkitError as error:
            why = str(error)
            process.kill()
        with process.stderr as stderr:
            for line in stderr:
                text = line.decode("utf-8", "replace").rstrip()[:500]
                last.append(text)
                log.debug("%s: %s", self._name, text)
        code = process.wait()
        self._process = None
        del job
        if child is None:
            connection.close()
            if region is not None:
                region.close()
            why = next((line for line in reversed(last) if line.strip()), "") or why
        self.news.append(Gone(child, _sentence(self._name, code, why if child is None else "", last)))


def _sentence(name: str, code: int, why: str, last: Sequence[str]) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    words = why or next((line for line in reversed(last) if line.strip()), "")
    return f"the process {name} {how}" + (f": {words[:300]}" if words else "")
