"""A file that is replaced in one step: whoever looks sees the old one or the new one, and never a part.

For any thread. Two writers of one file in one process are the caller's business.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replace_with", "replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write under; when the block ends well, that file takes the place of `path`.

    It is synced first, so that after a power cut too there is the old file or the whole new one. When the block raises,
    `path` is as it was and nothing is left beside it. The block must have closed the file: Windows moves no open
    one. Raises OSError. What writers that were killed have left is removed.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _clear_up(path)
        part.unlink(missing_ok=True)
        yield part
        with part.open("rb+") as file:  # Windows syncs only what is open for writing
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def replace_with(path: Path, data: bytes) -> None:
    """Makes `data` the content of `path`, as `replacing` does. Raises OSError."""
    with replacing(path) as part:
        part.write_bytes(data)


def _clear_up(path: Path) -> None:
    """Removes what writers that were killed have left beside `path`. One that still runs is left alone."""
    if os.name != "posix":  # elsewhere there is no harmless way to ask whether a process lives
        return
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = left.name.split(".")[-2]
        if not process.isdigit() or int(process) == os.getpid():
            continue
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            with contextlib.suppress(OSError):
                left.unlink()
        except (OSError, OverflowError):
            pass
