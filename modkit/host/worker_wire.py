"""What passes between a host and a mod in another process: plain values, checked on both sides.

docs/mods.md says what a mod may ask for from there; what is not listed here cannot be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modkit.engine.pending import Pending
from modkit.errors import ModError, ModkitError, ProtocolError
from modkit.host.storage import MAX_BYTES
from modkit.ipc.framing import Limits

__all__ = [
    "LIMITS",
    "MAX_EMITS",
    "ONE_WAY",
    "OPTIONS",
    "REPLIES",
    "a_list",
    "a_map",
    "is_plain",
    "plain",
    "settle",
    "some_bytes",
    "tell_when_done",
]

LIMITS = Limits(frame=MAX_BYTES + (1 << 20), depth=20, rate=0)
MAX_EMITS = 1000  # of one frame
_DEPTH = 12
REPLIES = ("greet", "say")  # of an NPC: words that arrive late
ONE_WAY = ("forget", "hear", "interrupt", "remember")  # and what has no answer
_OF_NPCS = ("actions", "facts", "hint", "importance", "n", "present", "speaker", "state")
_OF_ENGINES = (
    *("max_tokens", "temperature", "top_k", "top_p", "min_p", "seed", "stop", "priority", "grammar", "overflow"),
    *("repeat_penalty", "frequency_penalty", "presence_penalty", "repeat_last_n", "thinking", "thinking_budget"),
)
OPTIONS = frozenset((*_OF_NPCS, *_OF_ENGINES))


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that can go to another process; a stream, a function or any other object is left out."""
    return {key: value for key, value in fields.items() if isinstance(key, str) and is_plain(value)}


def is_plain(value: Any, depth: int = _DEPTH) -> bool:
    """Whether another process can be told this value."""
    if value is None or isinstance(value, bool | float | str | bytes):
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    if depth == 0:
        return False
    if isinstance(value, list | tuple):
        return all(is_plain(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item, depth - 1) for key, item in value.items())
    return False


def tell_when_done(tell: Callable[[str, dict[str, Any]], None], ident: int, asked: Pending[Any]) -> None:
    """Tells the other side what came of `asked`, when it has come."""

    def over(done: Pending[Any]) -> None:
        value, error = None, None if done.error is None else str(done.error)
        if error is None:
            try:
                value = done._value()
            except ModkitError as why:
                error = str(why)
        if not is_plain(value):
            value, error = None, f"it is a {type(value).__name__}, which cannot go to another process"
        tell("answer", {"id": ident, "value": value, "error": error})

    asked.on_done(over)


def settle(answer: Any, params: Mapping[str, Any]) -> None:
    """Ends the answer with what the other side told of it."""
    if params["error"] is not None:
        answer._end("error", ModError(str(params["error"])[:1000]))
        return
    value = params["value"]
    answer._make = lambda: value
    answer._end("stop")


def a_list(value: Any) -> list[Any]:
    """The value, when it is a list; ProtocolError otherwise."""
    if not isinstance(value, list):
        raise ProtocolError("a list was expected")
    return value


def a_map(value: Any) -> dict[str, Any]:
    """The value, when it is a map; ProtocolError otherwise."""
    if not isinstance(value, dict):
        raise ProtocolError("a map was expected")
    return value


def some_bytes(value: Any) -> bytes:
    """The value, when it is bytes; ProtocolError otherwise."""
    if not isinstance(value, bytes):
        raise ProtocolError("bytes were expected")
    return value
