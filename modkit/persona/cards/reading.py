"""Files that cards come in, read with a limit, and the JSON in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modkit.errors import CardError

__all__ = ["MAX_JSON", "parse_json", "read"]

MAX_JSON = 1 << 26  # bytes


def read(path: Path, limit: int) -> bytes:
    """What is in the file, at most `limit` bytes. Raises CardError."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise CardError(f"{path.name} cannot be read: {error.strerror or error}") from error
    return _bounded(data, limit, path.name)


def parse_json(data: bytes, name: str) -> Any:
    """The JSON in `data`; `name` says whose it is when it cannot be read (CardError)."""
    try:
        text = _bounded(data, MAX_JSON, name).decode("utf-8-sig")
        return json.loads(text, parse_int=lambda digits: int(digits[:20]))
    except UnicodeDecodeError:
        raise CardError(f"{name} is not UTF-8 text; save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise CardError(f"{name} is not valid JSON ({reason})") from None


def _bounded(data: bytes, limit: int, name: str) -> bytes:
    if len(data) > limit:
        raise CardError(f"{name} is larger than {limit >> 20} MiB; that is no character card")
    return data
