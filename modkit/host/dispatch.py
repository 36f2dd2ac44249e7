"""Events on their way: from the game and the mods to the handlers, and from the mods to the game.

Belongs to one host and its thread. What is emitted in one frame is delivered to mods in the next, in order; what
mods emit is handed to the game at the end of the same frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from types import CoroutineType

from modkit.errors import ModError
from modkit.host.events import Event, Handler, HandlerIndex, check_event_name
from modkit.host.guard import FAILED, Guard
from modkit.host.mod import Mod
from modkit.host.policy import EVERY
from modkit.host.tasks import Scheduler

__all__ = ["Dispatch"]

_MAX_EMITS = 1000


class Dispatch:
    """The queues of one host. `index` knows who handles what."""

    def __init__(self, guard: Guard, scheduler: Scheduler) -> None:
        self.index = HandlerIndex()
        self.inbox: list[Event] = []
        self._guard = guard
        self._scheduler = scheduler
        self._outbox: list[Event] = []
        self._due: deque[Event] = deque()
        self._current: tuple[Event, Iterator[Handler]] | None = None
        self._emitted: dict[str, int] = {}
        self._subscribers: dict[str, list[Callable[[Event], None]]] = {}

    @property
    def due(self) -> list[Event]:
        """What this frame has to deliver, in order."""
        return list(self._due)

    def begin(self, dt: float) -> None:
        """A frame begins: what was emitted since the last is due, after the tick itself."""
        if self.index.snapshot("tick"):
            self._due.append(Event("tick", {"dt": dt}))
        self._due.extend(self.inbox)
        self.inbox.clear()

    def count_afresh(self) -> None:
        """Every mod may emit again."""
        self._emitted.clear()

    def emit(self, event: Event, mod: Mod) -> None:
        """A mod emits: to the game at the end of this frame, to mods in the next."""
        count = self._emitted.get(mod.id, 0)
        if count >= _MAX_EMITS:
            raise ModError(f"Mod {mod.id!r} emitted {_MAX_EMITS} events in one frame; spread them over frames.")
        self._emitted[mod.id] = count + 1
        self.inbox.append(event)
        self._outbox.append(event)

    def subscribe(self, name: str, fn: Callable[[Event], None]) -> Callable[[], None]:
        """The game listens; returns a function that ends it."""
        listeners = self._subscribers.setdefault(check_event_name(name), [])
        listeners.append(fn)

        def unsubscribe() -> None:
            if fn in listeners:
                listeners.remove(fn)

        return unsubscribe

    def run(self) -> None:
        """Deliver what is due. Can be left in the middle and entered again: nothing is delivered twice."""
        frame = self._scheduler.frame
        while True:
            if self._current is None:
                if not self._due:
                    return
                event = self._due.popleft()
                self._current = event, iter(self.index.snapshot(event.name))
            event, handlers = self._current
            only = event.get("mod") if event.name == "setting" else None
            skips = frame % EVERY if event.name == "tick" else 0
            for handler in handlers:
                account = handler.mod.account
                if not handler.active or not account.runs or (handler.streak and frame < handler.rests_until):
                    continue
                if (skips and account.throttled) or (only is not None and handler.mod.id != only):
                    continue
                self.call(handler, event)
            self._current = None
            self._scheduler.wake_waiters(event)

    def call(self, handler: Handler, event: Event) -> None:
        """Call one handler; what it returns is run if it is a coroutine."""
        mod = handler.mod
        result = self._guard.call(mod, handler, handler.fn, mod, event)
        if result is None:
            handler.streak = 0
        elif type(result) is CoroutineType or isinstance(result, Coroutine):
            self._scheduler.spawn(mod, handler, result)
        elif result is not FAILED:
            handler.streak = 0

    def tell(self, mod: Mod, event: Event) -> None:
        """Call the handlers of one mod alone: for what happens to it."""
        for handler in self.index.snapshot(event.name):
            if handler.mod is mod and handler.active and mod.account.runs:
                self.call(handler, event)

    def hand_out(self) -> None:
        """Give the game what the mods emitted."""
        while self._outbox:  # one by one: when the game's function raises, the rest waits for the next tick
            event = self._outbox.pop(0)
            for fn in [*self._subscribers.get(event.name, ()), *self._subscribers.get("*", ())]:
                fn(event)

    def clear(self) -> None:
        """Forget what is on its way."""
        self.inbox.clear()
        self._outbox.clear()
        self._due.clear()
