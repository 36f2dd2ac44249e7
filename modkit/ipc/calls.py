"""What passes between an engine and its worker in a child process, as plain values.

Both sides use this file. The calls are those of modkit.native.worker.Worker by their own names; only what is
listed here can be called.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from modkit.errors import OptionError
from modkit.ipc.framing import Limits

if TYPE_CHECKING:
    from modkit.native.sampling import Options

__all__ = ["ASKING", "ENGINE_LIMITS", "ONE_WAY", "PROGRESS", "options_from", "options_to", "plain"]

# Prompts may be long (a prompt has 64 MiB at most), and both ends are modkit's own.
ENGINE_LIMITS = Limits(frame=1 << 28, depth=12, rate=0)
PROGRESS = 1_000_000  # a whole load, as a whole number
# Methods of Worker that return nothing and are done when they arrive.
ONE_WAY = frozenset({"submit", "embed", "cancel", "pause", "pace", "late", "fail_assertion"})
# Those that the child may refuse, which ends the request that they are.
ASKING = frozenset({"submit", "embed"})
_PLAIN = (type(None), bool, int, float, str, bytes)


def options_to(options: Options) -> dict[str, Any]:
    """Options as plain values; what is at its default is left out. Raises OptionError for what cannot travel."""
    made: dict[str, Any] = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name == "grammar":
            value = options.plain_grammar()
        if field.name == "sampler":
            chain = options.chain()
            value = None if chain is None else chain.plain()
        if value != field.default:
            made[field.name] = plain(field.name, value)
    return made


def plain(name: str, value: Any) -> Any:
    """The value, with sequences as lists. Raises OptionError when it is not plain."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (list, tuple, range, set, frozenset)):
        return [plain(name, item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(name, item) for key, item in value.items()}
    raise OptionError(f"{name}={value!r} cannot be sent to an engine in another process: give plain values")


def options_from(values: dict[str, Any]) -> Options:
    """The Options again. Raises OptionError."""
    from modkit.native.sampling import Options  # here: who only needs the limits need not load it

    return Options.of(values)
