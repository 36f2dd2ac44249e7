"""Coroutines of mods, and the game time they sleep on. They run inside `host.tick()` and nowhere else.

A parked task costs nothing: sleepers lie in a heap, waiters for events in a table by name. Only waitables
from elsewhere (a stream) are asked once a frame. What is due stands in a line of its own for each mod, in the
order: timers, due by time, due by frame, woken by an event, ready when asked; within each by when it began to
wait. The mods take turns, one step each, while the frame has time; who was not reached is first in the next. So
the same inputs give the same order, every time, and a mod with a thousand coroutines delays its neighbours by
one step.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from modkit.errors import ModError
from modkit.host.events import Event, Origin
from modkit.host.guard import FAILED, Guard
from modkit.host.policy import EVERY
from modkit.host.waits import Wait

if TYPE_CHECKING:
    from modkit.host.mod import Mod

__all__ = ["Scheduler", "Task", "Timer"]

_FINISHED: Any = object()
_ROUNDING = 1e-9  # 120 frames of 1/60 s sum up to a hair less or more than 2 s; both are 2 s


class Task:
    """A coroutine of a mod."""

    __slots__ = ("coro", "done", "doomed", "leave", "mod", "origin", "running")

    def __init__(self, mod: Mod, origin: Origin, coro: Coroutine[Any, Any, Any]) -> None:
        self.mod = mod
        self.origin = origin
        self.coro = coro
        self.done = False
        self.running = False
        self.doomed = False  # closed by its own step, which has to end first
        self.leave: Callable[[], None] | None = None  # takes it out of the place where it is parked

    def cancel(self) -> None:
        """End it where it stands; its `finally` blocks run. May be called twice."""
        self.mod._host._scheduler.close(self)


class Timer(Origin):
    """A function of a mod that is called when its time comes: once, or each `period` seconds."""

    __slots__ = ("_entry", "active", "due", "fn", "mod", "period", "task")

    def __init__(
        self, mod: Mod, label: str, fn: Callable[..., object], due: float, period: float | None
    ) -> None:
        super().__init__(label)
        self.active = True
        self.due = due
        self.fn = fn
        self.mod = mod
        self.period = period
        self.task: Task | None = None
        self._entry: _Entry | None = None

    def remove(self) -> None:
        """Never call it again. May be called twice."""
        self.active = False
        if self._entry is not None:
            self._entry.item = None
        self.mod._timers.pop(self, None)


class _Entry:
    """A place in the heap. Taken out by emptying it, because a heap cannot be searched cheaply."""

    __slots__ = ("due", "item", "order")

    def __init__(self, due: float, order: int, item: Task | Timer | None) -> None:
        self.due = due
        self.order = order
        self.item = item

    def __lt__(self, other: _Entry) -> bool:
        return (self.due, self.order) < (other.due, other.order)

    def empty(self) -> None:
        self.item = None


_Due = tuple[Task | Timer, Any, BaseException | None]
"""What to resume, and with which value or error."""


class Scheduler:
    """Game time, and everything that waits for it. `time` is in seconds since the host began, `frame` counts
    ticks."""

    def __init__(self, guard: Guard) -> None:
        self.time = 0.0
        self.frame = 0
        self._guard = guard
        self._heap: list[_Entry] = []
        self._order = 0
        self._by_frame: dict[int, dict[Task, None]] = {}
        self._by_event: dict[str, dict[Task, None]] = {}
        self._polled: dict[Task, Any] = {}
        self._woken: list[_Due] = []
        self._lines: dict[Mod, deque[_Due]] = {}  # what is due, by mod
        self._turns: deque[Mod] = deque()  # the mods that have something due, in the order they take turns

    def begin(self, dt: float) -> None:
        """A new frame begins, `dt` seconds after the last."""
        self.time += dt
        self.frame += 1

    def spawn(self, mod: Mod, origin: Origin, coro: Coroutine[Any, Any, Any]) -> Task:
        """Run the coroutine up to its first wait, at once, on behalf of `mod`."""
        task = Task(mod, origin, coro)
        mod._tasks[task] = None
        self._step(task, None, None)
        return task

    def add_timer(self, timer: Timer) -> None:
        """Call the timer's function when `timer.due` has come."""
        timer.mod._timers[timer] = None
        timer._entry = self._push(timer.due, timer)

    def wake_waiters(self, event: Event) -> None:
        """Resume, later in this frame, the tasks that await this event."""
        if event.name not in self._by_event:
            return
        for task in self._by_event.pop(event.name, ()):
            task.leave = None
            self._woken.append((task, event, None))

    @property
    def deferred(self) -> int:
        """How many timers and coroutines are due and were not reached in the last frame."""
        return sum(map(len, self._lines.values()))

    def gather(self) -> None:
        """Put what has come due into its mod's line. Once a frame, before `run`."""
        woken, self._woken = self._woken, []
        for item in self._collect_due():
            self._stand(item, None, None)
        for task in self._by_frame.pop(self.frame, ()):
            self._stand(task, None, None)
        for due, value, error in woken:
            self._stand(due, value, error)
        if self._polled:
            for task in self._poll():
                self._stand(task, None, None)

    def run(self, left: Callable[[], bool]) -> None:
        """Take turns while `left()` says that the frame has time; one step is made in any case."""
        aside, steps = [], 0
        while self._turns and (not steps or left()):
            mod = self._turns.popleft()
            line = self._lines[mod]
            if not mod.account.runs or (mod.account.throttled and self.frame % EVERY):
                aside.append(mod)  # suspended: it goes on from here when the mod is resumed
                continue
            item, value, error = line.popleft()
            if line:
                self._turns.append(mod)
            else:
                del self._lines[mod]
            steps += 1
            if isinstance(item, Timer):
                self._fire(item)
            elif not item.done:
                item.leave = None
                self._step(item, value, error)
        self._turns.extendleft(reversed([mod for mod in aside if mod in self._lines]))

    def forget(self, mod: Mod) -> None:
        """The mod is gone; so is its line."""
        if self._lines.pop(mod, None) is not None and mod in self._turns:
            self._turns.remove(mod)
        self._woken = [due for due in self._woken if due[0].mod is not mod]

    def repair(self, mod: Mod) -> None:
        """A step of this mod was cut off outside of it (by the watchdog): its task is over, the lines are whole."""
        self._lines = {mod: line for mod, line in self._lines.items() if line}
        self._turns = deque(self._lines)
        for task in [task for task in mod._tasks if task.running]:
            task.running = False
            self.close(task)

    def close(self, task: Task) -> None:
        """End a task where it stands (its `finally` blocks run). May be called twice."""
        if task.done:
            return
        if task.running:
            task.doomed = True
            return
        if task.leave is not None:
            task.leave()
        self._finish(task)
        self._guard.call(task.mod, task.origin, task.coro.close)

    def park_until(self, due: float, task: Task) -> None:
        """Resume the task in the first frame whose time is `due` or later."""
        task.leave = self._push(due, task).empty

    def park_for_frames(self, frames: int, task: Task) -> None:
        """Resume the task that many frames from now."""
        self._park_in(self._by_frame, self.frame + frames, task)

    def park_for_event(self, name: str, task: Task) -> None:
        """Resume the task in the frame of the next event of that name."""
        self._park_in(self._by_event, name, task)

    def _park_in(self, table: dict[Any, dict[Task, None]], key: Any, task: Task) -> None:
        place = table.setdefault(key, {})
        place[task] = None
        task.leave = partial(place.pop, task, None)

    def _push(self, due: float, item: Task | Timer) -> _Entry:
        self._order += 1
        entry = _Entry(due, self._order, item)
        heapq.heappush(self._heap, entry)
        return entry

    def _stand(self, item: Task | Timer, value: Any, error: BaseException | None) -> None:
        line = self._lines.get(item.mod)
        if line is None:
            line = self._lines[item.mod] = deque()
            self._turns.append(item.mod)
        line.append((item, value, error))

    def _collect_due(self) -> list[Task | Timer]:
        """Take what is due out of the heap: its timers, then its tasks."""
        now = self.time + _ROUNDING
        timers: list[Task | Timer] = []
        tasks: list[Task | Timer] = []
        while self._heap and self._heap[0].due <= now:
            item = heapq.heappop(self._heap).item
            if item is not None:
                (timers if isinstance(item, Timer) else tasks).append(item)
        return timers + tasks

    def _fire(self, timer: Timer) -> None:
        mod = timer.mod
        if not timer.active:
            return
        if timer.period is None:
            timer.remove()
        else:
            missed = int((self.time + _ROUNDING - timer.due) / timer.period)
            timer.due += (missed + 1) * timer.period
            timer._entry = self._push(timer.due, timer)
        resting = timer.streak and self.frame < timer.rests_until
        if resting or (timer.task is not None and not timer.task.done):
            return
        result = self._guard.call(mod, timer, timer.fn, mod)
        if type(result) is CoroutineType or isinstance(result, Coroutine):
            timer.task = self.spawn(mod, timer, result)
        elif result is not FAILED:
            timer.streak = 0

    def _poll(self) -> list[Task]:
        ready: list[Task] = []
        for task, waitable in list(self._polled.items()):
            if task.done or not task.mod.account.runs:
                continue
            answer = self._guard.call(task.mod, task.origin, waitable.ready)
            if answer is FAILED:
                self.close(task)
            elif answer:
                self._polled.pop(task, None)
                ready.append(task)
        return ready

    def _step(self, task: Task, value: Any, error: BaseException | None) -> None:
        task.running = True
        outcome = self._guard.call(task.mod, task.origin, _advance, task.coro, value, error)
        task.running = False
        if outcome is FAILED or outcome is _FINISHED:
            if outcome is _FINISHED:
                task.origin.streak = 0
            self._finish(task)
        elif task.doomed:
            self.close(task)
        elif isinstance(outcome, Wait):
            outcome.park(self, task)
        elif callable(getattr(outcome, "ready", None)):
            self._polled[task] = outcome
            task.leave = partial(self._polled.pop, task, None)
        else:
            self._woken.append((task, None, _not_waitable(outcome)))

    def _finish(self, task: Task) -> None:
        task.done = True
        task.mod._tasks.pop(task, None)


def _advance(coro: Coroutine[Any, Any, Any], value: Any, error: BaseException | None) -> Any:
    try:
        return coro.send(value) if error is None else coro.throw(error)
    except StopIteration:
        return _FINISHED


def _not_waitable(thing: object) -> ModError:
    return ModError(
        f"A mod awaited something that yields {type(thing).__name__}, which the host cannot wait for; await "
        "seconds(), frames(), event(), a reply, or an object with a method ready() -> bool."
    )
