"""`mod.storage`: what a mod wants to find again in the next session. It lies in the game's save, with the minds
of the NPCs, and is committed in the same transactions, so the two never tell different stories.

A value is packed the moment it is assigned: what cannot be kept is refused there and then, and what is read
later is what was written, not what became of it. So a list that was read and changed has to be assigned again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import msgpack

from modkit.errors import ModError, OptionError

__all__ = ["MAX_BYTES", "Storage", "pack", "unpack"]

MAX_BYTES = 16 << 20  # of one value: a save is copied and committed while people play
MAX_DEPTH = 64

Keep = Callable[[Mapping[str, bytes | None]], None]


class Storage(MutableMapping[str, Any]):
    """A dict with text keys whose values are None, bool, int, float, str, bytes, lists and dicts of these."""

    def __init__(self, keep: Keep, packed: Mapping[str, bytes]) -> None:
        self._keep = keep
        self._packed = dict(packed)

    def __getitem__(self, key: str) -> Any:
        """A fresh copy of the value; assign it again after changing it."""
        return unpack(self._packed[key])

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str) or not key:
            raise OptionError(f"A key of mod.storage is a text that is not empty, not {key!r}.")
        data = pack(value, f"storage[{key!r}]")
        self._packed[key] = data
        self._keep({key: data})

    def __delitem__(self, key: str) -> None:
        del self._packed[key]
        self._keep({key: None})

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._packed))

    def __len__(self) -> int:
        return len(self._packed)

    def __repr__(self) -> str:
        return f"<Storage {', '.join(self) or 'empty'}>"

    @contextlib.contextmanager
    def _or_back(self) -> Iterator[None]:
        """What is written inside is taken back when the inside raises."""
        before = dict(self._packed)
        try:
            yield
        except BaseException:
            changed = {key for key in {*before, *self._packed} if before.get(key) != self._packed.get(key)}
            self._packed = before
            self._keep({key: before.get(key) for key in changed})
            raise


def pack(value: Any, where: str) -> bytes:
    """The value as bytes; raises `ModError` that names the place of what cannot be kept."""
    if not _is_plain(value, MAX_DEPTH):
        _check(value, where, [])
    try:
        data: bytes = msgpack.packb(value, use_bin_type=True)
    except (ValueError, OverflowError, TypeError) as error:
        raise ModError(f"{where} cannot be kept: {error}.") from None
    if len(data) > MAX_BYTES:
        raise ModError(f"{where} has {len(data):,} bytes; at most {MAX_BYTES:,} can be kept under one key.")
    return data


def unpack(data: bytes) -> Any:
    """What `pack` packed; tuples come back as lists."""
    return msgpack.unpackb(data, strict_map_key=False, raw=False)


def _is_plain(value: Any, depth: int) -> bool:
    """Whether it can be kept, quickly; `_check` then says what cannot, and where."""
    kind = type(value)
    if kind is str or kind is int or kind is float or kind is bool or value is None or kind is bytes:
        return kind is not int or -(2**63) <= value < 2**64
    if depth == 0:
        return False
    if kind is list or kind is tuple:
        return all(_is_plain(item, depth - 1) for item in value)
    if kind is dict:
        return all(type(key) in (str, int) for key in value) and all(
            _is_plain(item, depth - 1) for item in value.values()
        )
    return False


def _check(value: Any, where: str, above: list[int]) -> None:
    if value is None or isinstance(value, bool | float | str | bytes):
        return
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ModError(f"{where} is too large a number to be kept; keep it as a text.")
    elif isinstance(value, dict | list | tuple):
        if id(value) in above:
            raise ModError(f"{where} contains itself, which cannot be kept; take the circle out.")
        if len(above) >= MAX_DEPTH:
            raise ModError(f"{where} lies more than {MAX_DEPTH} levels deep; keep it flatter.")
        above.append(id(value))
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise ModError(f"{where} has the key {key!r}; keys that are kept are texts or whole numbers.")
            _check(item, f"{where}[{key!r}]", above)
        above.pop()
    else:
        raise ModError(
            f"{where} is {_named(value)}, which cannot be kept; keep None, bool, int, float, str, bytes, "
            "and lists and dicts of these."
        )


def _named(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    return f"a {type(value).__name__} ({name})" if isinstance(name, str) else f"a {type(value).__name__}"
