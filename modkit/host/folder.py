"""A mod's files, confined to its folder: no name, symbolic link or drive letter leads out of it."""

from __future__ import annotations

from pathlib import Path

from modkit.errors import ModError

__all__ = ["Folder"]


class Folder:
    """The files of one mod. Names use `/` and are relative to `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

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
                f"{name!r} in {self.root} cannot be followed ({error}); rename it or remove the link."
            ) from None
        if not path.is_relative_to(self.root):
            raise ModError(
                f"{name!r} leads out of the mod's folder {self.root}; keep the mod's files inside it."
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
                f"{self.root / name} is missing; add the file, or correct the name that points to it."
            ) from None
        except OSError as error:
            raise ModError(
                f"{self.root / name} cannot be read ({error.strerror}); check the file and its rights."
            ) from None
