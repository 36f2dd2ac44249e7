"""Windows named pipes: two one-way pipes for each client, `NAME-to` and `NAME-from`.

Two, because a script that opens a pipe as a file can read and write at the same time only through two handles.
A client opens `\\\\.\\pipe\\NAME-to` for writing, then `\\\\.\\pipe\\NAME-from` for reading. Pipes of other users
are refused by their default security, remote clients by their mode.
"""

from __future__ import annotations

import collections
import os
import threading
from typing import Any

from modkit.errors import OptionError
from modkit.ipc.transport import Link, ThreadLink

__all__ = ["NamedPipeListener"]

_INBOUND, _OUTBOUND = 1, 2
_LOCAL_ONLY = 8  # PIPE_REJECT_REMOTE_CLIENTS; bytes, waiting
_BUFFER = 65536


class NamedPipeListener:
    """Waits for clients on a thread of its own; accept() hands over those that have come."""

    def __init__(self, name: str, token: str | None = None) -> None:
        if os.name != "nt":
            raise OptionError("named pipes are Windows': use --unix, --port or --files here")
        self.token = token
        self._name = rf"\\.\pipe\{name}"
        self._arrived: collections.deque[Link] = collections.deque()
        self._open = True
        threading.Thread(target=self._main, name="modkit-pipe", daemon=True).start()

    def _main(self) -> None:
        import _winapi
        import msvcrt

        winapi: Any = _winapi
        opener: Any = msvcrt
        while self._open:
            handles = [
                winapi.CreateNamedPipe(self._name + end, way, _LOCAL_ONLY, 255, _BUFFER, _BUFFER, 0, 0)
                for end, way in (("-to", _INBOUND), ("-from", _OUTBOUND))
            ]
            for handle in handles:
                winapi.ConnectNamedPipe(handle)
            flags = getattr(os, "O_BINARY", 0)
            fds = [opener.open_osfhandle(handle, flags) for handle in handles]
            self._arrived.append(ThreadLink(*fds))

    def accept(self) -> Link | None:
        return self._arrived.popleft() if self._arrived else None

    def wait_on(self) -> int | None:
        return None

    def close(self) -> None:
        self._open = False
