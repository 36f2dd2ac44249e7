"""Mods in a process of their own: `run = "worker"` in the manifest, the same script, and a sure stop.

The game's host sends such a mod its frames and never waits for the answer: one frame is under way at a time, what
happens meanwhile goes with the next, and what the mod emits arrives a frame or more later. A frame that is not
answered within `limit` seconds ends the process; it starts again with a growing delay, with its storage and the state
that its `@save` gave last, and after a few such ends the mod is suspended. Everything here is the frame's thread;
the process is started and buried by a supervisor's thread.

Nothing that comes from the process is believed: names, types, sizes and counts are checked, and a process that
sends anything else is ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modkit.errors import ModError, ModkitError, ProtocolError
from modkit.host.events import Event
from modkit.host.mod import emittable
from modkit.host.report import SUSPENDED
from modkit.host.storage import MAX_BYTES, pack
from modkit.ipc.framing import EVENT, Limits
from modkit.ipc.python import command, find_python
from modkit.ipc.supervisor import Arrived, Gone, Supervisor
from modkit.ipc.transport import Closed

if TYPE_CHECKING:
    from modkit.host.host import Host
    from modkit.host.mod import Mod

__all__ = ["LIMITS", "MAX_EMITS", "Workers", "plain"]

LIMITS = Limits(frame=MAX_BYTES + (1 << 20), depth=20, rate=0)
MAX_EMITS = 1000  # of one frame
_MAX_EVENTS = 10_000  # that wait for a mod that is late
_MESSAGES = 200  # of one mod that a frame of the game looks at
_DEPTH = 12
_LOADING = 10.0  # seconds that a script may take to load: it may import what takes its time
_ENDS = 5  # of a process, within
_ENDS_SECONDS = 60.0  # after which its mod is suspended
_OPTIONS = frozenset({"facts", "max_tokens", "temperature", "top_k", "top_p", "min_p", "seed", "stop", "priority"})


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that can go to another process; a stream, a function or any other object is left out."""
    return {key: value for key, value in fields.items() if isinstance(key, str) and _is_plain(value, _DEPTH)}


def _is_plain(value: Any, depth: int) -> bool:
    if value is None or isinstance(value, bool | float | str | bytes):
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    if depth == 0:
        return False
    if isinstance(value, list | tuple):
        return all(_is_plain(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item, depth - 1) for key, item in value.items())
    return False


