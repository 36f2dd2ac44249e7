"""`Host`: loads the mods of a folder and runs them inside the game's frame.

One `tick(dt)` is one frame: the engine's news first, then the frame's events in the order they were emitted,
then timers and coroutines while the frame has time, then what the mods emitted, handed to the game. Nothing in it
waits. The thread that makes a host is the only one that may use it.
"""

from __future__ import annotations

import contextlib
import logging
import time as _time
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

from modkit.engine.helper import Helper
from modkit.errors import ModError, ModkitError, OptionError, WrongThread
from modkit.host.apis import Api
from modkit.host.cast import Cast
from modkit.host.dispatch import Dispatch
from modkit.host.events import Event
from modkit.host.garbage import Garbage
from modkit.host.guard import Guard
from modkit.host.lateness import Lateness
from modkit.host.mod import Mod, emittable
from modkit.host.policy import Policy
from modkit.host.report import RUNNING, SUSPENDED, THROTTLED, ModReport
from modkit.host.roster import Roster, report_of
from modkit.host.saves import Saves
from modkit.host.tasks import Scheduler
from modkit.host.watch import Watch
from modkit.host.watchdog import Overdue, Watchdog

if TYPE_CHECKING:
    from types import TracebackType

    from modkit.host.worker_mods import Workers

__all__ = ["Host"]

_log = logging.getLogger("modkit.host")

