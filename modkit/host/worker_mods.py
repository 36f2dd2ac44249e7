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
from typing import TYPE_CHECKING, Any

from modkit.errors import ModError, ModkitError, ProtocolError
from modkit.host.events import Event
from modkit.host.mod import emittable
from modkit.host.report import SUSPENDED
from modkit.host.storage import MAX_BYTES, pack
from modkit.host.worker_calls import Calls, values_of
from modkit.host.worker_wire import LIMITS, MAX_EMITS, a_list, a_map, plain, some_bytes
from modkit.ipc.framing import EVENT
from modkit.ipc.python import command, find_python
from modkit.ipc.supervisor import Arrived, Gone, Supervisor
from modkit.ipc.transport import Closed

if TYPE_CHECKING:
    from modkit.host.host import Host
    from modkit.host.mod import Mod

__all__ = ["Worker", "Workers"]

_MAX_EVENTS = 10_000  # that wait for a mod that is late
_MESSAGES = 200  # of one mod that a frame of the game looks at
_SECONDS = 0.004  # of a frame that they may take; the rest is for the next
_BACKLOG = 8  # times the limit, while what it sent has not all been read
_LOADING = 10.0  # seconds that a script may take to load: it may import what takes its time
_ENDS = 5  # of a process, within
_ENDS_SECONDS = 60.0  # after which its mod is suspended


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
        self._calls = Calls(mod, host, self._tell)
        self._apis: dict[str, list[Any]] | None = None  # what the process was last told that others offer
        self._refused = False
        self._behind = False
        self._after: Worker | None = None
        self._held: Arrived | None = None
        self._dead: Gone | None = None  # its process, of which there may still be something to read
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
        while self._supervisor.news and self._dead is None:
            news = self._supervisor.news.popleft()
            if isinstance(news, Arrived):
                self._held = news
            else:
                self._held = None
                self._dead = news
        if self._held is not None and (self._after is None or self._after.gone):
            held, self._held, self._after = self._held, None, None
            self._begin(held)
        if self._child is not None:
            self._read(self._child)
        dead = self._dead
        if dead is not None and (self._child is None or not self._behind):  # its last words are read before
            self._dead = None
            self._buried(dead)
        patience = self._limit * (_BACKLOG if self._behind else 1)  # its answer may be among what we have not read
        if self._child is not None and self._asked is not None and time.monotonic() - self._asked > patience:
            self._end(f"it did not come back within {self._limit * 1000:.0f} ms")

    def _read(self, child: Arrived) -> None:
        try:
            self._take_all(child)
        except Exception as error:  # whatever it was that we had not thought of: no process ends a game's frame
            self._end(f"it sent something that is not of the protocol ({type(error).__name__}: {str(error)[:100]})")

    def send(self, events: list[list[Any]], dt: float, frame: int, apis: dict[str, list[Any]]) -> None:
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
        self._calls.pass_words_on()
        self._asked = time.monotonic()
        batch = [self._events.popleft() for _ in range(min(len(self._events), MAX_EMITS))]
        told: dict[str, Any] = {"n": frame, "dt": self._dt, "events": batch}
        if apis != self._apis:
            self._apis = told["apis"] = apis
        self._tell("frame", told)
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
            self._calls.drop("it was taken out")
            for child in (self._child, self._held):
                if child is not None:
                    child.connection.close()
            self._child = self._held = None
            self._host._helper.run(self._supervisor.stop)  # which waits for the process to end

    def _begin(self, child: Arrived) -> None:
        mod, saves = self._mod, self._host._saves
        self._child = child
        self._calls.begin()
        self._apis = self._host._worker_pool().offers()
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
                "apis": self._apis,
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
                if connection.decoder.waiting > LIMITS.frame or not connection.receive():
                    break
        end = time.perf_counter() + _SECONDS
        self._behind = False
        for _ in range(_MESSAGES):
            message = connection.decoder.next()
            if message is None:
                return
            if message[0] != EVENT:
                raise ProtocolError("only events are taken from a mod")
            self._take(message[1], message[2])
            if time.perf_counter() > end:
                break
        self._behind = connection.decoder.waiting > 0

    def _take(self, name: str, params: dict[str, Any]) -> None:
        mod = self._mod
        if name == "done":
            self._asked = None
            self._count(params)
        elif name == "emitted":
            for event, fields in a_list(params["events"])[:MAX_EMITS]:
                self._host._dispatch.emit(Event(emittable(event), a_map(fields), mod.id), mod)
        elif name == "keep":
            self._keep(params["values"])
        elif name == "state":
            self._host._saves.keep_state(mod.id, some_bytes(params["data"]))
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
            self._calls.take(name, params)

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
            if value is not None and len(some_bytes(value)) > MAX_BYTES:
                raise ProtocolError("a value is too large to be kept")
            if value is None:
                self._mod._storage._packed.pop(key, None)
            else:
                self._mod._storage._packed[key] = value
        self._mod._storage._keep(values)

    def _end(self, why: str) -> None:
        """Kill the process; what follows is told by the supervisor."""
        child = self._child
        if child is not None and not self._why:
            self._why = why
            if self._dead is None:
                child.kill()
        self._asked = None
        self._loaded = False

    def _buried(self, news: Gone) -> None:
        mod = self._mod
        if self._child is not None:
            self._child.connection.close()
        self._child, self._loaded, self._asked = None, False, None
        why, self._why = self._why or news.why, ""
        self._calls.drop(why)
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


class Workers:
    """All such mods of a host. `limit` seconds for a frame, `memory` bytes for a process."""

    def __init__(self, host: Host, limit: float, memory: int) -> None:
        self._host = host
        self._limit = limit
        self._memory = memory
        self._all: list[Worker] = []
        self._offers: dict[str, tuple[Any, list[Any]]] = {}  # by mod: what it offers, and that as plain values

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
        apis = self.offers()
        for worker in self._all:
            worker.send([e for e in made if e[0] != "setting"], dt, self._host.frame, apis)

    def offers(self) -> dict[str, list[Any]]:
        """What each mod offers now: its version, and the names of what is no function."""
        found: dict[str, tuple[Any, list[Any]]] = {}
        for ident, mod in self._host._roster.mods.items():
            offered = mod._offered
            if offered is not None and mod.account.runs:
                known = self._offers.get(ident)
                same = known is not None and known[0] is offered
                found[ident] = known if known is not None and same else (offered, [offered[1], values_of(offered[0])])
        self._offers = found
        return {ident: plainly for ident, (_, plainly) in found.items()}

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
