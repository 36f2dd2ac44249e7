"""The worker's event records as they come from another process: looked at before they are believed.

In this process they come from our own C code. A child's memory may be in ruins when it says its last, and a host's
frame must not meet a TypeError because of that.
"""

from __future__ import annotations

from typing import Any

from modkit.errors import ProtocolError
from modkit.native.worker import Worker

__all__ = ["check_record"]

_NUMBER = (int, float)
# What must follow [request, kind]; kinds that are not here have their own checks where they are read.
_SHAPES: dict[int, tuple[Any, ...]] = {
    Worker.LOADED: (),
    Worker.FAILED: (str, int),
    Worker.STARTED: (int, int),
    Worker.TOKEN: (int, str),
    Worker.DONE: (int, int, _NUMBER, _NUMBER, str),
    Worker.ERROR: (int, str),
    Worker.LOG: (int, str),
    Worker.THOUGHT: (int, str),
    Worker.LEFT: (int, int),
}
_FINISHES = 4


def check_record(event: Any) -> None:
    """Raises ProtocolError for what is no record of the worker's."""
    if type(event) is not list or len(event) < 2 or type(event[0]) is not int or type(event[1]) is not int:
        raise ProtocolError("the engine's process sent a record that is none")
    shape = _SHAPES.get(event[1])
    if shape is not None:
        good = len(event) == len(shape) + 2 and all(isinstance(v, kind) for v, kind in zip(event[2:], shape))
        if not good or (event[1] == Worker.DONE and not 0 <= event[2] < _FINISHES):
            raise ProtocolError(f"the engine's process sent a record of kind {event[1]} that is none")
    elif event[1] != Worker.LOGPROBS or not all(_is_logprob(row) for row in event[2:]):
        raise ProtocolError(f"the engine's process sent a record of an unknown kind ({event[1]})")


def _is_logprob(row: Any) -> bool:
    return (
        type(row) is list
        and len(row) == 3
        and isinstance(row[0], int)
        and isinstance(row[1], _NUMBER)
        and isinstance(row[2], str)
    )