class Host:
    """The mods of a folder, and the game's side of them.

    `mods_dir` holds one folder or zip per mod (None: load them one by one with `load()`). `engine` is what NPCs
    speak through; the game owns and closes it, the host ticks it. `save` is the path of the save file for the
    NPCs' minds and the mods' storage. `clock` returns seconds and is used to attribute time and to keep
    `budget_ms` (default: a monotonic clock). `failures` in a row from one handler suspend its mod; a call longer
    than `slow_ms` counts against it (None: none does). `watchdog="interrupt"` ends a call that has not come back
    after `hang_ms`. `settings` are values by mod and name; `grants` the permissions that mods may have (None:
    all). `watch=True` reloads a mod when its files change.

    A mod with `run = "worker"` has a process of its own, which is ended when it does not answer a frame within
    `worker_ms`, and may have `worker_mb` of memory.

    A mod that does not load is named in `report` with one sentence and the fix; the others run.
    Everything here belongs to the thread that made the host.
    """

    _in_worker = False  # True in the process of such a mod
    _api: type[Api] = Api  # how a mod reaches another one's offer; otherwise in the process of one

    def __init__(
        self,
        mods_dir: str | Path | None,
        *,
        engine: Any = None,
        save: str | Path | None = None,
        clock: Callable[[], float] | None = None,
        failures: int = 10,
        slow_ms: float | None = 8.0,
        watchdog: str | None = None,
        hang_ms: float = 1000.0,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        grants: Collection[str] | None = None,
        watch: bool = False,
        worker_ms: float = 250.0,
        worker_mb: float = 1024.0,
    ) -> None:
        if failures < 1:
            raise OptionError(f"failures must be 1 or more, not {failures!r}.")
        if watchdog not in (None, "interrupt") or not hang_ms > 0 or (slow_ms is not None and not slow_ms > 0):
            raise OptionError('watchdog is None or "interrupt"; hang_ms and slow_ms are more than 0.')
        if not worker_ms > 0 or not worker_mb > 0:
            raise OptionError("worker_ms and worker_mb are more than 0.")
        self.clock = clock or _time.perf_counter
        self.engine = engine
        self._thread = get_ident()
        self._helper = Helper("modkit-host")
        self._saves = Saves(save, self._helper)
        self._cast = Cast(engine, self._saves.file)
        self._policy = Policy(failures, None if slow_ms is None else slow_ms / 1000)
        self._guard = Guard(self.clock, self._policy)
        self._scheduler = Scheduler(self._guard)
        self._dispatch = Dispatch(self._guard, self._scheduler)
        self._roster = Roster(self, settings, None if grants is None else frozenset(grants))
        self._ticking = False
        self._engine_failure: str | None = None
        self._garbage = Garbage()
        self._lateness = Lateness()
        self._workers: Workers | None = None
        self._worker_limits = worker_ms / 1000, int(worker_mb * (1 << 20))
        self._watchdog = Watchdog(self._guard, self._thread, hang_ms / 1000) if watchdog else None
        self._watch: Watch | None = None
        try:
            if mods_dir is not None:
                self._roster.load_all(Path(mods_dir))
        except BaseException:
            self.close()
            raise
        if watch:
            self._watch = Watch(self._roster)

    # ---- the frame ----

    @property
    def time(self) -> float:
        """Game time in seconds: the sum of all ticks' `dt`."""
        return self._scheduler.time

    @property
    def frame(self) -> int:
        """How many ticks there have been."""
        return self._scheduler.frame

    @property
    def deferred(self) -> int:
        """How many timers and coroutines were due and found no time in the last tick's budget."""
        return self._scheduler.deferred

    def tick(self, dt: float, budget_ms: float | None = None) -> None:
        """Run one frame; `dt` is the game time in seconds since the last (0 while the game is paused).

        Events are always delivered, all of them. Timers and coroutines are resumed while less than `budget_ms`
        has passed since the tick began (None: all of them), in turns among the mods; the rest is first in the next
        frame. Raises nothing that a mod or the engine did. An exception in a function given to `subscribe` is the
        game's own and comes out of here.
        """
        self._check_thread()
        if self._ticking:
            raise ModError(
                "host.tick() was called from inside itself; call it once a frame, from the game's loop."
            )
        if not 0 <= dt < float("inf"):
            raise OptionError(f"tick() takes the seconds since the last frame, 0 or more, not {dt!r}.")
        if budget_ms is not None and not 0 < budget_ms < float("inf"):
            raise OptionError(f"budget_ms is a number of milliseconds, more than 0, not {budget_ms!r}.")
        now = self.clock()
        end = None if budget_ms is None else now + budget_ms / 1000
        self._ticking = True
        try:
            self._tell_late(self._lateness.begin(now))
            self._run_safely(self._tick_engine)
            self._begin(dt)
            events = self._dispatch.due if self._workers else []
            self._run_safely(self._dispatch.run)
            if self._workers:
                self._workers.send(events, dt)
            self._scheduler.gather()
            self._run_safely(self._scheduler.run, self._left(end))
        finally:
            self._ticking = False
        self._dispatch.hand_out()
        if end is not None:
            self._garbage.idle(end - self.clock())

    def emit(self, name: str, /, **fields: Any) -> None:
        """Tell the mods that something happened; they hear of it in the next tick, in the order of the
        emits."""
        self._check_thread()
        self._dispatch.inbox.append(Event(emittable(name), fields))

    def subscribe(self, name: str, fn: Callable[[Event], None]) -> Callable[[], None]:
        """Call `fn(event)` at the end of the tick in which a mod emitted `name` ("*": whatever any mod
        emits).

        Returns a function that ends the subscription.
        """
        self._check_thread()
        return self._dispatch.subscribe(name, fn)

    # ---- the mods ----

    @property
    def mods(self) -> tuple[Mod, ...]:
        """The loaded mods, in the order they hear of events."""
        return tuple(sorted(self._roster.mods.values(), key=lambda mod: mod.rank))

    @property
    def report(self) -> dict[str, ModReport]:
        """All mods, loaded or not, by id (by folder name where there is no id): how they are and what went
        wrong."""
        running = {mod.id: report_of(mod) for mod in self._roster.mods.values()}
        return dict(sorted({**self._roster.gone, **running}.items()))

    @property
    def engine_failure(self) -> str | None:
        """Why the engine failed, or None. Its streams have ended with that error; the mods go on."""
        return self._engine_failure

    def load(self, folder: str | Path) -> Mod:
        """Load one mod's folder or zip; raises `ModError` with the fix when it does not load. Others are not
        touched."""
        self._check_thread()
        return self._roster.load(Path(folder))

    def unload(self, ident: str, reason: str = "unload") -> None:
        """Take a mod out: its "unload" handlers run, then its handlers, timers, coroutines and streams
        end."""
        self._check_thread()
        self._roster.unload(ident, reason)

    def reload(self, ident: str, *, now: bool = False) -> None:
        """Exchange a mod for what is in its folder: `@save`, "unload", a fresh namespace, `@restore`, "ready".

        It is read and compiled off the frame and exchanged at the beginning of a later tick; with `now`, in this
        call, or at the beginning of the next tick when called from a mod. When it does not compile or load, the
        old code goes on, and `report` says so in `notice`. Also tries a mod again that was refused. A mod that has
        itself reloaded again and again is suspended.
        """
        self._check_thread()
        source = self._roster.sources.get(ident)
        if source is None:
            source = self._roster.get(ident)._files.source
        if self._ticking:
            self._roster.check_loop(ident, self.frame)
        if not now:
            self._helper.run(lambda: self._roster.prepare(ident, source))
            return
        self._roster.prepare(ident, source)
        if not self._ticking:
            self._roster.exchange()

    def suspend(self, ident: str, why: str = "by the game") -> None:
        """Stop a mod where it is, until `resume`."""
        self._check_thread()
        self._policy.suspend(self._roster.get(ident), why)

    def resume(self, ident: str) -> None:
        """Let a suspended or throttled mod run again from the next tick on; its failures in a row, and the time
        it owes, are forgotten."""
        self._check_thread()
        mod = self._roster.get(ident)
        if mod.account.state in (SUSPENDED, THROTTLED):
            mod.account.enter(RUNNING)
            mod._forgive()
            worker = self._roster.worker(ident)
            if worker is not None:
                worker.resume()
            _log.info("Mod %r runs again.", ident)

    def set(self, ident: str, name: str, value: Any) -> None:
        """Change a setting of a mod, which hears of it as the event "setting" in the next tick.

        Raises `OptionError` for a value that the mod's manifest does not allow. Values of scope "save" go into
        the save; others are the game's to keep and to give to the next host.
        """
        self._check_thread()
        mod, before = self._roster.set(ident, name, value)
        if before != mod.settings[name]:
            fields = {"mod": ident, "key": name, "value": value, "before": before}
            self._dispatch.inbox.append(Event("setting", fields))

    # ---- the save ----

    def save(self, copy_to: str | Path | None = None, *, done: Callable[[], None] | None = None) -> None:
        """Ask every mod's `@save` and commit, off the frame, with what NPCs and mods have kept so far.

        `copy_to` is where a copy of the whole save then goes (a save slot). `done()` is called on another thread
        when it is on the disk, or could not be written: `save_error` says which.
        """
        self._check_thread()
        for mod in self.mods:
            self._roster.keep_state(mod)
        self._saves.commit(copy_to, done)

    @property
    def save_error(self) -> ModkitError | None:
        """Why the last commit failed, or None. What was not written is tried again with the next."""
        return self._saves.error

    # ---- the cast ----

    def add_persona(self, ident: str, persona: Any, **options: Any) -> None:
        """Make an NPC that mods reach as `mod.npc(ident)`; `persona` is a Persona or the path of its file.

        `options` are those of `NPC`: `moods`, `player`, `memories`, `embedder`…
        """
        self._check_thread()
        self._cast.add_persona(ident, persona, **options)

    def add_npc(self, ident: str, npc: Any) -> None:
        """Let mods reach an NPC that the game made itself, and closes itself."""
        self._check_thread()
        self._cast.add_npc(ident, npc)

    def npc(self, ident: str) -> Any:
        """The NPC of that id; raises `ModError` when there is none."""
        return self._cast.npc(ident)

    # ---- memory ----

    def settle(self) -> None:
        """Call it once everything is loaded: collects garbage, and takes what is left out of every later collection.

        From then on the collector runs when a tick with a `budget_ms` has time left, not in the middle of a
        frame (after 600 ticks without any, once). Takes as long as a loading screen. `close()` undoes it.
        """
        self._check_thread()
        self._garbage.settle()

    # ---- the end ----

    def close(self) -> None:
        """Unload every mod, commit the save and let go of the NPCs; the engine stays the game's. May be called
        twice."""
        self._check_thread()
        if self._watch is not None:
            self._watch.close()
        for mod in reversed(self.mods):
            self._roster.unload(mod.id, "close")
        if self._workers is not None:
            self._workers.close()
        self._dispatch.clear()
        self._cast.close()
        self._helper.close()
        self._saves.close()
        self._garbage.close()
        if self._watchdog is not None:
            self._watchdog.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        roster = getattr(self, "_roster", None)  # absent when the making of the host failed
        if roster is not None and roster.mods:
            warnings.warn(
                "A Host with mods was forgotten; close() it, or use it in a with block.",
                ResourceWarning,
                stacklevel=2,
            )
            roster.close_scripts()

    # ---- inside ----

    def _begin(self, dt: float) -> None:
        self._scheduler.begin(dt)
        self._policy.begin(self.frame)
        self._saves.begin(self.time)
        self._dispatch.count_afresh()
        if self._workers:
            self._workers.receive()
        self._run_safely(self._roster.exchange)
        self._run_safely(self._make_ready)
        self._dispatch.begin(dt)

    def _tell_late(self, ms: float) -> None:
        tell = getattr(self.engine, "late", None) if ms else None
        if tell is not None:
            with contextlib.suppress(ModkitError):  # an engine that is closed or dead says so in its tick
                tell(ms)

    def _tick_engine(self) -> None:
        if self.engine is None:
            return
        try:
            self.engine.tick()
        except ModkitError as error:
            _log.error("The engine failed: %s", error)
            self._engine_failure = str(error)

    def _make_ready(self) -> None:
        while self._roster.unready:
            self._roster.unready.sort(key=lambda mod: mod.rank)
            mod = self._roster.unready.pop(0)
            self._dispatch.tell(mod, Event("ready", {}))

    def _run_safely(self, work: Callable[..., None], *args: Any) -> None:
        """Do a part of the frame; when the watchdog's exception comes up outside of its call, go on with it."""
        if self._watchdog is None:
            work(*args)
            return
        while True:
            try:
                work(*args)
                stopped = self._watchdog.settle()
                if stopped is not None:
                    self._scheduler.repair(stopped[0])
                return
            except Overdue as error:
                stopped = self._watchdog.settle()
                if stopped is not None:
                    self._guard.running = None
                    self._policy.failed(stopped[0], stopped[1], error)
                    self._scheduler.repair(stopped[0])

    def _worker_pool(self) -> Workers:
        if self._workers is None:
            from modkit.host.worker_mods import Workers  # processes are for games that have such mods

            self._workers = Workers(self, *self._worker_limits)
        return self._workers

    def _left(self, end: float | None) -> Callable[[], bool]:
        if end is None:
            return _always
        clock = self.clock
        return lambda: clock() < end

    def _check_thread(self) -> None:
        if get_ident() != self._thread:
            raise WrongThread(
                f"This host belongs to thread {self._thread}, but thread {get_ident()} used it; "
                "call it from the thread that made it."
            )


def _always() -> bool:
    return True
