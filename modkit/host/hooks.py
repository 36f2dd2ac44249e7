"""`@on`, `@every`, `@save` and `@restore`: how a script registers its functions while it loads.

They find their mod through a context variable that the loader sets around the script's top level, so a script
names no mod and a helper module of the same mod may register too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from modkit.errors import ModError

if TYPE_CHECKING:
    from modkit.host.mod import Mod

__all__ = ["action", "every", "loading", "on", "restore", "save"]

F = TypeVar("F", bound=Callable[..., object])
_loading: ContextVar[Mod | None] = ContextVar("modkit_loading", default=None)


def on(event: str) -> Callable[[F], F]:
    """Call the decorated `fn(mod, event)` for each event of that name; it may be `async`.

    The host itself emits "ready" (all mods are loaded), "tick" (each frame, with `dt` in seconds), "setting" (the
    game changed one of the mod's settings; with `key`, `value` and `before`) and "unload" (with `reason`; not
    async). Works only while the script loads; a running mod calls `mod.on(name, fn)`.
    """

    def decorate(fn: F) -> F:
        current_mod(f"@on({event!r})", "mod.on(name, fn)").on(event, fn)
        return fn

    return decorate


def every(seconds: float) -> Callable[[F], F]:
    """Call the decorated `fn(mod)` each `seconds` of game time; it may be `async`.

    At most one call a frame: missed periods are not made up, and a call is skipped while the last one still
    awaits. Works only while the script loads; a running mod calls `mod.every(seconds, fn)`.
    """

    def decorate(fn: F) -> F:
        current_mod(f"@every({seconds!r})", "mod.every(seconds, fn)").every(seconds, fn)
        return fn

    return decorate


def action(
    npc: str, when: Callable[[Mod], object] | None = None, name: str | None = None
) -> Callable[[F], F]:
    """Let the NPC of that id have the decorated `fn(mod, ...)` done while `when(mod)` is true (None: always).

    The types of the other parameters bound what the model may ask for, the docstring's first line tells it what
    happens; see docs/actions.md. Works only while the script loads; a running mod calls `mod.action(npc, fn)`.
    """

    def decorate(fn: F) -> F:
        mod = current_mod(f"@action({npc!r})", "mod.action(npc, fn)")
        mod.on("ready", lambda mod, _: mod.action(npc, fn, when, name))
        return fn

    return decorate


def save(fn: Callable[[Mod], Any]) -> Callable[[Mod], Any]:
    """Call the decorated `fn(mod)` when the game is saved, and before the mod is reloaded or unloaded.

    What it returns is kept (as values in `mod.storage` are) and given to `@restore`. One a mod; only while the
    script loads.
    """
    current_mod("@save", "it at the top level").set_hook("save", fn, 1, "(mod)")
    return fn


def restore(fn: Callable[[Mod, Any, str], object]) -> Callable[[Mod, Any, str], object]:
    """Call the decorated `fn(mod, state, version)` once after the script has loaded, before "ready".

    Only when there is a state: what `@save` returned last, in this session or the one that was saved, and the
    version of the mod that returned it. When it raises in a reload, the old code goes on. One a mod.
    """
    current_mod("@restore", "it at the top level").set_hook("restore", fn, 3, "(mod, state, version)")
    return fn


@contextmanager
def loading(mod: Any) -> Iterator[None]:
    """While this is open, the decorators register for `mod`."""
    token = _loading.set(mod)
    try:
        yield
    finally:
        _loading.reset(token)


def current_mod(hook: str, instead: str) -> Mod:
    """The mod whose script loads right now; raises `ModError` that says what to call `instead`.

    For decorators of this room; another room's decorator registers through it too.
    """
    mod = _loading.get()
    if mod is None:
        raise ModError(f"{hook} works only while a host loads the script; in a running mod call {instead}.")
    return mod
