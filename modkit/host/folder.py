"""A mod's files, confined to its folder: no name, symbolic link or drive letter leads out of it.

A mod may come as a zip. It is unpacked into a folder of the host's own, because an NPC's file has to be a
file; what would lead out of that folder, or fill the disk, is refused before a byte is written.
"""

from __future__ import annotations

import stat
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from modkit.errors import ModError

# `zipfile`, `tempfile` and `shutil` bring five compressors and a megabyte along, and most games have no mod that is a
# zip: they are imported where one is met.
if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

__all__ = ["Folder", "open_folder"]

MAX_BYTES = 512 << 20  # of one zip, unpacked
MAX_FILES = 10_000
MAX_RATIO = 200  # unpacked to packed, of files above a megabyte: text comes to 10, a bomb to 1,000
_CHUNK = 1 << 20


class Folder:
    """The files of one mod. Names use `/` and are relative to `root`.

    `source` is what the player sees: the folder itself, or the zip that it was unpacked from.
    """

    def __init__(self, root: Path, source: Path | None = None) -> None:
        self.root = root.resolve()
        self.source = self.root if source is None else source.resolve()
        self._temporary: Path | None = None

    @property
    def zipped(self) -> bool:
        """Whether it came as a zip: then what is written into it would be lost."""
        return self.source != self.root

    def shown(self, name: str) -> str:
        """The file's name for a message."""
        return str(self.source / name)

    def path(self, name: str) -> Path:
        """The absolute path of `name`, existing or not; raises `ModError` when it lies outside the folder.

        The path is resolved first, so a symbolic link is judged by where it leads.
        """
        if not isinstance(name, str) or not name or "\0" in name:
            raise ModError(
                f"{name!r} is not a file name; give one relative to the mod's folder, as 'data/a.txt'."
            )
        try:
            path = (self.root / name).resolve()
        except (OSError, RuntimeError) as error:  # a loop of links, or a name the system refuses
            raise ModError(
                f"{name!r} in {self.source} cannot be followed ({error}); rename it or remove the link."
            ) from None
        if not path.is_relative_to(self.root):
            raise ModError(
                f"{name!r} leads out of the mod's folder {self.source}; keep the mod's files inside it."
            )
        return path

    def has(self, name: str) -> bool:
        """True when `name` is a file inside the folder."""
        try:
            return self.path(name).is_file()
        except ModError:
            return False

    def read(self, name: str) -> bytes:
        """The bytes of a file; raises `ModError` when it is missing, unreadable or outside."""
        path = self.path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise ModError(
                f"{self.shown(name)} is missing; add the file, or correct the name that points to it."
            ) from None
        except OSError as error:
            raise ModError(
                f"{self.shown(name)} cannot be read ({error.strerror}); check the file and its rights."
            ) from None

    def close(self) -> None:
        """Remove what was unpacked. May be called twice."""
        if self._temporary is not None:
            import shutil

            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None


def open_folder(source: Path) -> Folder:
    """The files of a mod, given its folder or its zip; raises `ModError`. Reads the disk: may be slow."""
    if not source.is_file():
        return Folder(source)
    import shutil
    import tempfile

    temporary = Path(tempfile.mkdtemp(prefix="modkit-"))
    try:
        _unpack(source, temporary)
        inside = [path for path in temporary.iterdir() if path.name != "__MACOSX"]
        root = inside[0] if len(inside) == 1 and inside[0].is_dir() else temporary
        folder = Folder(root, source)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    folder._temporary = temporary
    return folder


def _unpack(source: Path, target: Path) -> None:
    import zipfile

    try:
        with zipfile.ZipFile(source) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MAX_FILES:
                raise ModError(f"{source} holds {len(entries):,} files; a mod may have {MAX_FILES:,}.")
            left = MAX_BYTES
            for entry in entries:
                left -= _unpack_one(archive, entry, _safe(entry, source, target), source, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModError(f"{source} is not a zip that can be read ({error}); pack the mod again.") from None
    except OSError as error:
        raise ModError(f"{source} cannot be unpacked ({error.strerror or error}); check the disk.") from None


def _safe(entry: ZipInfo, source: Path, target: Path) -> Path:
    """Where the entry goes, if that is inside the folder."""
    name = PurePosixPath(entry.filename)
    parts = name.parts
    bad = not parts or name.is_absolute() or ".." in parts or "\\" in entry.filename or ":" in entry.filename
    if bad or any(ord(letter) < 32 for letter in entry.filename):
        raise ModError(f"{source} holds {entry.filename!r}, which leads out of the mod's folder; pack it again.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ModError(f"{source} holds a link, {entry.filename!r}; pack the file itself.")
    return target.joinpath(*parts)


def _unpack_one(archive: ZipFile, entry: ZipInfo, path: Path, source: Path, left: int) -> int:
    """Write one file; the sizes that the zip states are not believed, what comes out is counted."""
    if path.exists():
        raise ModError(f"{source} holds {entry.filename!r} twice; pack it again.")
    path.parent.mkdir(parents=True, exist_ok=True)
    most = min(left, max(_CHUNK, entry.compress_size * MAX_RATIO))
    written = 0
    with archive.open(entry) as packed, path.open("xb") as out:
        while block := packed.read(_CHUNK):
            written += len(block)
            if written > most:
                raise ModError(f"{source}: {entry.filename!r} unpacks to far more than a mod needs; it was left out.")
            out.write(block)
    return written
