"""The mod boundary: every call into a mod goes through `Guard.call`, so no exception of a mod reaches the
game, and each call's time is put down to its mod."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modkit.host.events import Origin

if TYPE_CHECKING:
    from modkit.host.mod import Mod
    from modkit.host.policy import Policy

__all__ = ["FAILED", "Guard"]

FAILED: Any = object()


class Guard:
    """Calls into mods: guarded, timed with `clock` (seconds), and attributed to the mod.

    `running` is what runs right now, as (mod, origin), a tuple of its own for each call: the watchdog tells by it
    whether a call is still the one it saw before.
    """

    __slots__ = ("_clock", "_slow", "policy", "running")

    def __init__(self, clock: Callable[[], float], policy: Policy) -> None:
        self._clock = clock
        self._slow = policy.slow
        self.policy = policy
        self.running: tuple[Mod, Origin] | None = None

    def call(self, mod: Mod, origin: Origin, fn: Callable[..., Any], *args: Any) -> Any:
        """The result of `fn(*args)`, or `FAILED`."""
        clock = self._clock
        outer = self.running  # a call inside a call, such as an unload
        self.running = (mod, origin)
        started = clock()
        try:  # attempt(), written out: a thousand handlers share a frame
            result = fn(*args)
        except KeyboardInterrupt:
            self.running = outer
            raise
        except BaseException as error:
            self.running = outer
            self.policy.failed(mod, origin, error)
            result = FAILED
        spent = clock() - started
        self.running = outer
        account = mod.account
        account.calls += 1
        account.seconds += spent
        if spent > account.slowest:
            account.slowest = spent
        if spent > self._slow:
            self.policy.overran(mod, origin, spent)
        return result
