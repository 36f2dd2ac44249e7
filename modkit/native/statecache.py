"""Where the worker keeps states of sequences on disk, and the secret with which it knows its own files again.

llama.cpp trusts the bytes of a state, so a file that somebody else wrote could do anything to this process.
Each file is therefore tagged (SipHash-2-4, 128 bits) with a key that lies in this user's data folder, readable
for nobody else: files of other users and machines, shipped with a mod, cut short or damaged are ignored. What
this cannot keep out is a program that runs as the same user: it could read the key, but it needs no detour.
Called where an engine is made; a few file calls, no more.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from modkit.errors import OptionError
from modkit.native.folders import data_folder

__all__ = ["folder_and_key", "salt"]

log = logging.getLogger("modkit.native")

KEY_BYTES = 16
MAX_PATH_BYTES = 1000


def folder_and_key(folder: str | os.PathLike[str]) -> tuple[bytes, bytes] | None:
    """(the folder's path as UTF-8, the key); None, with a log line, when this user can keep no key.

    Makes the folder. Raises OptionError when it cannot be one.
    """
    path = Path(folder).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"cache_dir={str(folder)!r} cannot be made: {error.strerror}; give a folder to write in"
        raise OptionError(why) from None
    encoded = str(path).encode("utf-8", "surrogateescape")
    if len(encoded) > MAX_PATH_BYTES:
        raise OptionError(f"cache_dir: its path has {len(encoded)} bytes; at most {MAX_PATH_BYTES} are accepted")
    try:
        return encoded, _key(data_folder() / "state.key")
    except OSError as error:
        log.warning("no states are kept on disk: the key for them cannot be kept (%s)", error)
        return None


def salt(library_path: Path, library_version: str, model: Path, details: str) -> bytes:
    """What decides, beside the model's bytes, how a state looks: files of another salt are not read."""
    parts = [sys.byteorder, library_version, details]
    for path in (library_path, model):
        status = path.stat()
        parts += [path.name, str(status.st_size), str(status.st_mtime_ns)]
    return "|".join(parts).encode("utf-8", "replace").replace(b"\0", b"")


def _key(path: Path) -> bytes:
    """The user's key, made at the first call. Raises OSError."""
    for _ in range(3):
        try:
            if _is_private(path):
                key = path.read_bytes()
                if len(key) == KEY_BYTES:
                    return key
            log.warning("%s was readable for others, or damaged: a new key, and stored states are forgotten", path)
            path.unlink()
        except FileNotFoundError:
            pass
        _make(path)
    raise OSError(f"{path} changes while it is read")


def _is_private(path: Path) -> bool:
    status = path.lstat()
    if sys.platform == "win32":  # the folder is the user's own there
        return True
    return status.st_uid == os.getuid() and not status.st_mode & 0o077 and path.is_file() and not path.is_symlink()


def _make(path: Path) -> None:
    """Under a name of its own, then put in place, unless another process was faster."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(KEY_BYTES))
    try:
        if sys.platform == "win32":
            os.rename(fresh, path)
        else:
            os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)
