"""Frames: four bytes of length, then one msgpack array. docs/protocol.md is the contract.

Bytes come from another process and are believed in nothing: the length is looked at before a byte more is
kept, the depth and the types of what was sent are checked without recursion, and what is not a frame raises
ProtocolError, after which the connection is of no use. A Decoder belongs to one connection and one thread.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

from modkit.errors import ProtocolError

__all__ = ["ERROR", "EVENT", "RECORDS", "REPLY", "REQUEST", "Decoder", "Limits", "Rate", "encode", "records_of"]

# The first element of every message says what it is.
REQUEST = 0  # [0, id, method, params]; id 0 asks for no reply
REPLY = 1  # [1, id, result]
ERROR = 2  # [2, id, code, sentence]
EVENT = 3  # [3, name, params]
RECORDS = 4  # [4, bytes]: the worker's event records as they lie in its ring; may end inside one

_SHAPES: dict[int, tuple[type, ...]] = {
    REQUEST: (int, int, str, dict),
    REPLY: (int, int, object),
    ERROR: (int, int, str, str),
    EVENT: (int, str, dict),
    RECORDS: (int, bytes),
}
_LENGTH = struct.Struct(">I")
_BIN = {b"\xc4": 1, b"\xc5": 2}  # msgpack's bytes: how many bytes their length has
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))


@dataclass(frozen=True)
class Limits:
    """What a connection takes. frame: bytes of one frame; depth: arrays and maps inside each other; rate and
    burst: frames a second in the long run, and at once (0: as many as come)."""

    frame: int = 1 << 18
    depth: int = 8
    rate: float = 2000.0
    burst: int = 4000


def encode(message: list[Any] | tuple[Any, ...]) -> bytes:
    """A message as a frame."""
    body: bytes = msgpack.packb(message)
    return _LENGTH.pack(len(body)) + body


def records_of(data: bytes) -> bytes | None:
    """The records, when `data` is one frame of them, whole; else None.

    That is what arrives in nearly every frame of a game, which has emptied the caches by then: no parser, nothing
    kept, no second look.
    """
    if data[4:6] != b"\x92\x04":
        return None
    width = _BIN.get(data[6:7], 0)
    begin = 7 + width
    if not width or int.from_bytes(data[:4], "big") != len(data) - 4:
        return None
    return data[begin:] if int.from_bytes(data[7:begin], "big") == len(data) - begin else None


class Decoder:
    """Bytes in, in pieces of any size; messages out. Holds at most one frame and what was fed at once."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._data = bytearray()
        self._at = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Adds what arrived."""
        self._data += data

    def records_in(self, data: bytes) -> bytes | None:
        """records_of(data) when nothing waits here; else None, and feed() it."""
        return None if self._data or len(data) - 4 > self.limits.frame else records_of(data)

    @property
    def waiting(self) -> int:
        """Bytes that are not yet a message."""
        return len(self._data) - self._at

    def next(self) -> list[Any] | None:
        """The next whole message, or None until more is fed. Raises ProtocolError, for good."""
        have = len(self._data) - self._at
        if have < 4:
            self._drop()
            return None
        (size,) = _LENGTH.unpack_from(self._data, self._at)
        if not 1 <= size <= self.limits.frame:
            raise ProtocolError(f"a frame says it has {size} bytes; from 1 to {self.limits.frame} are taken here")
        if have < 4 + size:
            self._drop()
            return None
        start = self._at + 4
        self._at = start + size
        with memoryview(self._data) as whole, whole[start : self._at] as body:
            message = _unpack(body)
        _check(message, self.limits.depth)
        if self._at == len(self._data):
            self._drop()
        return message

    def _drop(self) -> None:
        """Forgets what was handed out. A bytearray does this without copying the rest each time."""
        if self._at:
            del self._data[: self._at]
            self._at = 0


def _unpack(body: memoryview) -> list[Any]:
    size = len(body)
    try:
        message = msgpack.unpackb(
            body,
            raw=False,
            ext_hook=_no_extension,
            max_str_len=size,
            max_bin_len=size,
            max_array_len=size,
            max_map_len=size,
        )
    except ProtocolError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException, OverflowError, MemoryError) as error:
        raise ProtocolError(f"a frame is not msgpack: {str(error)[:100] or type(error).__name__}") from None
    if not isinstance(message, list) or not message:
        raise ProtocolError("a frame holds no message: an array that begins with its kind was expected")
    return message


def _no_extension(code: int, data: bytes) -> object:
    raise ProtocolError(f"a frame holds a msgpack extension (type {code}); only plain values are taken")


def _check(message: list[Any], depth: int) -> None:
    shape = _SHAPES.get(message[0]) if type(message[0]) is int else None
    if shape is None or len(message) != len(shape):
        raise ProtocolError(f"a message of an unknown kind or length arrived ({str(message[0])[:20]!r})")
    for value, kind in zip(message, shape):
        if kind is not object and type(value) is not kind:
            raise ProtocolError(f"a message of kind {message[0]} has a {type(value).__name__} for a {kind.__name__}")
    if shape[1] is int and not 0 <= message[1] < 1 << 53:
        raise ProtocolError("a message's id is not a number from 0 to 2**53 - 1")
    if message[0] != RECORDS:
        _check_values(message, depth)


def _check_values(message: list[Any], depth: int) -> None:
    """Plain values, string keys, no deeper than allowed; level by level, so no depth can exhaust a stack."""
    level: list[Any] = [message]
    for _ in range(depth):
        below: list[Any] = []
        for value in level:
            if type(value) is dict:
                for key in value:
                    if type(key) is not str:
                        raise ProtocolError("a map has a key that is not a string")
                below += [v for v in value.values() if type(v) not in _PLAIN]
            elif type(value) is list:
                below += [v for v in value if type(v) not in _PLAIN]
            else:
                raise ProtocolError(f"a {type(value).__name__} was sent; only plain values are taken")
        if not below:
            return
        level = below
    raise ProtocolError(f"a message is nested deeper than {depth}")


class Rate:
    """How many frames a connection may still send: a bucket that fills with time. Not a penalty: a peer
    that is too fast is read more slowly, and its own buffers fill."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._left = float(limits.burst)
        self._last = clock()

    def take(self) -> bool:
        """Whether one more frame is taken now."""
        if not self._limits.rate:
            return True
        if self._left < 1:
            now = self._clock()
            self._left = min(float(self._limits.burst), self._left + (now - self._last) * self._limits.rate)
            self._last = now
            if self._left < 1:
                return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """For a frame that was not there after all."""
        if self._limits.rate:
            self._left += 1
