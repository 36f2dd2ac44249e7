"""How a child of ours lives: tied to its parent, it says hello over its pipes, serves, and is gone.

Runs as the main program of its process. Somebody waits for an answer while it starts, so it says hello before it loads
what it needs to serve: the parent's first request is on its way meanwhile.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from modkit.errors import ProtocolError
from modkit.ipc.calls import ENGINE_LIMITS
from modkit.ipc.framing import REPLY, Limits
from modkit.ipc.handshake import agree
from modkit.ipc.leash import hold_on
from modkit.ipc.shared import Outlet, Region
from modkit.ipc.transport import Connection, answer, pipe_link

__all__ = ["live", "main", "private_pipes"]


def private_pipes() -> tuple[int, int]:
    """The descriptors of stdin and stdout, for us alone: whoever prints from now on prints to stderr."""
    reader, writer = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        for fd in (reader, writer):
            msvcrt.setmode(fd, os.O_BINARY)
    return reader, writer


def _greet(connection: Connection, server: str) -> None:
    """Answers the parent's hello."""
    version, _ = agree(answer(connection, 60.0), None)
    connection.send([REPLY, 1, {"protocol": version, "server": server}])


def live(arguments: list[str], server: str, limits: Limits, serve: Callable[[Connection], None]) -> NoReturn:
    """The whole life of a child: tied to its parent, it greets, serves, and is gone.

    arguments: the parent's pid and, where there is one, the name of the memory to speak through.

    What is wrong with what the parent sends is the last line on stderr, which the parent's supervisor quotes.
    """
    hold_on(int(arguments[0]))
    connection = Connection(pipe_link(*private_pipes()), limits)
    try:
        _greet(connection, server)
        if arguments[1:]:
            connection.link = Outlet(connection.link, Region.open(arguments[1]))
        serve(connection)
    except ProtocolError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
    os._exit(0)  # at once: whatever runs here may be deep in C or in a loop, and there is nothing to save


def main(arguments: list[str]) -> None:
    """arguments: the parent's pid, and the name of the memory to speak through."""
    live(arguments, "modkit engine", ENGINE_LIMITS, _serve)


def _serve(connection: Connection) -> None:
    from modkit.ipc.child_service import Service  # now, with the greeting on its way

    Service(connection).run()
