"""What a mod's coroutine can await besides a stream: time, frames, and events.

Each of these yields itself to the host, which parks the coroutine where it costs nothing until it is due.
Anything else that a coroutine yields has to have a method `ready() -> bool`, which the host asks once a
frame.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from modkit.errors import OptionError
from modkit.host.events import Event, check_event_name

if TYPE_CHECKING:
    from modkit.host.tasks import Scheduler, Task

__all__ = ["Wait", "check_seconds", "event", "frames", "seconds"]


class Wait:
    """Something the scheduler can park a task on without polling it."""

    __slots__ = ()

    def park(self, scheduler: Scheduler, task: Task) -> None:
        raise NotImplementedError


class _Seconds(Wait):
    __slots__ = ("_seconds",)

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def park(self, scheduler: Scheduler, task: Task) -> None:
        scheduler.park_until(scheduler.time + self._seconds, task)

    def __await__(self) -> Generator[Wait, Any, None]:
        yield self


class _Frames(Wait):
    __slots__ = ("_frames",)

    def __init__(self, frames: int) -> None:
        self._frames = frames

    def park(self, scheduler: Scheduler, task: Task) -> None:
        scheduler.park_for_frames(self._frames, task)

    def __await__(self) -> Generator[Wait, Any, None]:
        yield self


class _NextEvent(Wait):
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def park(self, scheduler: Scheduler, task: Task) -> None:
        scheduler.park_for_event(self._name, task)

    def __await__(self) -> Generator[Wait, Event, Event]:
        return (yield self)


def check_seconds(seconds: object, what: str, *, least: float) -> float:
    """A finite number of seconds, `least` or more; raises `OptionError` otherwise."""
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not least <= seconds < float("inf")
    ):
        raise OptionError(f"{what} takes a number of seconds from {least:g} up, not {seconds!r}.")
    return float(seconds)


def seconds(seconds: float) -> _Seconds:
    """`await seconds(2)`: go on in the first frame after that much game time (the sum of the ticks' `dt`)."""
    return _Seconds(check_seconds(seconds, "seconds()", least=0))


def frames(frames: int) -> _Frames:
    """`await frames(3)`: go on three frames later; at least 1."""
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise OptionError(f"frames() takes a whole number of frames from 1 up, not {frames!r}.")
    return _Frames(frames)


def event(name: str) -> _NextEvent:
    """`happened = await event("door_opened")`: go on in the frame of the next event of that name, and get
    it."""
    return _NextEvent(check_event_name(name))