class Worker:
    """The process of one mod. Stands where its script would: `load()` starts it, `close()` ends it."""

    name = ""
    far = True

    def __init__(self, mod: Mod, host: Host, limit: float, memory: int) -> None:
        self._mod = mod
        self._host = host
        self._limit = limit
        self._memory = memory
        self._supervisor = Supervisor(_command(), f"mod {mod.id}", LIMITS, memory)
        self._child: Arrived | None = None
        self._loaded = False
        self._asked: float | None = None  # when the frame that is under way was sent, in real seconds
        self._why = ""
        self._ends: list[float] = []
        self._events: deque[list[Any]] = deque()
        self._lost = 0
        self._dt = 0.0
        self._replies: dict[int, Any] = {}
        self._refused = False
        self._after: Worker | None = None
        self._held: Arrived | None = None
        self.leaving = False
        self.gone = False

    def load(self) -> None:
        """Start the process; returns at once."""
        self._supervisor.start()

    def follow(self, other: Worker | None) -> None:
        """Begin when `other`, the version before, is gone: its last state is what this one gets."""
        self._after = other

    def receive(self) -> None:
        """Take what has arrived, and end a process that is over its time. Never waits."""
        while self._supervisor.news:
            news = self._supervisor.news.popleft()
            if isinstance(news, Arrived):
                self._held = news
            else:
                self._held = None
                self._buried(news)
        if self._held is not None and (self._after is None or self._after.gone):
            held, self._held, self._after = self._held, None, None
            self._begin(held)
        if self._child is None:
            return
        try:
            self._take_all(self._child)
        except (ProtocolError, ModError, KeyError, TypeError, ValueError, AttributeError) as error:
            self._end(f"it sent something that is not of the protocol ({type(error).__name__}: {str(error)[:100]})")
        if self._asked is not None and time.monotonic() - self._asked > self._limit:
            self._end(f"it did not come back within {self._limit * 1000:.0f} ms")

    def send(self, events: list[list[Any]], dt: float, frame: int) -> None:
        """Send the next frame, or keep it for later while one is under way."""
        if self.leaving:
            return
        self._dt += dt
        room = _MAX_EVENTS - len(self._events)
        if len(events) > room:
            self._lost += len(events) - room
        self._events.extend(events[: max(0, room)])
        if self._child is None or not self._loaded or self._asked is not None or not self._mod.account.runs:
            return
        self._pass_words_on()
        self._asked = time.monotonic()
        batch = [self._events.popleft() for _ in range(min(len(self._events), MAX_EMITS))]
        self._tell("frame", {"n": frame, "dt": self._dt, "events": batch})
        self._dt = 0.0

    def set(self, key: str, value: Any) -> None:
        """The game changed a setting."""
        self._tell("set", {"key": key, "value": value})

    def save(self) -> None:
        """Ask for what `@save` returns; it arrives later."""
        self._tell("save", {})

    def leave(self, reason: str) -> None:
        """Let the mod say farewell, within its limit; then it is gone."""
        self.leaving = True
        self._asked = time.monotonic()
        if self._child is None or not self._loaded:
            self._over()
        else:
            self._tell("unload", {"reason": reason})

    def close(self) -> None:
        """End the process now. May be called twice."""
        self._over()

    def _over(self) -> None:
        if not self.gone:
            self.gone = True
            self._drop_replies()
            for child in (self._child, self._held):
                if child is not None:
                    child.connection.close()
            self._child = self._held = None
            self._host._helper.run(self._supervisor.stop)  # which waits for the process to end

    def _begin(self, child: Arrived) -> None:
        mod, saves = self._mod, self._host._saves
        self._child = child
        self._asked = time.monotonic() + _LOADING
        state = saves.state(mod.id)
        self._tell(
            "load",
            {
                "ident": mod.id,
                "folder": str(mod.folder),
                "settings": dict(mod.settings),
                "storage": dict(mod._storage._packed),
                "state": None if state is None else [state[1], pack(state[0], "state")],
                "memory": self._memory,
                "log_level": mod.log.getEffectiveLevel(),
                "time": self._host.time,
                "frame": self._host.frame,
            },
        )

    def _tell(self, name: str, params: dict[str, Any]) -> None:
        if self._child is not None:
            with contextlib.suppress(Closed):  # the supervisor will say why
                self._child.connection.send([EVENT, name, params])

    def _take_all(self, child: Arrived) -> None:
        connection = child.connection
        with contextlib.suppress(Closed):  # the supervisor will say why; what came before is still read
            connection.flush()
            for _ in range(64):
                if not connection.receive():
                    break
        for _ in range(_MESSAGES):
            message = connection.decoder.next()
            if message is None:
                return
            if message[0] != EVENT:
                raise ProtocolError("only events are taken from a mod")
            self._take(message[1], message[2])

    def _take(self, name: str, params: dict[str, Any]) -> None:
        mod = self._mod
        if name == "done":
            self._asked = None
            self._count(params)
        elif name == "emitted":
            for event, fields in _list(params["events"])[:MAX_EMITS]:
                self._host._dispatch.emit(Event(emittable(event), _fields(fields), mod.id), mod)
        elif name == "say":
            self._say(params)
        elif name == "cancel":
            reply = self._replies.get(params["id"])
            if reply is not None:
                reply.cancel()
        elif name == "keep":
            self._keep(params["values"])
        elif name == "state":
            self._host._saves.keep_state(mod.id, _bytes(params["data"]))
        elif name == "log":
            level, text = int(params["level"]), str(params["text"])[:4000]
            mod.log.log(min(max(level, logging.DEBUG), logging.CRITICAL), "%s", text)
        elif name == "loaded":
            self._loaded, self._asked = True, None
        elif name == "refused":
            self._refused, self._loaded, self._asked = True, False, None
            self._host._policy.suspend(mod, f"it did not load in its process: {str(params['why'])[:500]}; correct it")
        elif name == "bye":
            self._over()
        else:
            raise ProtocolError(f"unknown message {name[:40]!r}")

    def _count(self, params: dict[str, Any]) -> None:
        account = self._mod.account
        account.calls, account.failures = int(params["calls"]), int(params["failures"])
        account.seconds, account.slowest = float(params["seconds"]), float(params["slowest"])
        last = params["last_error"]
        account.last_error = None if last is None else str(last)[:10_000]
        if params["state"] == SUSPENDED and account.runs:
            account.enter(SUSPENDED, str(params["problem"])[:1000])

    def _keep(self, values: dict[str, Any]) -> None:
        for key, value in values.items():
            if value is not None and len(_bytes(value)) > MAX_BYTES:
                raise ProtocolError("a value is too large to be kept")
            if value is None:
                self._mod._storage._packed.pop(key, None)
            else:
                self._mod._storage._packed[key] = value
        self._mod._storage._keep(values)

    def _say(self, params: dict[str, Any]) -> None:
        ident = int(params["id"])
        options = {key: value for key, value in _fields(params["options"]).items() if key in _OPTIONS}
        try:
            reply = self._mod.npc(str(params["npc"])).say(str(params["words"]), **options)
        except (ModkitError, TypeError) as error:
            self._tell("words", {"id": ident, "text": "", "finish": "error", "error": str(error)})
            return
        self._replies[ident] = reply

    def _pass_words_on(self) -> None:
        for ident, reply in list(self._replies.items()):
            text = reply.take()
            if reply.done:
                del self._replies[ident]
            if text or reply.done:
                error = None if reply.error is None else str(reply.error)
                self._tell("words", {"id": ident, "text": text, "finish": reply.finish, "error": error})

    def _end(self, why: str) -> None:
        """Kill the process; what follows is told by the supervisor."""
        child = self._child
        if child is not None and not self._why:
            self._why = why
            child.kill()
        self._asked = None
        self._loaded = False

    def _buried(self, news: Gone) -> None:
        mod = self._mod
        if self._child is not None:
            self._child.connection.close()
        self._child, self._loaded, self._asked = None, False, None
        why, self._why = self._why or news.why, ""
        self._drop_replies()
        if self.leaving or self.gone:
            self._over()
        if self._refused or self.gone:
            return
        now = time.monotonic()
        self._ends = [*(then for then in self._ends if now - then < _ENDS_SECONDS), now]
        mod.account.failures += 1
        mod.account.overruns += 1
        if len(self._ends) >= _ENDS:
            self._host._policy.suspend(mod, f"its process was ended {len(self._ends)} times, last because {why}")
            return
        mod.account.notice = f"The process of mod {mod.id!r} was ended and starts again: {why}."
        mod.log.error("%s", mod.account.notice)
        self._supervisor.start(0.05 * 4 ** (len(self._ends) - 1))

    def resume(self) -> None:
        """A suspended mod runs again: in a new process, if it has none."""
        self._ends.clear()
        self._refused = False
        if self._child is None and not self.gone:
            self._supervisor.start()
        else:
            self._tell("resume", {})

    def _drop_replies(self) -> None:
        for reply in self._replies.values():
            reply.cancel()
        self._replies.clear()


