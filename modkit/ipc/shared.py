"""Bytes to another process through memory that both have: nobody calls the system, and nobody waits.

A pipe costs the frame that reads it some 30 µs when there is news, and a call when there is none. Here the reader
looks at a number. One process writes and one reads, each on one thread:

    0    how many bytes were written ever; then five numbers that are looked at and not read: the writer's
    64   how many were read ever; the reader's
    128  the bytes, round and round

The writer puts the bytes down before it says so, and the reader takes them before it says so; a process killed
between the two has said nothing. That holds where the processor keeps the order of stores (x86); elsewhere there is
no Region, and a pipe does. Both sides believe nothing of the other's number but its distance from their own.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from typing import Any

from modkit.errors import ProtocolError
from modkit.ipc.framing import records_of
from modkit.ipc.transport import CHUNK, Link

__all__ = ["Inlet", "Outlet", "Region"]

_COUNTS = 5
_READ, _BYTES = 64, 128  # where the reader's number and the bytes begin
_ROOM = 1 << 19  # bytes on their way at most: what arrives between two frames of a slow game


class Region:
    """The memory. Made by one process and opened by another, which is told its `name`.

    `name` is a descriptor's number that the other process inherits (`fds`), or on Windows the name of a mapping.
    """

    def __init__(self, memory: mmap.mmap, name: str, fds: tuple[int, ...]) -> None:
        self._memory = memory
        self.name = name
        self.fds = fds
        whole = memoryview(memory)
        self.written = whole[:8].cast("Q")
        self.counts = whole[8 : 8 + 8 * _COUNTS].cast("Q")
        self.read = whole[_READ : _READ + 8].cast("Q")
        self.bytes = whole[_BYTES:]
        self._whole = whole

    @classmethod
    def make(cls) -> Region | None:
        """A fresh one; None where there can be none."""
        # here: the child, who is waited for, opens a region and needs no worker yet
        from modkit.native.worker import ORDERED

        if not ORDERED:
            return None
        if sys.platform == "win32":
            import secrets

            name = f"modkit-{os.getpid()}-{secrets.token_hex(16)}"
            with contextlib.suppress(OSError):
                return cls(mmap.mmap(-1, _BYTES + _ROOM, tagname=name), name, ())
            return None
        with contextlib.suppress(OSError, ValueError):
            fd = _nameless_file()
            try:
                os.ftruncate(fd, _BYTES + _ROOM)
                return cls(mmap.mmap(fd, _BYTES + _ROOM), str(fd), (fd,))
            except BaseException:
                os.close(fd)
                raise
        return None

    @classmethod
    def open(cls, name: str) -> Region:
        """The one that another process has made. Raises OSError or ValueError when it is not there."""
        if sys.platform == "win32":
            return cls(mmap.mmap(-1, _BYTES + _ROOM, tagname=name), name, ())
        fd = int(name)
        try:
            return cls(mmap.mmap(fd, _BYTES + _ROOM), name, ())
        finally:
            os.close(fd)  # the mapping keeps the file

    def forget_fds(self) -> None:
        """Closes what only the other process needed, once it has been started."""
        for fd in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.fds = ()

    def close(self) -> None:
        self.forget_fds()
        for view in (self.written, self.counts, self.read, self.bytes, self._whole):
            view.release()
        self._memory.close()


def _nameless_file() -> int:
    """Memory with a descriptor: a file that no folder has."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("modkit", os.MFD_CLOEXEC)
    import tempfile

    fd, path = tempfile.mkstemp(prefix="modkit-")
    os.unlink(path)
    return fd


class Inlet:
    """A Link that reads from a Region and writes into another Link, the pipe beside it.

    There is something to read when written[0] != at: a frame looks by itself before it calls. counts: numbers that the
    writer tells beside what it writes (Outlet.tell()).
    """

    def __init__(self, beside: Link, region: Region) -> None:
        self._beside = beside
        self._region = region
        self.written: Any = region.written
        self.counts: Any = region.counts
        self.at = 0  # read ever

    def read(self) -> bytes:
        size = self.written[0] - self.at
        if not size:
            return b""
        at = self.at % _ROOM
        if not 0 < size <= _ROOM:
            raise ProtocolError("the other process wrote nonsense into the memory that both have")
        data = bytes(self._region.bytes[at : at + min(size, CHUNK)])  # where the room ends, the rest comes next time
        self.at += len(data)
        self._region.read[0] = self.at
        return data

    def records(self) -> bytes | None:
        """What there is to read when it is one frame of the worker's records, without what stands around them: so it
        is in nearly every frame of a game that has news. Else None, and nothing is taken: read()."""
        size = self.written[0] - self.at
        at = self.at % _ROOM
        if not 0 < size <= CHUNK or at + size > _ROOM:
            return None
        records = records_of(bytes(self._region.bytes[at : at + size]))
        if records is not None:
            self.at += size
            self._region.read[0] = self.at
        return records

    def write(self, data: memoryview) -> int:
        return self._beside.write(data)

    def wait_on(self) -> int | None:
        return None

    def close(self) -> None:
        self._beside.close()
        self.written, self.counts = (self.at,), (0,) * _COUNTS  # no news, ever
        self._region.close()


class Outlet:
    """A Link that writes into a Region and reads from another Link, the pipe beside it."""

    def __init__(self, beside: Link, region: Region) -> None:
        self._beside = beside
        self._region = region
        self._at = 0  # written ever

    def read(self) -> bytes:
        return self._beside.read()

    def tell(self, *counts: int) -> None:
        """Puts numbers where the reader looks when it likes: no message, so no frame has to read one."""
        for i, count in enumerate(counts):
            self._region.counts[i] = count

    def write(self, data: memoryview) -> int:
        at = self._at % _ROOM
        room = _ROOM - (self._at - self._region.read[0])
        size = min(len(data), room, _ROOM - at)
        if size > 0:
            self._region.bytes[at : at + size] = data[:size]
            self._at += size
            self._region.written[0] = self._at
        return max(0, size)

    def wait_on(self) -> int | None:
        return self._beside.wait_on()

    def close(self) -> None:
        self._beside.close()
        self._region.close()
