"""Events and the index of who handles them.

An event is dispatched over a sorted snapshot: handlers in the order of their mods, then of their
registration. A handler added during a dispatch is in the next snapshot; one removed during it is skipped at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from modkit.errors import OptionError

if TYPE_CHECKING:
    from modkit.host.mod import Mod

__all__ = ["LIFECYCLE", "Event", "Handler", "HandlerIndex", "Origin", "check_event_name"]

LIFECYCLE = frozenset({"ready", "setting", "tick", "unload"})
"""Names that only the host emits."""


class Event:
    """Something that happened: `event.name`, and its fields as attributes.

    `source` is the id of the mod that emitted it, or None for the game. An event is shared by all its
    handlers, so it cannot be changed.
    """

    __slots__ = ("fields", "name", "source")

    name: str
    fields: Mapping[str, Any]
    source: str | None

    def __init__(self, name: str, fields: Mapping[str, Any], source: str | None = None) -> None:
        clash = _TAKEN.intersection(fields)
        if clash:
            raise OptionError(
                f"An event cannot have a field called {min(clash)!r}, as every event has one; rename it."
            )
        put = object.__setattr__
        put(self, "name", name)
        put(self, "fields", MappingProxyType(dict(fields)))
        put(self, "source", source)

    def get(self, field: str, default: Any = None) -> Any:
        """The field's value, or `default` when the event has no such field."""
        return self.fields.get(field, default)

    def __getattr__(self, field: str) -> Any:
        try:
            return self.fields[field]
        except KeyError:
            known = ", ".join(sorted(self.fields)) or "no fields at all"
            raise AttributeError(
                f"The event {self.name!r} has no field {field!r}; it has: {known}."
            ) from None

    def __setattr__(self, field: str, value: Any) -> None:
        raise AttributeError(
            f"Events are shared and cannot be changed; emit another one instead of setting {field!r}."
        )

    def __repr__(self) -> str:
        inside = "".join(f", {key}={value!r}" for key, value in self.fields.items())
        return f"Event({self.name!r}{inside})"


_TAKEN = frozenset({"fields", "get", "name", "source"})


def check_event_name(name: object) -> str:
    """The name, if it can be one; raises `OptionError` otherwise."""
    if not isinstance(name, str) or not name:
        raise OptionError(f"An event's name is a text that is not empty, not {name!r}.")
    return name


class Origin:
    """A piece of a mod that can fail, how many times in a row it just did, and until which frame it rests
    for that."""

    __slots__ = ("label", "quiet_until", "rests_until", "streak", "unsaid")

    def __init__(self, label: str) -> None:
        self.label = label
        self.streak = 0
        self.rests_until = 0
        self.quiet_until = 0  # the frame after which a failure is news again
        self.unsaid = 0  # failures since the last line about it

    def forgive(self) -> None:
        """Forget the failures in a row."""
        self.streak = 0
        self.rests_until = 0


class Handler(Origin):
    """A function of a mod, registered for an event. `remove()` takes effect at once, even during a
    dispatch."""

    __slots__ = ("_index", "active", "event", "fn", "mod", "order")

    def __init__(
        self, index: HandlerIndex, mod: Mod, event: str, fn: Callable[..., object], order: int
    ) -> None:
        super().__init__(f"{getattr(fn, '__qualname__', repr(fn))}() for {event!r}")
        self.active = True
        self.event = event
        self.fn = fn
        self.mod = mod
        self.order = order
        self._index = index

    def remove(self) -> None:
        """Hear no more events. May be called twice."""
        if self.active:
            self.active = False
            self._index.drop(self)


class HandlerIndex:
    """Handlers by event name; the sorted snapshot of a name is made when it is first needed after a
    change."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}
        self._snapshots: dict[str, tuple[Handler, ...]] = {}
        self._count = 0

    def add(self, mod: Mod, event: str, fn: Callable[..., object]) -> Handler:
        """Register `fn`; it is part of every snapshot taken from now on."""
        self._count += 1
        handler = Handler(self, mod, event, fn, self._count)
        self._handlers.setdefault(event, []).append(handler)
        self._snapshots.pop(event, None)
        return handler

    def reorder(self) -> None:
        """Mods have other ranks now."""
        self._snapshots.clear()

    def events(self) -> list[str]:
        """The names that somebody handles, sorted."""
        return sorted(self._handlers)

    def drop(self, handler: Handler) -> None:
        """Forget a handler."""
        known = self._handlers[handler.event]
        known.remove(handler)
        self._snapshots.pop(handler.event, None)
        if not known:
            del self._handlers[handler.event]

    def snapshot(self, event: str) -> tuple[Handler, ...]:
        """The handlers of an event, in order of (mod, registration)."""
        found = self._snapshots.get(event)
        if found is None:
            if event not in self._handlers:  # names that nobody handles must not fill the table
                return ()
            found = tuple(sorted(self._handlers[event], key=lambda h: (h.mod.rank, h.order)))
            self._snapshots[event] = found
        return found
