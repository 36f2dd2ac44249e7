"""A llama.cpp out of an archive that somebody else made: only the files beside the library, only plain ones.

Nothing in an archive is believed: not its paths (only the last part of a name is used, and only when it
is a harmless file name), not its sizes (bytes are counted as they come), not its links (one to a file
beside it becomes a copy, as release archives use them for versions; any other ends the reading).
Blocks for seconds; any thread.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from modkit.errors import LibraryError
from modkit.native.find import is_library

__all__ = ["unpack"]

MAX_ENTRIES = 20_000
MAX_BYTES = 8 << 30
# Compressed libraries grow to some three or four times; CUDA's to ten. A bomb grows a thousandfold.
MAX_GROWTH = 100
SMALL = 64 << 20
_CHUNK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,120}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """A file in an archive, or a link to `target` beside it."""

    folder: str
    name: str
    size: int
    target: str
    member: Any


class _Refused(Exception):
    """What is wrong with the archive, in a few words."""


def unpack(archive: Path, into: Path) -> list[Path]:
    """Writes the library's folder out of a .tar.gz, .tgz, .tar.xz, .tar or .zip into `into`, an empty folder.

    Raises LibraryError for an archive that holds no llama.cpp, or anything that a release does not.
    """
    try:
        with _opened(archive) as (entries, read):
            chosen = _choose(entries)
            budget = max(SMALL, MAX_GROWTH * archive.stat().st_size)
            return _write(chosen, read, into, min(budget, MAX_BYTES))
    except _Refused as reason:
        raise LibraryError(f"{archive} is refused: {reason}") from None
    except OSError as error:
        raise LibraryError(f"{archive} cannot be unpacked: {error.strerror or error}") from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise LibraryError(f"{archive} cannot be unpacked: {error or type(error).__name__}") from None
    except NotImplementedError as error:  # a zip with a compression that this Python does not have
        raise LibraryError(f"{archive} cannot be unpacked: {error}") from None


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[list[Entry], Any]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as z:
            yield [_of_zip(info) for info in z.infolist()[: MAX_ENTRIES + 1] if not info.is_dir()], z.open
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as t:
            found: list[Entry] = []
            for member in t:
                if len(found) > MAX_ENTRIES:
                    break
                if not member.isdir():
                    found.append(_of_tar(member))
            yield found, t.extractfile
    else:
        raise _Refused("it is neither a tar nor a zip archive")


def _entry(name: str, size: int, target: str, member: Any) -> Entry:
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        raise _Refused(f"it holds a path that leads out of it ({name[:100]!r})")
    folder, last = posixpath.split(posixpath.normpath(name))
    return Entry(folder, last, size, target, member)


def _of_tar(member: tarfile.TarInfo) -> Entry:
    if member.issym():
        return _entry(member.name, 0, _beside(member.name, member.linkname), member)
    if not member.isreg():
        raise _Refused(f"it holds something that is no file ({member.name[:100]!r})")
    return _entry(member.name, member.size, "", member)


def _of_zip(info: zipfile.ZipInfo) -> Entry:
    kind = (info.external_attr >> 16) & 0o170000
    if kind not in (0, 0o100000):
        raise _Refused(f"it holds something that is no file ({info.filename[:100]!r})")
    if info.flag_bits & 1:
        raise _Refused("it is encrypted")
    return _entry(info.filename, info.file_size, "", info)


def _beside(name: str, target: str) -> str:
    if not _NAME.fullmatch(target):
        raise _Refused(f"it holds a link that leads elsewhere ({name[:100]!r} to {target[:100]!r})")
    return target


def _choose(entries: list[Entry]) -> list[Entry]:
    """The files of the folder with the library in it; what else there is stays where it is."""
    if len(entries) > MAX_ENTRIES:
        raise _Refused(f"it holds more than {MAX_ENTRIES} files")
    folders = {entry.folder for entry in entries if is_library(entry.name)}
    if not folders:
        raise _Refused("there is no llama.cpp library in it (libllama.so, llama.dll)")
    if len(folders) > 1:
        raise _Refused(f"it holds several llama.cpp libraries ({', '.join(sorted(folders))[:200]})")
    folder = folders.pop()
    chosen: dict[str, Entry] = {}
    for entry in entries:
        if entry.folder != folder or not _wanted(entry.name):
            continue
        if not _NAME.fullmatch(entry.name) or _RESERVED.fullmatch(entry.name) or entry.name.endswith("."):
            raise _Refused(f"it holds a file with an odd name ({entry.name[:100]!r})")
        if entry.name.lower() in chosen:
            raise _Refused(f"it holds {entry.name} twice")
        chosen[entry.name.lower()] = entry
    return list(chosen.values())


def _wanted(name: str) -> bool:
    """Libraries, and what is about them; programs stay behind."""
    return bool(re.search(r"\.(so|dll|dylib|metal|metallib|txt|md|json)(\.[\d.]+)?$", name, re.I)) or "LICENSE" in name


def _write(entries: list[Entry], read: Any, into: Path, budget: int) -> list[Path]:
    left = budget
    if sum(entry.size for entry in entries) > budget:
        raise _Refused(f"it would take more than {budget >> 20} MiB")
    written = []
    for entry in entries:
        if not entry.target:
            left -= _copy(read(entry.member), into / entry.name, left)
            written.append(into / entry.name)
    links = [entry for entry in entries if entry.target]
    for _ in range(8):  # a link may lead to a link
        for entry in list(links):
            source = into / entry.target
            if source.is_file():
                left -= source.stat().st_size
                if left < 0:
                    raise _Refused(f"it would take more than {budget >> 20} MiB")
                shutil.copyfile(source, into / entry.name)
                written.append(into / entry.name)
                links.remove(entry)
    if links:
        raise _Refused(f"it holds a link to nothing ({links[0].name} to {links[0].target})")
    return written


def _copy(source: IO[bytes] | None, target: Path, left: int) -> int:
    """Counts what really comes out, whatever the archive announced."""
    if source is None:
        raise _Refused(f"{target.name} cannot be read")
    total = 0
    with source, open(target, "xb") as out:
        while block := source.read(_CHUNK):
            total += len(block)
            if total > left:
                raise _Refused(f"{target.name} grows beyond all measure")
            out.write(block)
    return total
