"""JSON values as readers look at them: without trusting their shape, and long lists piece by piece."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Any

from modkit.errors import DumpError
from modkit.persona.readers.source import DumpFile
from modkit.persona.values import integer, items, record, records, string

__all__ = ["entries", "items", "record", "records", "string"]

_MAX_WHOLE = 48 * 1024 * 1024  # bytes of a list on one line
_MAX_ENTRY = 16 * 1024 * 1024  # characters of one element of a list over many lines
_PIECE = 256 * 1024  # characters parsed at a time
_ELEMENT_ENDS = ("}", "  }", "    }", "\t}")


def _elements(file: DumpFile, decoder: json.JSONDecoder, text: str) -> tuple[list[Any], str]:
    """(whole elements at the beginning of `text`, what is left)."""
    found: list[Any] = []
    at = 0
    while True:
        while at < len(text) and text[at] in " \t\n\r,":
            at += 1
        if text[at : at + 1] not in ("{", "["):
            return found, text[at:]
        try:
            value, at = decoder.raw_decode(text, at)
        except RecursionError:
            raise DumpError(f"{file.name} is nested too deeply") from None
        except ValueError:
            return found, text[at:]
        found.append(value)


def entries(file: DumpFile) -> Iterator[Any]:
    """The elements of the JSON list in `file`, in pieces where its lines allow it, so that size does not matter.

    Raises DumpError where the list breaks off, after what was whole before it.
    """
    decoder = json.JSONDecoder(parse_int=integer, strict=False)
    if "\n" not in file.head.strip():
        found, rest = _elements(file, decoder, file.text(_MAX_WHOLE).lstrip().removeprefix("["))
        yield from found
    else:
        rest = yield from _streamed(file, decoder)
    if rest.strip() != "]":
        raise DumpError(f"{file.name} is not a whole JSON list: it breaks off at {rest[:40].strip()!r}")


def _streamed(file: DumpFile, decoder: json.JSONDecoder) -> Generator[Any, None, str]:
    kept: list[str] = []
    size, enough = 0, _PIECE
    started = False
    for _, line in file.lines():
        if not started:
            if not line.strip():
                continue
            if not line.lstrip().startswith("["):
                raise DumpError(f"{file.name} is not a list of records")
            line, started = line.lstrip()[1:], True
        kept.append(line)
        size += len(line)
        if size > _MAX_ENTRY:
            raise DumpError(f"{file.name} is not valid JSON: one record has more than {_MAX_ENTRY:,} characters")
        # Tried where an element can end, once enough has come together, and after a failure once that
        # has doubled: so a long element is not parsed from its beginning at each of its lines.
        if size > enough and line.startswith(_ELEMENT_ENDS):
            found, rest = _elements(file, decoder, "\n".join(kept))
            yield from found
            kept, size = [rest], len(rest)
            enough = max(_PIECE, 2 * size)
    found, rest = _elements(file, decoder, "\n".join(kept))
    yield from found
    return rest
