"""Where the clients of `modkit serve` come from: a loopback port, a Unix socket, a folder of files.

Nothing listens unless it was asked for. A port is on the loopback only and always has a token.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from modkit.errors import OptionError
from modkit.ipc.transport import Closed, FileLink, Link, SocketLink

__all__ = ["FolderListener", "PortListener", "UnixListener"]


class PortListener:
    """A TCP port of this machine's loopback. port 0 takes a free one; `address` says which it became."""

    def __init__(self, token: str, port: int = 0) -> None:
        if len(token) < 16:
            raise OptionError("a token of fewer than 16 characters can be guessed: take a longer one")
        self.token: str | None = token
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if sys.platform == "win32":
                self._socket.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", -5), 1)
            else:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", port))
            self._socket.listen(16)
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise OptionError(f"port {port} cannot be listened on: {error}") from None
        self._socket.setblocking(False)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    def accept(self) -> Link | None:
        return _accept(self._socket)

    def wait_on(self) -> int | None:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


class UnixListener:
    """A Unix socket that only this user may connect to: the file's mode says so, and on Linux the kernel is asked."""

    def __init__(self, path: Path, token: str | None = None) -> None:
        self.token = token
        self.path = path
        family = getattr(socket, "AF_UNIX", None)
        if family is None:
            raise OptionError("this system has no Unix sockets: use a port with a token")
        _remove_stale(path, family)
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._socket.bind(os.fspath(path))
            self._socket.listen(16)
            self._made = _identity(path)
        except OSError as error:
            self._socket.close()
            raise OptionError(f"{path} cannot be listened on: {error.strerror or error}") from None
        finally:
            os.umask(before)
        self._socket.setblocking(False)

    def accept(self) -> Link | None:
        return _accept(self._socket, own_user=True)

    def wait_on(self) -> int | None:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()
        with contextlib.suppress(OSError):
            if _identity(self.path) == self._made:  # not another server's, which took the place meanwhile
                self.path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _remove_stale(path: Path, family: int) -> None:
    """A socket that nobody listens on any more is what a kill leaves behind; anything else is not ours to remove."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OptionError(f"{path} exists and is no socket: name another path")
    except OSError:
        return
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a server whose queue is full lives, and would let us wait
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(OSError):
                path.unlink()
            return
        except BlockingIOError:
            pass
        except OSError as error:
            raise OptionError(f"{path} cannot be listened on: {error.strerror or error}") from None
    raise OptionError(f"another server listens on {path} already")


def _accept(listening: socket.socket, own_user: bool = False) -> SocketLink | None:
    while True:
        try:
            accepted, _ = listening.accept()
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:  # the client gave up before it was its turn, or descriptors are out
            return None
        if own_user and hasattr(socket, "SO_PEERCRED"):
            who = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            if struct.unpack("3i", who)[1] != os.getuid():
                accepted.close()
                continue
        return SocketLink(accepted)


class FolderListener:
    """Sessions as pairs of files in a folder: a client makes NAME.to and appends its frames; we answer in NAME.from.

    For scripts that can do nothing but open files in their own folder. Who may write into the folder may talk to
    the characters: its permissions are the door. Files of sessions that have ended are removed, also those that an
    earlier server left.
    """

    LOOK_SECONDS = 0.05
    SILENCE_SECONDS = 600.0
    _NAME = re.compile(r"([A-Za-z0-9_-]{1,64})\.to")

    def __init__(self, folder: Path, token: str | None = None) -> None:
        self.token = token
        self.folder = folder
        if not folder.is_dir():
            raise OptionError(f"{folder} is not a folder: make it, or name another")
        self._open: dict[str, _Session] = {}
        self._last = 0.0
        for left in [*folder.glob("*.from")]:  # their clients spoke with a server that is gone
            if self._NAME.fullmatch(left.stem + ".to"):
                _remove(left, left.with_suffix(".to"))

    def accept(self) -> Link | None:
        now = time.monotonic()
        if now - self._last < self.LOOK_SECONDS:
            return None
        self._last = now
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return None
        for name in names:
            match = self._NAME.fullmatch(name)
            if match is None or match[1] in self._open or len(self._open) >= 64:
                continue
            asking = self.folder / name
            if asking.is_symlink() or not asking.is_file():
                continue
            try:
                session = _Session(asking, asking.with_suffix(".from"), self._forget(match[1]))
            except OSError:
                continue
            self._open[match[1]] = session
            return session
        return None

    def _forget(self, name: str) -> Callable[[], object]:
        return lambda: self._open.pop(name, None)

    def wait_on(self) -> int | None:
        return None

    def close(self) -> None:
        for session in list(self._open.values()):
            session.close()


class _Session(FileLink):
    """A pair of files that is removed when the session ends, which a long silence also does."""

    def __init__(self, reader: Path, writer: Path, closed: Callable[[], object]) -> None:
        super().__init__(reader, writer)
        self._closed = closed
        self._heard = time.monotonic()

    def read(self) -> bytes:
        data = super().read()
        now = time.monotonic()
        if data:
            self._heard = now
        elif now - self._heard > FolderListener.SILENCE_SECONDS:
            raise Closed(f"nothing came in {self.paths[0].name} for {FolderListener.SILENCE_SECONDS:g} s")
        return data

    def close(self) -> None:
        super().close()
        _remove(*self.paths)
        self._closed()


def _remove(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
