"""What the host knows about each mod: its state, its failures with their tracebacks, the time it took."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

__all__ = ["REFUSED", "RUNNING", "SUSPENDED", "THROTTLED", "UNLOADED", "Account", "ModReport"]

RUNNING = "running"
THROTTLED = "throttled"
SUSPENDED = "suspended"
REFUSED = "refused"
UNLOADED = "unloaded"


class Account:
    """The running figures of one mod; times are in seconds of the host's clock."""

    __slots__ = (
        "calls", "debt", "debt_frame", "failures", "last_error", "notice", "overruns", "problem", "reloads",
        "runs", "seconds", "slowest", "state", "throttled",
    )  # fmt: skip

    def __init__(self, state: str = RUNNING, problem: str | None = None) -> None:
        self.enter(state, problem)
        self.notice: str | None = None
        self.calls = 0
        self.failures = 0
        self.overruns = 0
        self.reloads = 0
        self.seconds = 0.0
        self.slowest = 0.0
        self.last_error: str | None = None
        self.debt = 0.0  # ms by which calls were too long and which are not forgiven yet
        self.debt_frame = 0

    def enter(self, state: str, problem: str | None = None) -> None:
        """Change the state. `runs` and `throttled` are what the frame looks at, a thousand times."""
        self.state = state
        self.problem = problem
        self.runs = state in (RUNNING, THROTTLED)
        self.throttled = state == THROTTLED


@dataclass(frozen=True)
class ModReport:
    """One mod at the moment of asking.

    `state` is "running", "throttled" (too slow: its timers, coroutines and "tick" handlers run in every eighth
    frame), "suspended" (too many failures in a row, or far too slow; `host.resume(id)`), "refused" (it did not
    load) or "unloaded". `problem` is one sentence with the fix for a mod that is refused, throttled or suspended;
    `notice` one about a reload that failed, or a setting that could not be taken. `seconds` is the time spent
    inside the mod so far, `slowest` its longest single call, `overruns` how many calls were longer than the host's
    `slow_ms`. `last_error` is the traceback of the last failure.
    """

    id: str
    folder: Path
    state: str
    version: str = "0"
    problem: str | None = None
    notice: str | None = None
    calls: int = 0
    failures: int = 0
    overruns: int = 0
    reloads: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    last_error: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, ident: str, folder: Path, version: str, account: Account) -> ModReport:
        """A frozen copy of the figures."""
        figures = {one.name: getattr(account, one.name) for one in fields(cls)[4:]}
        return cls(ident, folder, account.state, version, **figures)