class Workers:
    """All such mods of a host. `limit` seconds for a frame, `memory` bytes for a process."""

    def __init__(self, host: Host, limit: float, memory: int) -> None:
        self._host = host
        self._limit = limit
        self._memory = memory
        self._all: list[Worker] = []

    def __bool__(self) -> bool:
        return bool(self._all)

    def make(self, mod: Mod) -> Worker:
        """The process for a mod, not yet started. Raises `ModError` when there is no Python to run it."""
        worker = Worker(mod, self._host, self._limit, self._memory)
        self._all.append(worker)
        return worker

    def of(self, mod: Mod) -> Worker | None:
        """The process of that mod, if it has one."""
        return next((worker for worker in self._all if worker._mod is mod), None)

    def receive(self) -> None:
        """At a frame's beginning."""
        for worker in self._all:
            worker.receive()
        if any(worker.gone for worker in self._all):
            self._all = [worker for worker in self._all if not worker.gone]

    def send(self, events: list[Event], dt: float) -> None:
        """After the frame's events were delivered to the others. They are made plain once, for all."""
        made = [[event.name, plain(event.fields), event.source] for event in events if event.name != "tick"]
        for worker in self._all:
            worker.send([e for e in made if e[0] != "setting"], dt, self._host.frame)

    def close(self) -> None:
        """Give those that say farewell their time, then end them."""
        deadline = time.monotonic() + self._limit
        while self._all and time.monotonic() < deadline:
            self.receive()
            time.sleep(0.001)
        for worker in self._all:
            worker.close()
        self._all.clear()


def _command() -> list[str]:
    try:
        python = find_python()
    except ModkitError as error:
        raise ModError(f'run = "worker" needs a Python to run the mod in: {error}') from error
    return command(python, "modkit.host.worker_child", str(os.getpid()))


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ProtocolError("a list was expected")
    return value


def _fields(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError("a map was expected")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ProtocolError("bytes were expected")
    return value
