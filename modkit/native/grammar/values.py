"""JSON values: of which kind one is, and when two are the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from modkit.errors import GrammarError

__all__ = ["kind_of", "same", "short"]


def kind_of(value: Any) -> str:
    """The kind of a JSON value; 1.0 is an integer, as JSON Schema says."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and value.is_integer()):
        return "integer"
    if isinstance(value, float):
        return "fraction"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list | tuple):
        return "array"
    if isinstance(value, Mapping):
        return "object"
    raise GrammarError(f"{short(value)} is no JSON value")


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: 1 is 1.0, and True is not 1."""
    kinds = kind_of(one), kind_of(other)
    if kinds[0] != kinds[1]:
        return False
    if kinds[0] == "array":
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other))
    if kinds[0] == "object":
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def short(value: Any) -> str:
    """A value for a message."""
    try:
        return json.dumps(value, ensure_ascii=False, default=repr)[:60]
    except (TypeError, ValueError, RecursionError):
        return repr(value)[:60]
