"""From the words of `modkit serve` to a running server: the engine, the cast, and where clients come from."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modkit.errors import OptionError
from modkit.ipc.framing import Limits
from modkit.ipc.handshake import new_token
from modkit.ipc.listeners import FolderListener, PortListener, UnixListener
from modkit.ipc.server import Server
from modkit.ipc.service import Service
from modkit.ipc.transport import Link, pipe_link
from modkit.native.replacing import replacing

if TYPE_CHECKING:
    from modkit.engine import Engine

__all__ = ["serve"]


def serve(
    personas: Iterable[str | Path],
    model: str | Path,
    *,
    save: str | Path | None = None,
    player: str = "Player",
    root: str | Path | None = None,
    isolated: bool = False,
    port: int | None = None,
    unix: str | Path | None = None,
    pipe: str | None = None,
    files: str | Path | None = None,
    connect: str | Path | None = None,
    until_eof: bool = False,
    token: str | None = None,
    limits: Limits | None = None,
    engine_options: Mapping[str, Any] | None = None,
) -> None:
    """Serves until stdin closes (where that is the only client) or a signal ends it. Blocks.

    With `port` one line of JSON goes to stdout when clients may come: {"port": N, "token": "…"}; `connect` names a
    file that gets it instead, readable by this user alone. until_eof: the end of stdin ends it. token: instead of
    a fresh one. Raises ModkitError.
    """
    from modkit.persona import Save

    if port is None and connect is not None:
        raise OptionError("--connect goes with --port")
    stdio = port is None and unix is None and pipe is None and files is None
    lone: Link | None = None
    if stdio:
        from modkit.ipc.child import private_pipes

        lone = pipe_link(*private_pipes())
    with contextlib.ExitStack() as stack:
        engine: Engine = stack.enter_context(_engine(model, isolated, engine_options or {}))
        kept = stack.enter_context(Save.open(save)) if save is not None else None
        service = Service(engine, save=kept, root=None if root is None else Path(root), player=player)
        stack.callback(service.close)
        for persona in personas:
            service.add(persona)
        server = Server(service, lone=lone, limits=limits)
        stack.callback(server.close)
        _stop_on_signals(server)  # before anybody is told where we are: who knows may end us politely at once
        listeners = server.listeners
        if port is not None:
            loopback = PortListener(token or new_token(), port)
            listeners.append(loopback)
            stack.enter_context(_announced(loopback, connect))
        if unix is not None:
            listeners.append(UnixListener(Path(unix), token))
        if files is not None:
            listeners.append(FolderListener(Path(files), token))
        if pipe is not None:
            from modkit.ipc.named_pipe import NamedPipeListener

            listeners.append(NamedPipeListener(pipe, token))
        if until_eof and not stdio:
            threading.Thread(target=_stop_at_eof, args=(server,), name="modkit-eof", daemon=True).start()
        server.run()


def _engine(model: str | Path, isolated: bool, options: Mapping[str, Any]) -> Engine:
    if isolated:
        from modkit.ipc.isolated import IsolatedEngine

        return IsolatedEngine(model, **options)
    from modkit.engine import Engine

    return Engine(model, **options)


@contextlib.contextmanager
def _announced(loopback: PortListener, connect: str | Path | None) -> Iterator[None]:
    """Says where the port is, on stdout and in a file that only this user can read and that goes with us."""
    text = json.dumps({"port": loopback.address[1], "token": loopback.token}) + "\n"
    path = Path(connect) if connect is not None else None
    if path is not None:
        try:
            with replacing(path) as part:  # who waits for the file finds all of it
                fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with open(fd, "w", encoding="utf-8") as file:
                    file.write(text)
        except OSError as error:
            raise OptionError(f"{path} cannot be written: {error.strerror or error}") from None
    elif sys.stdout is not None:
        sys.stdout.write(text)
        sys.stdout.flush()
    try:
        yield
    finally:
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()


def _stop_at_eof(server: Server) -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    server.stopping = True


def _stop_on_signals(server: Server) -> None:
    """A polite end commits the saves. Only on the main thread: elsewhere the program's signals are not ours."""
    if threading.current_thread() is not threading.main_thread():
        return

    def stop(number: int, frame: object) -> None:
        server.stopping = True

    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, stop)
