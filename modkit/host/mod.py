"""`Mod`: what a script holds of its mod. Everything made through it belongs to the mod and goes when it is
unloaded."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Coroutine
from typing import IO, TYPE_CHECKING, Any

from modkit.errors import ModError
from modkit.host.deeds import ModActions
from modkit.host.events import LIFECYCLE, Event, Handler, Origin, check_event_name
from modkit.host.report import UNLOADED, Account
from modkit.host.requires import check_range, check_version
from modkit.host.settings import Settings
from modkit.host.tasks import Task, Timer
from modkit.host.waits import check_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from modkit.host.apis import Api
    from modkit.host.folder import Folder
    from modkit.host.host import Host
    from modkit.host.manifest import Manifest
    from modkit.host.storage import Storage

__all__ = ["Mod", "ModNPC"]

_ON = ("on_done", "on_gesture", "on_mood", "on_sentence")  # what can be hung on a stream


class ModNPC:
    """An NPC, as one mod sees it: what it asks her to say is cancelled when the mod is unloaded.

    Every other attribute is the NPC's own.
    """

    def __init__(self, mod: Mod, npc: Any) -> None:
        self._mod = mod
        self._npc = npc

    def say(self, words: str, **options: Any) -> Any:
        """`NPC.say()`: returns the reply, a stream, at once."""
        return self._mod._own(self._npc.say(words, **options))

    def greet(self, *args: Any, **options: Any) -> Any:
        """`NPC.greet()`: the NPC speaks first; as `say`."""
        return self._mod._own(self._npc.greet(*args, **options))

    def choices(self, *args: Any, **options: Any) -> Any:
        """`NPC.choices()`: returns at once; what comes is a list of texts."""
        return self._mod._own(self._npc.choices(*args, **options))

    @property
    def actions(self) -> ModActions:
        """`NPC.actions`; what the mod adds is its own, and goes with it."""
        return ModActions(self._mod, self._npc)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._npc, name)


class Hung:
    """A function of a mod that somebody else calls, such as a stream. Lives as long as who calls it; holds
    nothing of the mod once the mod is gone."""

    __slots__ = ("__weakref__", "_call")

    def __init__(self, mod: Mod, origin: Origin, fn: Callable[..., object]) -> None:
        self._call: tuple[Mod, Origin, Callable[..., object]] | None = (mod, origin, fn)

    def __call__(self, *args: Any) -> None:
        if self._call is None or not self._call[0].account.runs:
            return
        mod, origin, fn = self._call
        result = mod._host._guard.call(mod, origin, fn, *args)
        if isinstance(result, Coroutine):
            mod._host._scheduler.spawn(mod, origin, result)

    def drop(self) -> None:
        """Never call it again."""
        self._call = None


class Mod:
    """A loaded mod: the first argument of each of its handlers.

    `id`, `name`, `version`, `manifest` come from its mod.toml; `log` is its logger (`modkit.mod.<id>`);
    `settings` are the values of the settings it declares.
    """

    def __init__(self, host: Host, manifest: Manifest, folder: Folder, storage: Storage, settings: Settings) -> None:
        self.id = manifest.id
        self.name = manifest.name
        self.version = manifest.version
        self.manifest = manifest
        self.log = logging.getLogger(f"modkit.mod.{manifest.id}")
        self.settings = settings
        self.account = Account()
        self.rank = 0
        self._host = host
        self._files = folder
        self._storage = storage
        self._handlers: dict[Handler, None] = {}
        self._timers: dict[Timer, None] = {}
        self._tasks: dict[Task, None] = {}
        self._streams: dict[Any, None] = {}
        self._hung: weakref.WeakSet[Hung] = weakref.WeakSet()
        self._open: dict[IO[Any], None] = {}
        self._origins: dict[str, Origin] = {}
        self._hooks: dict[str, Callable[..., Any]] = {}
        self._offered: tuple[Any, str] | None = None
        self._deeds: list[tuple[Any, str]] = []

    @property
    def folder(self) -> Path:
        """The mod's folder (of a mod that came as a zip: where it was unpacked)."""
        return self._files.root

    @property
    def time(self) -> float:
        """Game time in seconds: the sum of all ticks' `dt`."""
        return self._host.time

    @property
    def frame(self) -> int:
        """How many ticks the host has made."""
        return self._host.frame

    @property
    def storage(self) -> Storage:
        """A dict that lies in the game's save: text keys; None, bool, int, float, str, bytes, lists and dicts."""
        self._check()
        return self._storage

    def path(self, name: str) -> Path:
        """The path of a file in the mod's folder; raises `ModError` for a name that leads out of it."""
        return self._files.path(name)

    def open(self, name: str, mode: str = "r") -> IO[Any]:
        """Open a file of the mod's folder, text as UTF-8; it is closed when the mod is unloaded.

        Every mode but reading asks for the permission "files". Raises `ModError`.
        """
        self._check()
        path = self._files.path(name)
        if set(mode) - set("rbt"):
            self.need("files")
            if self._files.zipped:
                raise ModError(f"Mod {self.id!r} came as a zip, which is not written to; keep it in mod.storage.")
        try:
            file: IO[Any] = path.open(mode, encoding=None if "b" in mode else "utf-8")
        except (OSError, ValueError) as error:
            raise ModError(f"{name!r} in {self.folder} cannot be opened: {error}.") from error
        for old in [old for old in self._open if old.closed]:
            del self._open[old]
        self._open[file] = None
        return file

    def allows(self, permission: str) -> bool:
        """Whether the mod asked for this permission in its mod.toml (and so, as it is loaded, got it)."""
        return permission in self.manifest.permissions

    def need(self, permission: str) -> None:
        """Raise `ModError` unless the mod has this permission."""
        if not self.allows(permission):
            raise ModError(
                f"Mod {self.id!r} has no permission {permission!r}; "
                f'write permissions = ["{permission}"] into its mod.toml.'
            )

    def npc(self, ident: str) -> ModNPC:
        """An NPC that the game registered, or whose `<ident>.persona` lies in the mod's folder."""
        self._check()
        return ModNPC(self, self._host.npc(ident))

    def offer(self, thing: Any, version: str | None = None) -> None:
        """Let other mods use the public names of `thing` through `mod.api()`; replaces what was offered before.

        `version` is that of the offer (default: the mod's).
        """
        self._check()
        self._offered = thing, check_version(version or self.version, "mod.offer()")

    def api(self, ident: str, range: str = "") -> Api:
        """What mod `ident` offers, in a version within `range` such as ">=1.2,<2". Bound late, see `Api`."""
        self._check()
        return self._host._api(self, ident, check_range(range, "mod.api()"))

    def emit(self, name: str, /, **fields: Any) -> None:
        """Tell the game (this frame) and the mods that handle it (next frame) that something happened."""
        self._check()
        self._host._dispatch.emit(Event(emittable(name), fields, self.id), self)

    def on(self, event: str, fn: Callable[..., object]) -> Handler:
        """Call `fn(mod, event)` for each event of that name, from the next dispatch on; `.remove()` ends
        it."""
        self._check()
        _check_takes(fn, 2, f"A handler of {event!r}", "(mod, event)")
        handler = self._host._dispatch.index.add(self, check_event_name(event), fn)
        self._handlers[handler] = None
        return handler

    def every(self, seconds: float, fn: Callable[..., object]) -> Timer:
        """Call `fn(mod)` each `seconds` of game time, first after one such period; `.remove()` ends it."""
        return self._timer(check_seconds(seconds, "every()", least=0.001), fn, repeat=True)

    def after(self, seconds: float, fn: Callable[..., object]) -> Timer:
        """Call `fn(mod)` once, after that much game time; `.remove()` before then calls it off."""
        return self._timer(check_seconds(seconds, "after()", least=0), fn, repeat=False)

    def action(
        self,
        npc: str,
        fn: Callable[..., Any],
        when: Callable[[Mod], object] | None = None,
        name: str | None = None,
    ) -> None:
        """As `@action`: let the NPC have `fn(mod, ...)` done. Raises `ModError` when there is no such NPC."""
        self.npc(npc).actions.add(fn, when and (lambda: when(self)), name)

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> Task:
        """Run a coroutine beside the caller, up to its first wait at once; `.cancel()` ends it."""
        self._check()
        if not isinstance(coro, Coroutine):
            raise ModError(f"mod.spawn() takes a coroutine, as in mod.spawn(walk(mod)), not {coro!r}.")
        label = f"{getattr(coro, '__qualname__', repr(coro))}()"
        return self._host._scheduler.spawn(self, self._origin(label), coro)

    def set_hook(self, hook: str, fn: Callable[..., Any], count: int, shape: str) -> None:
        """Register the mod's one function for "save" or "restore", called with `count` arguments.

        The decorators use it. Raises `ModError` when there is one already.
        """
        _check_takes(fn, count, f"The function for @{hook}", shape)
        if hook in self._hooks:
            raise ModError(f"Mod {self.id!r} has two functions for @{hook}; make one that does both.")
        self._hooks[hook] = fn

    def __repr__(self) -> str:
        return f"<Mod {self.id!r} {self.version}, {self.account.state}>"

    def _origin(self, label: str) -> Origin:
        return self._origins.setdefault(label, Origin(label))

    def _failed(self, origin: Origin, error: BaseException) -> None:
        """Count a failure that surfaced outside of the mod's own calls."""
        self._host._guard.policy.failed(self, origin, error)

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

    def _own(self, stream: Any) -> Any:
        """Make a stream the mod's: cancelled with it, and what the mod hangs on it called as the mod's code is."""
        self._streams[stream] = None
        stream.on_done(self._disown)
        for name in _ON:
            register = getattr(stream, name, None)
            if register is not None and not stream.done:
                setattr(stream, name, self._registering(name, register))
        return stream

    def _disown(self, stream: Any) -> None:
        """The stream is over, or the mod is: neither holds on to the other."""
        self._streams.pop(stream, None)
        for name in _ON:
            vars(stream).pop(name, None)

    def _registering(self, name: str, register: Callable[..., Any]) -> Callable[[Callable[..., object]], None]:
        return lambda fn: register(self._guarded(name, fn))

    def _guarded(self, name: str, fn: Callable[..., object]) -> Hung:
        """`fn` for somebody else to call: it raises nothing, and is silent once the mod is gone."""
        hung = Hung(self, self._origin(f"{getattr(fn, '__qualname__', repr(fn))}() for {name}"), fn)
        self._hung.add(hung)
        return hung

    def _forgive(self) -> None:
        """Forget all failures in a row, and all that was owed."""
        self.account.debt = 0.0
        tasks = (task.origin for task in self._tasks)
        for origin in [*self._handlers, *self._timers, *self._origins.values(), *tasks]:
            origin.forgive()

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
            self._disown(stream)
        for hung in list(self._hung):
            hung.drop()
        for file in self._open:
            file.close()
        for actions, name in self._deeds:
            actions.remove(name)
        self._deeds.clear()
        self._host._scheduler.forget(self)
        self._handlers.clear()
        self._streams.clear()
        self._open.clear()
        self._hooks.clear()
        self._origins.clear()
        self._offered = None


def emittable(name: str) -> str:
    """The name, if the game or a mod may emit it."""
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
