"""Byte channels to another process that never block: pipes, sockets, a pair of growing files.

A Link has read() and write() that take what can be taken now. A Connection puts frames through one.
Each belongs to one thread.
"""

from __future__ import annotations

import collections
import contextlib
import io
import os
import select
import socket
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from modkit.errors import ProtocolError
from modkit.ipc.framing import Decoder, Limits, encode

__all__ = ["Closed", "Connection", "FileLink", "Link", "PipeLink", "SocketLink", "ThreadLink", "answer", "pipe_link"]

CHUNK = 16384  # bytes that one read takes, which bounds what one frame of the game has to look at


class Closed(ProtocolError):
    """The other side is gone."""


class Link(Protocol):
    """A byte channel both ways."""

    def read(self) -> bytes:
        """What has arrived, at most CHUNK bytes; b"" when nothing has. Raises Closed at the end."""

    def write(self, data: memoryview) -> int:
        """Takes as many bytes as it can now, and says how many. Raises Closed."""

    def wait_on(self) -> int | None:
        """A descriptor that select() can wait for until there is something to read; None when there is none."""

    def close(self) -> None: ...


class PipeLink:
    """Two descriptors, made non-blocking: the ends of pipes, or a terminal's."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader = reader
        self._writer = writer
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        _widen(reader, writer)
        self._open = True

    def read(self) -> bytes:
        try:
            data = os.read(self._reader, CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise Closed(f"the pipe broke: {error.strerror}") from None
        if not data:
            raise Closed("the other process closed the pipe")
        return data

    def write(self, data: memoryview) -> int:
        try:
            return os.write(self._writer, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise Closed(f"the pipe broke: {error.strerror}") from None

    def wait_on(self) -> int | None:
        return self._reader

    def close(self) -> None:
        if self._open:
            self._open = False
            for fd in {self._reader, self._writer}:
                with contextlib.suppress(OSError):
                    os.close(fd)


def _widen(*fds: int) -> None:
    """Room for what arrives between two frames of a slow game; 64 KiB is what Linux gives unasked."""
    if sys.platform.startswith("linux"):
        import fcntl

        for fd in fds:
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(fd, getattr(fcntl, "F_SETPIPE_SZ", 1031), 1 << 19)


class SocketLink:
    """A connected stream socket (TCP on the loopback, or a Unix socket), made non-blocking."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock

    def read(self) -> bytes:
        try:
            data = self._socket.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            raise Closed(f"the connection broke: {error.strerror}") from None
        if not data:
            raise Closed("the other side closed the connection")
        return data

    def write(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise Closed(f"the connection broke: {error.strerror}") from None

    def wait_on(self) -> int | None:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


class ThreadLink:
    """Blocking descriptors, each moved by a thread: for pipes of Windows, which cannot be asked without waiting."""

    ROOM = 1 << 20

    def __init__(self, reader: int, writer: int) -> None:
        self._fds: tuple[int, ...] = (reader, writer)
        self._arrived: collections.deque[bytes] = collections.deque()
        self._leaving: collections.deque[bytes] = collections.deque()
        self._queued = 0
        self._held = 0
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._ended = False
        for name, work in (("modkit-ipc-read", self._pull), ("modkit-ipc-write", self._push)):
            threading.Thread(target=work, name=name, daemon=True).start()

    def _pull(self) -> None:
        while True:
            try:
                data = os.read(self._fds[0], CHUNK)
            except OSError:
                data = b""
            with self._news:
                if not data or self._ended:
                    self._ended = True
                    self._news.notify_all()
                    return
                self._arrived.append(data)
                self._held += len(data)
                while self._held > self.ROOM and not self._ended:  # back-pressure: the pipe fills instead
                    self._news.wait()

    def _push(self) -> None:
        while True:
            with self._news:
                while not self._leaving and not self._ended:
                    self._news.wait()
                if not self._leaving:
                    return
                data = self._leaving.popleft()
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._fds[1], rest) :]
            except OSError:
                with self._news:
                    self._ended = True
                    self._news.notify_all()
                return
            with self._news:
                self._queued -= len(data)

    def read(self) -> bytes:
        with self._news:
            if self._arrived:
                data = self._arrived.popleft()
                self._held -= len(data)
                self._news.notify_all()
                return data
            if self._ended:
                raise Closed("the other process closed the pipe")
            return b""

    def write(self, data: memoryview) -> int:
        with self._news:
            if self._ended:
                raise Closed("the other process closed the pipe")
            taken = bytes(data[: max(0, self.ROOM - self._queued)])
            if taken:
                self._queued += len(taken)
                self._leaving.append(taken)
                self._news.notify_all()
            return len(taken)

    def wait_on(self) -> int | None:
        return None

    def close(self) -> None:
        with self._news:
            if self._ended and not self._fds:
                return
            self._ended = True
            self._news.notify_all()
            fds, self._fds = self._fds, ()
        for fd in set(fds):
            with contextlib.suppress(OSError):
                os.close(fd)


