"""`@on` and `@every`: how a script registers its functions while it loads.

They find their mod through a context variable that the loader sets around the script's top level, so a script
names no mod and a helper module of the same mod may register too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from modkit.errors import ModError

if TYPE_CHECKING:
    from modkit.host.mod import Mod

__all__ = ["every", "loading", "on"]

F = TypeVar("F", bound=Callable[..., object])
_loading: ContextVar[Mod | None] = ContextVar("modkit_loading", default=None)


def on(event: str) -> Callable[[F], F]:
    """Call the decorated `fn(mod, event)` for each event of that name; it may be `async`.

    The host itself emits "ready" (all mods are loaded), "tick" (each frame, with `dt` in seconds) and
    "unload" (with `reason`; not async). Works only while the script loads; a running mod calls `mod.on(name,
    fn)`.
    """

    def decorate(fn: F) -> F:
        _current(f"@on({event!r})", "mod.on(name, fn)").on(event, fn)
        return fn

    return decorate


def every(seconds: float) -> Callable[[F], F]:
    """Call the decorated `fn(mod)` each `seconds` of game time; it may be `async`.

    At most one call a frame: missed periods are not made up, and a call is skipped while the last one still
    awaits. Works only while the script loads; a running mod calls `mod.every(seconds, fn)`.
    """

    def decorate(fn: F) -> F:
        _current(f"@every({seconds!r})", "mod.every(seconds, fn)").every(seconds, fn)
        return fn

    return decorate


@contextmanager
def loading(mod: Mod) -> Iterator[None]:
    """While this is open, the decorators register for `mod`."""
    token = _loading.set(mod)
    try:
        yield
    finally:
        _loading.reset(token)


def _current(hook: str, instead: str) -> Mod:
    mod = _loading.get()
    if mod is None:
        raise ModError(f"{hook} works only while a host loads the script; in a running mod call {instead}.")
    return mod
