"""What the host knows about each mod: its state, its failures with their tracebacks, the time it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["REFUSED", "RUNNING", "SUSPENDED", "UNLOADED", "Account", "ModReport"]

RUNNING = "running"
SUSPENDED = "suspended"
REFUSED = "refused"
UNLOADED = "unloaded"


@dataclass
class Account:
    """The running figures of one mod; times are in seconds of the host's clock."""

    state: str = RUNNING
    problem: str | None = None
    calls: int = 0
    failures: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    last_error: str | None = None


@dataclass(frozen=True)
class ModReport:
    """One mod at the moment of asking.

    `state` is "running", "suspended" (too many failures in a row; `host.resume(id)`), "refused" (it did not
    load) or "unloaded". `problem` is one sentence with the fix for a mod that is refused or suspended.
    `seconds` is the time spent inside the mod so far, `slowest` its longest single call. `last_error` is the
    traceback of the last failure.
    """

    id: str
    folder: Path
    state: str
    version: str = "0"
    problem: str | None = None
    calls: int = 0
    failures: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    last_error: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, ident: str, folder: Path, version: str, account: Account) -> ModReport:
        """A frozen copy of the figures."""
        return cls(id=ident, folder=folder, version=version, **vars(account))