def pipe_link(reader: int, writer: int) -> Link:
    """The link for a pair of pipe ends on this system."""
    kinds: dict[bool, type[ThreadLink] | type[PipeLink]] = {True: ThreadLink, False: PipeLink}
    return kinds[sys.platform == "win32"](reader, writer)


def _own_file(path: Path, flags: int) -> int:
    """Opens an ordinary file: no link is followed, no pipe waited for. Raises OSError."""
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT"):
        flags |= getattr(os, name, 0)
    fd = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path.name} is no ordinary file")
    return fd


class FileLink:
    """Two ordinary files that only grow: the peer appends to `reader`, we append to `writer`.

    For hosts whose scripts can do nothing but open files. Neither side ever waits for the other: reading at
    the end of a file gives nothing. `limit` bytes each way, after which the session is over.
    """

    def __init__(self, reader: Path, writer: Path, limit: int = 1 << 28) -> None:
        self._read = io.FileIO(_own_file(reader, os.O_RDONLY), "rb")
        try:
            with contextlib.suppress(FileNotFoundError):
                writer.unlink()  # whatever stood there, such as a link to somewhere else, is not written to
            made = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._write = io.FileIO(_own_file(writer, made), "ab")
        except OSError:
            self._read.close()
            raise
        self._left = [limit, limit]
        self.paths = (reader, writer)

    def read(self) -> bytes:
        try:
            data = self._read.read(CHUNK) or b""
        except (OSError, ValueError) as error:
            raise Closed(f"{self.paths[0].name} cannot be read: {error}") from None
        self._left[0] -= len(data)
        if self._left[0] < 0:
            raise Closed(f"{self.paths[0].name} has grown too long: begin a new session")
        return data

    def write(self, data: memoryview) -> int:
        self._left[1] -= len(data)
        if self._left[1] < 0:
            raise Closed(f"{self.paths[1].name} has grown too long: begin a new session")
        try:
            return int(self._write.write(data) or 0)
        except (OSError, ValueError) as error:
            raise Closed(f"{self.paths[1].name} cannot be written: {error}") from None

    def wait_on(self) -> int | None:
        return None

    def close(self) -> None:
        self._read.close()
        self._write.close()


class Connection:
    """Frames over a Link. send() never waits: what the link does not take now waits in `outgoing` bytes."""

    def __init__(self, link: Link, limits: Limits | None = None) -> None:
        self.link = link
        self.decoder = Decoder(limits)
        self.leaving = bytearray()  # what the other side has not taken yet

    @property
    def outgoing(self) -> int:
        """Bytes that the other side has not taken yet."""
        return len(self.leaving)

    def send(self, message: list[Any]) -> None:
        """Queues a message and gives the link what it takes. Raises Closed."""
        self.leaving += encode(message)
        self.flush()

    def flush(self) -> None:
        """Gives the link what it takes now. Raises Closed."""
        while self.leaving:
            with memoryview(self.leaving) as view:
                taken = self.link.write(view[:65536])
            if not taken:
                return
            del self.leaving[:taken]

    def receive(self) -> int:
        """Takes one chunk from the link into the decoder; how many bytes. Raises Closed."""
        data = self.link.read()
        if data:
            self.decoder.feed(data)
        return len(data)

    def close(self) -> None:
        """Closes the link. What was not taken is lost."""
        self.link.close()


def answer(connection: Connection, seconds: float, stopping: threading.Event | None = None) -> list[Any]:
    """Waits for one message. Raises ProtocolError when it does not come in time."""
    deadline = time.monotonic() + seconds
    while True:
        message = connection.decoder.next()
        if message is not None:
            return message
        if stopping is not None and stopping.is_set():
            raise Closed("stopped")
        if time.monotonic() > deadline:
            raise ProtocolError(f"no answer came within {seconds:g} s")
        connection.flush()
        if not connection.receive():
            fd = connection.link.wait_on()
            if fd is None:
                time.sleep(0.002)
            else:
                select.select([fd], [], [], 0.05)
