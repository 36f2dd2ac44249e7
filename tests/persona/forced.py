"""A file forced through a reader that need not be meant for it."""

from __future__ import annotations

from pathlib import Path

from modkit.errors import DumpError
from modkit.persona.readers import DumpFile, Join, Reader

__all__ = ["force"]


def force(reader: Reader, path: Path) -> None:
    """Reads `path` with `reader`: lines with text or a DumpError that names the file, never anything else."""
    file, join = DumpFile(path), Join()
    try:
        if reader.scan is not None:
            reader.scan(file, join)
        for line in reader.read(file, join):
            assert line is None or line.text
    except DumpError as error:
        assert str(error).startswith(file.name)
