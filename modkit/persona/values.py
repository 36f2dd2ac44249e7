"""JSON values as they are looked at without trusting their shape: what is not of the kind asked for is empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["integer", "items", "record", "records", "string"]


def record(value: object) -> dict[str, Any]:
    """`value` when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """`value` when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def records(value: object) -> Iterator[dict[str, Any]]:
    """The objects in the list `value`."""
    return (item for item in items(value) if isinstance(item, dict))


def integer(digits: str) -> Any:
    """`parse_int` for JSON of strangers: a 64-bit id stays exact, and a thousand digits stay text, because to convert
    them takes the square of their number."""
    return int(digits) if len(digits) <= 20 else digits


def string(value: object) -> str:
    """`value` as text: a string, or a number written out; "" for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
