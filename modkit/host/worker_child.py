"""The process of one mod that asked for it (`run = "worker"`): a host with just this mod, driven by frames that the
game's host sends. The main program of its process; talks only to its parent, over stdin and stdout.

What is not here is far away (worker_face.py); storage is the game's save, told of every write.
"""

from __future__ import annotations

import functools
import logging
import os
import select
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modkit.errors import ModkitError, ProtocolError
from modkit.host.events import Event
from modkit.host.host import Host
from modkit.host.storage import Storage, unpack
from modkit.host.worker_face import FarApi, Game, Tell
from modkit.host.worker_wire import LIMITS, MAX_EMITS, plain
from modkit.ipc.child import live
from modkit.ipc.framing import EVENT
from modkit.ipc.leash import limit
from modkit.ipc.transport import Connection

__all__ = ["main"]


class _Saves:
    """Stands where the host's saves would: everything is told to the parent, which has the save."""

    file = None
    error = None

    def __init__(self, tell: Tell, packed: Mapping[str, bytes], state: list[Any] | None) -> None:
        self._tell = tell
        self._storage = Storage(lambda values: tell("keep", {"values": dict(values)}), packed)
        self._state = state

    def storage(self, ident: str) -> Storage:
        return self._storage

    def state(self, ident: str) -> tuple[Any, str] | None:
        return None if self._state is None else (unpack(self._state[1]), str(self._state[0]))

    def keep_state(self, ident: str, data: bytes) -> None:
        self._tell("state", {"data": data})

    def settings(self, ident: str) -> dict[str, Any]:
        return {}

    def keep_settings(self, ident: str, data: bytes) -> None:
        """The parent keeps them."""

    def begin(self, now: float) -> None:
        """Nothing waits here."""

    def commit(self, copy_to: object = None, done: object = None) -> None:
        """The parent commits."""

    def close(self) -> None:
        """Nothing is open."""


class _Cast:
    """Stands where the host's cast would."""

    def __init__(self, game: Game) -> None:
        self.npc = game.npc

    def look_in(self, files: object, owner: str) -> None:
        """The parent has looked."""

    def leave(self, owner: str) -> None:
        """The parent lets them go."""

    def close(self) -> None:
        """None are here."""


class _Log(logging.Handler):
    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception as error:  # the mod's own arguments do not fit its own format
            text = f"a line of the log cannot be made: {error}"
        self._tell("log", {"level": record.levelno, "text": text[:4000]})


class _Child:
    """Takes the parent's messages one after another."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._game = Game(self._tell)
        self._emitted: list[list[Any]] = []
        self._host: Host | None = None
        self._ident = ""

    def run(self) -> None:
        fd = self._connection.link.wait_on()
        while True:
            self._connection.flush()
            self._connection.receive()
            while (message := self._connection.decoder.next()) is not None:
                if message[0] != EVENT:
                    raise ProtocolError("only events are taken here")
                self._take(message[1], message[2])
            if fd is None:
                time.sleep(0.001)
            else:
                select.select([fd], [fd] if self._connection.outgoing else [], [], 1.0)

    def _take(self, name: str, params: dict[str, Any]) -> None:
        if name == "load":
            self._load(params)
        elif self._host is None:
            raise ProtocolError(f"{name!r} before the mod was loaded")
        elif name == "frame":
            self._frame(self._host, params)
        elif name in ("words", "answer", "act", "deed", "call"):
            self._hear(self._host, name, params)
        elif name == "set":
            self._host.set(self._ident, params["key"], params["value"])
        elif name == "resume":
            self._host.resume(self._ident)
        elif name == "save":
            self._host.save()
        elif name == "unload":
            self._emitted.clear()
            self._host.unload(self._ident, params["reason"])
            self._host._dispatch.hand_out()
            self._tell("emitted", {"events": self._emitted[:MAX_EMITS]})
            self._tell("bye", {})
            self._drain()
            os._exit(0)
        else:
            raise ProtocolError(f"unknown message {name[:40]!r}")

    def _tell(self, name: str, params: dict[str, Any]) -> None:
        self._connection.send([EVENT, name, params])

    def _hear(self, host: Host, name: str, params: dict[str, Any]) -> None:
        game, mod = self._game, host._roster.mods[self._ident]
        if name == "words":
            game.words(params)
        elif name == "answer":
            game.answered(params)
        elif name == "act":
            game.act(params)
        elif name == "deed":
            game.deed(params)
        else:
            game.called(mod, params)
        game.show(mod)

    def _load(self, params: dict[str, Any]) -> None:
        limit(params["memory"])
        logging.getLogger("modkit.mod").addHandler(_Log(self._tell))
        logging.getLogger("modkit.mod").setLevel(params["log_level"])
        host = Host(None, settings={params["ident"]: params["settings"]}, slow_ms=None)
        host._in_worker = True
        host._saves = _Saves(self._tell, params["storage"], params["state"])  # type: ignore[assignment]
        host._cast = _Cast(self._game)  # type: ignore[assignment]
        host._api = functools.partial(FarApi, self._game)  # type: ignore[assignment]
        self._game.offers = params["apis"]
        host._scheduler.time, host._scheduler.frame = params["time"], params["frame"]
        host.subscribe("*", lambda event: self._emitted.append([event.name, plain(event.fields)]))
        self._ident = params["ident"]
        try:
            host.load(Path(params["folder"]))
        except ModkitError as error:
            self._tell("refused", {"why": str(error)})
            self._drain()
            os._exit(0)
        self._host = host
        self._game.show(host._roster.mods[self._ident])
        self._tell("loaded", {})

    def _frame(self, host: Host, params: dict[str, Any]) -> None:
        host._dispatch.inbox.extend(Event(name, fields, source) for name, fields, source in params["events"])
        self._emitted.clear()
        self._game.offers = params.get("apis", self._game.offers)
        host.tick(params["dt"])
        self._game.show(host._roster.mods[self._ident])
        self._tell("emitted", {"events": self._emitted[:MAX_EMITS]})
        report = host.report[self._ident]
        figures = {n: getattr(report, n) for n in ("state", "problem", "calls", "failures", "seconds", "slowest")}
        self._tell("done", {"n": params["n"], **figures, "last_error": report.last_error})

    def _drain(self) -> None:
        deadline = time.monotonic() + 1.0
        while self._connection.outgoing and time.monotonic() < deadline:
            self._connection.flush()


def main(arguments: list[str]) -> None:
    """arguments: the parent's pid."""
    live(arguments, "modkit mod", LIMITS, lambda connection: _Child(connection).run())
