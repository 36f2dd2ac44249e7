"""`Host`: loads the mods of a folder and runs them inside the game's frame.

One `tick(dt)` is one frame: the engine's news first, then the frame's events in the order they were emitted,
then timers and coroutines, then what the mods emitted, handed to the game. Nothing in it waits. The thread
that makes a host is the only one that may use it.
"""

from __future__ import annotations

import logging
import time as _time
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

from modkit.errors import ModError, ModkitError, OptionError, WrongThread
from modkit.host.cast import Cast
from modkit.host.events import Event, Handler, HandlerIndex, check_event_name
from modkit.host.folder import Folder
from modkit.host.guard import FAILED, Guard, describe
from modkit.host.loading import find_mods, load_script
from modkit.host.manifest import read_manifest
from modkit.host.mod import Mod, _emittable
from modkit.host.report import REFUSED, RUNNING, SUSPENDED, UNLOADED, Account, ModReport
from modkit.host.scripts import Script
from modkit.host.tasks import Scheduler

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Host"]

_log = logging.getLogger("modkit.host")
_MAX_EMITS = 1000


class Host:
    """The mods of a folder, and the game's side of them.

    `mods_dir` holds one folder per mod (None: load them one by one with `load()`). `engine` is what NPCs
    speak through; the game owns and closes it, the host ticks it. `save` is the path of the save file for the
    NPCs' minds. `clock` returns seconds and is used to attribute time, never to decide anything (default: a
    monotonic clock). `failures` in a row from one handler suspend its mod.

    A mod that does not load is named in `report` with one sentence and the fix; the others run.
    """

    def __init__(
        self,
        mods_dir: str | Path | None,
        *,
        engine: Any = None,
        save: str | Path | None = None,
        clock: Callable[[], float] | None = None,
        failures: int = 10,
    ) -> None:
        if failures < 1:
            raise OptionError(f"failures must be 1 or more, not {failures!r}.")
        self.clock = clock or _time.perf_counter
        self.engine = engine
        self._cast = Cast(engine, save)
        self._thread = get_ident()
        self._guard = Guard(self.clock, failures)
        self._scheduler = Scheduler(self._guard)
        self._index = HandlerIndex()
        self._mods: dict[str, Mod] = {}
        self._scripts: dict[str, Script] = {}
        self._gone: dict[str, ModReport] = {}
        self._inbox: list[Event] = []
        self._outbox: list[Event] = []
        self._emitted: dict[str, int] = {}
        self._subscribers: dict[str, list[Callable[[Event], None]]] = {}
        self._unready: list[Mod] = []
        self._ticking = False
        self._engine_failure: str | None = None
        if mods_dir is not None:
            for folder in find_mods(Path(mods_dir)):
                self._load_or_note(folder)

    # ---- the frame ----

    @property
    def time(self) -> float:
        """Game time in seconds: the sum of all ticks' `dt`."""
        return self._scheduler.time

    @property
    def frame(self) -> int:
        """How many ticks there have been."""
        return self._scheduler.frame

    def tick(self, dt: float) -> None:
        """Run one frame; `dt` is the game time in seconds since the last (0 while the game is paused).

        Raises nothing that a mod or the engine did. An exception in a function given to `subscribe` is the
        game's own and comes out of here.
        """
        self._check_thread()
        if self._ticking:
            raise ModError(
                "host.tick() was called from inside itself; call it once a frame, from the game's loop."
            )
        if not 0 <= dt < float("inf"):
            raise OptionError(f"tick() takes the seconds since the last frame, 0 or more, not {dt!r}.")
        self._ticking = True
        try:
            self._tick_engine()
            self._scheduler.begin(dt)
            self._emitted.clear()
            self._make_ready()
            if self._index.snapshot("tick"):
                self._dispatch(Event("tick", {"dt": dt}))
            inbox, self._inbox = self._inbox, []
            for event in inbox:
                self._dispatch(event)
            self._scheduler.run()
        finally:
            self._ticking = False
        self._hand_out()

    def emit(self, name: str, /, **fields: Any) -> None:
        """Tell the mods that something happened; they hear of it in the next tick, in the order of the
        emits."""
        self._check_thread()
        self._inbox.append(Event(_emittable(name), fields))

    def subscribe(self, name: str, fn: Callable[[Event], None]) -> Callable[[], None]:
        """Call `fn(event)` at the end of the tick in which a mod emitted `name` ("*": whatever any mod
        emits).

        Returns a function that ends the subscription.
        """
        self._check_thread()
        listeners = self._subscribers.setdefault(check_event_name(name), [])
        listeners.append(fn)

        def unsubscribe() -> None:
            if fn in listeners:
                listeners.remove(fn)

        return unsubscribe

    # ---- the mods ----

    @property
    def report(self) -> dict[str, ModReport]:
        """All mods, loaded or not, by id (by folder name where there is no id): how they are and what went
        wrong."""
        running = {mod.id: _report(mod) for mod in self._mods.values()}
        return dict(sorted({**self._gone, **running}.items()))

    @property
    def engine_failure(self) -> str | None:
        """Why the engine failed, or None. Its streams have ended with that error; the mods go on."""
        return self._engine_failure

    def load(self, folder: str | Path) -> Mod:
        """Load one mod's folder; raises `ModError` with the fix when it does not load. Others are not
        touched."""
        self._check_thread()
        files = Folder(Path(folder))
        manifest = read_manifest(files)
        other = self._mods.get(manifest.id)
        if other is not None:
            raise ModError(
                f"{files.root} has the id {manifest.id!r}, which {other.folder} has already; "
                "give one of them another."
            )
        mod = Mod(self, manifest, files)
        script = Script(manifest.id, files, manifest.entry)
        try:
            load_script(mod, script)
            self._cast.look_in(files)
        except ModkitError as error:
            self._drop(mod, script)
            raise error if isinstance(error, ModError) else _refusal(mod, error) from error
        self._gone.pop(mod.id, None)
        self._mods[mod.id] = mod
        self._scripts[mod.id] = script
        self._unready.append(mod)
        return mod

    def unload(self, ident: str, reason: str = "unload") -> None:
        """Take a mod out: its "unload" handlers run, then its handlers, timers, coroutines and streams
        end."""
        self._check_thread()
        mod = self._mod(ident)
        farewell = Event("unload", {"reason": reason})
        for handler in self._index.snapshot("unload"):
            if handler.mod is mod and handler.active:
                self._call(handler, farewell)
        del self._mods[ident]
        self._drop(mod, self._scripts.pop(ident))
        self._gone[ident] = _report(mod)

    def resume(self, ident: str) -> None:
        """Let a suspended mod run again from the next tick on, with its failures in a row forgotten."""
        self._check_thread()
        mod = self._mod(ident)
        if mod.account.state == SUSPENDED:
            mod.account.state, mod.account.problem = RUNNING, None
            for origin in [
                *mod._handlers,
                *mod._timers,
                *mod._origins.values(),
                *(t.origin for t in mod._tasks),
            ]:
                origin.streak = 0
            _log.info("Mod %r runs again.", ident)

    # ---- the cast ----

    def add_persona(self, ident: str, persona: Any) -> None:
        """Make an NPC that mods reach as `mod.npc(ident)`; `persona` is a Persona or the path of its file."""
        self._check_thread()
        self._cast.add_persona(ident, persona)

    def add_npc(self, ident: str, npc: Any) -> None:
        """Let mods reach an NPC that the game made itself, and closes itself."""
        self._check_thread()
        self._cast.add_npc(ident, npc)

    def npc(self, ident: str) -> Any:
        """The NPC of that id; raises `ModError` when there is none."""
        return self._cast.npc(ident)

    # ---- the end ----

    def close(self) -> None:
        """Unload every mod and let go of the NPCs; the engine stays the game's. May be called twice."""
        self._check_thread()
        for ident in sorted(self._mods, reverse=True):
            self.unload(ident, "close")
        self._inbox.clear()
        self._outbox.clear()
        self._cast.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        scripts = getattr(self, "_scripts", None)  # absent when the making of the host failed
        if scripts:
            warnings.warn(
                "A Host with mods was forgotten; close() it, or use it in a with block.",
                ResourceWarning,
                stacklevel=2,
            )
            for script in scripts.values():
                script.close()

    # ---- inside ----

    def _emit(self, event: Event, mod: Mod) -> None:
        count = self._emitted.get(mod.id, 0)
        if count >= _MAX_EMITS:
            raise ModError(
                f"Mod {mod.id!r} emitted {_MAX_EMITS} events in one frame; spread them over frames."
            )
        self._emitted[mod.id] = count + 1
        self._inbox.append(event)
        self._outbox.append(event)

    def _tick_engine(self) -> None:
        if self.engine is None:
            return
        try:
            self.engine.tick()
        except ModkitError as error:
            _log.error("The engine failed: %s", error)
            self._engine_failure = str(error)

    def _make_ready(self) -> None:
        while self._unready:
            self._unready.sort(key=lambda mod: mod.rank)
            mod = self._unready.pop(0)
            for handler in self._index.snapshot("ready"):
                if handler.mod is mod and handler.active and mod.account.state == RUNNING:
                    self._call(handler, Event("ready", {}))

    def _dispatch(self, event: Event) -> None:
        for handler in self._index.snapshot(event.name):
            if handler.active and handler.mod.account.state == RUNNING:
                self._call(handler, event)
        self._scheduler.wake_waiters(event)

    def _call(self, handler: Handler, event: Event) -> None:
        result = self._guard.call(handler.mod, handler, handler.fn, handler.mod, event)
        if isinstance(result, Coroutine):
            self._scheduler.spawn(handler.mod, handler, result)
        elif result is not FAILED:
            handler.streak = 0

    def _hand_out(self) -> None:
        while self._outbox:  # one by one: when the game's function raises, the rest waits for the next tick
            event = self._outbox.pop(0)
            for fn in [*self._subscribers.get(event.name, ()), *self._subscribers.get("*", ())]:
                fn(event)

    def _load_or_note(self, folder: Path) -> None:
        ident, version = folder.name, "0"
        try:
            manifest = read_manifest(Folder(folder))
            ident, version = manifest.id, manifest.version
            self.load(folder)
        except ModError as error:
            taken = {*self._mods, *self._gone}
            name = next((n for n in (ident, folder.name) if n not in taken), str(folder))
            trace = describe(error.__cause__) if error.__cause__ else None
            account = Account(REFUSED, str(error), failures=1, last_error=trace)
            self._gone[name] = ModReport.of(name, folder, version, account)
            _log.error("%s", error)

    def _drop(self, mod: Mod, script: Script) -> None:
        mod._drop_all()
        mod.account.state = UNLOADED
        script.close()
        if mod in self._unready:
            self._unready.remove(mod)

    def _mod(self, ident: str) -> Mod:
        try:
            return self._mods[ident]
        except KeyError:
            known = ", ".join(sorted(self._mods)) or "none"
            raise ModError(f"No mod with the id {ident!r} is loaded; loaded: {known}.") from None

    def _check_thread(self) -> None:
        if get_ident() != self._thread:
            raise WrongThread(
                f"This host belongs to thread {self._thread}, but thread {get_ident()} used it; "
                "call it from the thread that made it."
            )


def _refusal(mod: Mod, error: ModkitError) -> ModError:
    return ModError(f"Mod {mod.id!r} did not load: {error}")


def _report(mod: Mod) -> ModReport:
    return ModReport.of(mod.id, mod.folder, mod.version, mod.account)
