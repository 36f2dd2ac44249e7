"""The mod boundary: every call into a mod goes through `Guard.call`, so no exception of a mod reaches the
game.

The policy for failures also lives here: the first of a row is logged with its traceback, the rest are only
counted, and after `limit` in a row from the same handler the mod is suspended with one more line.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modkit.host.events import Origin
from modkit.host.report import RUNNING, SUSPENDED

if TYPE_CHECKING:
    from modkit.host.mod import Mod

__all__ = ["FAILED", "Guard", "attempt", "describe"]

FAILED: Any = object()
_ours = str(Path(__file__).parent)


def attempt(fn: Callable[..., Any], *args: Any) -> tuple[Any, BaseException | None]:
    """Call code of a mod and hand back what it raised instead of raising it.

    Also `SystemExit` and their like: a mod that calls `sys.exit()` must not end the game. Only the player's
    Ctrl-C goes through.
    """
    try:
        return fn(*args), None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return None, error


def describe(error: BaseException) -> str:
    """The traceback as text, without the host's own frames at its top."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(_ours):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace, limit=20))


class Guard:
    """Calls into mods: guarded, timed with `clock` (seconds), and attributed to the mod."""

    def __init__(self, clock: Callable[[], float], limit: int) -> None:
        self._clock = clock
        self._limit = limit

    def call(self, mod: Mod, origin: Origin, fn: Callable[..., Any], *args: Any) -> Any:
        """The result of `fn(*args)`, or `FAILED`."""
        clock = self._clock
        started = clock()
        try:  # attempt(), written out: a thousand handlers share a frame
            result = fn(*args)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._record(mod, origin, error)
            result = FAILED
        spent = clock() - started
        account = mod.account
        account.calls += 1
        account.seconds += spent
        if spent > account.slowest:
            account.slowest = spent
        return result

    def _record(self, mod: Mod, origin: Origin, error: BaseException) -> None:
        account = mod.account
        account.failures += 1
        account.last_error = describe(error)
        origin.streak += 1
        if origin.streak == 1:
            mod.log.error("Mod %r failed in %s:\n%s", mod.id, origin.label, account.last_error.rstrip())
        if origin.streak >= self._limit and account.state == RUNNING:
            account.state = SUSPENDED
            account.problem = (
                f"Mod {mod.id!r} is suspended: {origin.label} failed {origin.streak} times in a row, "
                f"last with {_short(error)}; correct it, then host.resume({mod.id!r})."
            )
            mod.log.error("%s", account.problem)


def _short(error: BaseException) -> str:
    text, failed = attempt(str, error)
    first = "" if failed else text.partition("\n")[0]
    return f"{type(error).__name__}: {first}"[:200]


logging.getLogger("modkit").addHandler(logging.NullHandler())
