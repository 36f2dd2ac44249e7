"""`Mod`: what a script holds of its mod. Everything made through it belongs to the mod and goes when it is
unloaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from modkit.errors import ModError
from modkit.host.events import LIFECYCLE, Event, Handler, Origin, check_event_name
from modkit.host.report import UNLOADED, Account
from modkit.host.tasks import Task, Timer
from modkit.host.waits import check_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from modkit.host.folder import Folder
    from modkit.host.host import Host
    from modkit.host.manifest import Manifest

__all__ = ["Mod", "ModNPC"]


class ModNPC:
    """An NPC, as one mod sees it: what it asks her to say is cancelled when the mod is unloaded.

    Every other attribute is the NPC's own.
    """

    def __init__(self, mod: Mod, npc: Any) -> None:
        self._mod = mod
        self._npc = npc

    def say(self, words: str, **options: Any) -> Any:
        """`NPC.say()`: returns the reply, a stream, at once."""
        stream = self._npc.say(words, **options)
        streams = self._mod._streams
        streams[stream] = None
        stream.on_done(lambda done: streams.pop(done, None))
        return stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._npc, name)


class Mod:
    """A loaded mod: the first argument of each of its handlers.

    `id`, `name`, `version`, `manifest` come from its mod.toml; `log` is its logger (`modkit.mod.<id>`).
    """

    def __init__(self, host: Host, manifest: Manifest, folder: Folder) -> None:
        self.id = manifest.id
        self.name = manifest.name
        self.version = manifest.version
        self.manifest = manifest
        self.log = logging.getLogger(f"modkit.mod.{manifest.id}")
        self.account = Account()
        self.rank = manifest.id
        self._host = host
        self._files = folder
        self._handlers: dict[Handler, None] = {}
        self._timers: dict[Timer, None] = {}
        self._tasks: dict[Task, None] = {}
        self._streams: dict[Any, None] = {}
        self._origins: dict[str, Origin] = {}

    @property
    def folder(self) -> Path:
        """The mod's folder."""
        return self._files.root

    @property
    def time(self) -> float:
        """Game time in seconds: the sum of all ticks' `dt`."""
        return self._host.time

    @property
    def frame(self) -> int:
        """How many ticks the host has made."""
        return self._host.frame

    def path(self, name: str) -> Path:
        """The path of a file in the mod's folder; raises `ModError` for a name that leads out of it."""
        return self._files.path(name)

    def npc(self, ident: str) -> ModNPC:
        """An NPC that the game registered, or whose `<ident>.persona` lies in the mod's folder."""
        self._check()
        return ModNPC(self, self._host.npc(ident))

    def emit(self, name: str, /, **fields: Any) -> None:
        """Tell the game (this frame) and the mods that handle it (next frame) that something happened."""
        self._check()
        self._host._emit(Event(_emittable(name), fields, self.id), self)

    def on(self, event: str, fn: Callable[..., object]) -> Handler:
        """Call `fn(mod, event)` for each event of that name, from the next dispatch on; `.remove()` ends
        it."""
        self._check()
        _check_takes(fn, 2, f"A handler of {event!r}", "(mod, event)")
        handler = self._host._index.add(self, check_event_name(event), fn)
        self._handlers[handler] = None
        return handler

    def every(self, seconds: float, fn: Callable[..., object]) -> Timer:
        """Call `fn(mod)` each `seconds` of game time, first after one such period; `.remove()` ends it."""
        return self._timer(check_seconds(seconds, "every()", least=0.001), fn, repeat=True)

    def after(self, seconds: float, fn: Callable[..., object]) -> Timer:
        """Call `fn(mod)` once, after that much game time; `.remove()` before then calls it off."""
        return self._timer(check_seconds(seconds, "after()", least=0), fn, repeat=False)

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> Task:
        """Run a coroutine beside the caller, up to its first wait at once."""
        self._check()
        if not isinstance(coro, Coroutine):
            raise ModError(f"mod.spawn() takes a coroutine, as in mod.spawn(walk(mod)), not {coro!r}.")
        label = f"{getattr(coro, '__qualname__', repr(coro))}()"
        return self._host._scheduler.spawn(self, self._origins.setdefault(label, Origin(label)), coro)

    def __repr__(self) -> str:
        return f"<Mod {self.id!r} {self.version}, {self.account.state}>"

    def _timer(self, seconds: float, fn: Callable[..., object], *, repeat: bool) -> Timer:
        self._check()
        _check_takes(
            fn, 1, f"A function for each {seconds:g} s" if repeat else "A function for later", "(mod)"
        )
        name = getattr(fn, "__qualname__", repr(fn))
        label = f"{name}() every {seconds:g} s" if repeat else f"{name}() after {seconds:g} s"
        timer = Timer(self, label, fn, self._host.time + seconds, seconds if repeat else None)
        self._host._scheduler.add_timer(timer)
        return timer

    def _check(self) -> None:
        if self.account.state == UNLOADED:
            raise ModError(f"Mod {self.id!r} was unloaded; nothing can be done through it any more.")

    def _drop_all(self) -> None:
        """Let go of everything the mod owns, in the order in which it was made."""
        for handler in self._handlers:
            handler.remove()
        for timer in list(self._timers):
            timer.remove()
        for task in list(self._tasks):
            self._host._scheduler.close(task)
        for stream in list(self._streams):
            stream.cancel()
        self._handlers.clear()
        self._streams.clear()


def _emittable(name: str) -> str:
    if check_event_name(name) in LIFECYCLE:
        raise ModError(f"Only the host emits {name!r}; take another name.")
    return name


def _check_takes(fn: object, count: int, who: str, shape: str) -> None:
    import inspect

    if not callable(fn):
        raise ModError(f"{who} must be a function {shape}, not {fn!r}.")
    try:
        inspect.signature(fn).bind(*[None] * count)
    except ValueError:  # a builtin without a signature: the call will tell
        return
    except TypeError:
        name = getattr(fn, "__qualname__", repr(fn))
        raise ModError(
            f"{who} is called as {name}{shape}, which {name}{inspect.signature(fn)} cannot take."
        ) from None
