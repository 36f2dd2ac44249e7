"""What becomes of a mod that fails or takes too long. Nothing here is decided by chance or by one bad frame.

*Failures.* The first of a row is logged with its traceback, the rest are counted. From the third in a row on the
handler rests, twice as many frames each time (64 at most); after `limit` in a row the mod is suspended.

*Time.* A call longer than `slow` runs up a debt, its excess in ms, of which a millisecond is forgiven each frame.
So one pause of the garbage collector is forgotten, and 9 ms in every frame are borne; but who owes `THROTTLE`, after
two calls at the least, is throttled until all is forgiven, and who owes `SUSPEND`, after five, is suspended.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modkit.host.report import RUNNING, SUSPENDED, THROTTLED

if TYPE_CHECKING:
    from modkit.host.events import Origin
    from modkit.host.mod import Mod

__all__ = ["EVERY", "Policy", "attempt", "describe"]

EVERY = 8
"""A throttled mod's timers, coroutines and "tick" handlers run in every eighth frame."""
THROTTLE = 250.0
SUSPEND = 1000.0
_MOST = 240.0  # ms that one call can add: one stall of the whole machine is nobody's fault
_QUIET = 300  # frames without a word about a handler after which the next failure is news again
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


class Policy:
    """Failures in a row up to `limit`; calls up to `slow` seconds (None: any). `frame` is the host's."""

    def __init__(self, limit: int, slow: float | None) -> None:
        self.frame = 0
        self.slow = float("inf") if slow is None else slow
        self._limit = limit
        self._throttled: dict[Mod, None] = {}

    def begin(self, frame: int) -> None:
        """A new frame: whoever has been forgiven runs at full pace again."""
        self.frame = frame
        for mod in list(self._throttled):
            account = mod.account
            if account.state != THROTTLED:
                del self._throttled[mod]
            elif self._debt(mod) <= 0:
                del self._throttled[mod]
                account.enter(RUNNING)
                mod.log.info("Mod %r runs in every frame again.", mod.id)

    def failed(self, mod: Mod, origin: Origin, error: BaseException) -> None:
        """Something of the mod raised."""
        account = mod.account
        account.failures += 1
        account.last_error = describe(error)
        origin.streak += 1
        if origin.streak == 1 and self.frame >= origin.quiet_until:
            more = f" ({origin.unsaid} more like it since the last line)" if origin.unsaid else ""
            origin.unsaid = 0
            mod.log.error("Mod %r failed in %s%s:\n%s", mod.id, origin.label, more, account.last_error.rstrip())
        else:
            origin.unsaid += 1
        origin.quiet_until = self.frame + _QUIET
        if origin.streak >= self._limit and account.runs:
            self.suspend(
                mod,
                f"{origin.label} failed {origin.streak} times in a row, last with {_short(error)}; correct it",
            )
        elif origin.streak >= 3:
            origin.rests_until = self.frame + 2 ** min(origin.streak - 2, 6)

    def overran(self, mod: Mod, origin: Origin, spent: float) -> None:
        """A call took longer than `slow`."""
        account = mod.account
        account.overruns += 1
        account.debt = max(0.0, self._debt(mod)) + min((spent - self.slow) * 1000, _MOST)
        account.debt_frame = self.frame
        if not account.runs:
            return
        what = f"{origin.label} took {spent * 1000:.0f} ms, and {account.overruns} calls took too long so far"
        fix = "spread the work over frames with await frames(1)"
        if account.debt >= SUSPEND:
            self.suspend(mod, f"{what}; {fix}")
        elif account.debt >= THROTTLE and account.state == RUNNING:
            account.enter(THROTTLED, f"Mod {mod.id!r} runs in every {EVERY}th frame only: {what}; {fix}.")
            self._throttled[mod] = None
            mod.log.warning("%s", account.problem)

    def suspend(self, mod: Mod, why: str) -> None:
        """Stop the mod where it is, and say so once."""
        mod.account.enter(SUSPENDED, f"Mod {mod.id!r} is suspended: {why}, then host.resume({mod.id!r}).")
        mod.log.error("%s", mod.account.problem)

    def _debt(self, mod: Mod) -> float:
        return mod.account.debt - (self.frame - mod.account.debt_frame)


def _short(error: BaseException) -> str:
    text, failed = attempt(str, error)
    first = "" if failed else text.partition("\n")[0]
    return f"{type(error).__name__}: {first}"[:200]
