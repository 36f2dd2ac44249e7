"""The host's side of the save: each mod's storage, what its `@save` returned, its settings of scope "save".

Everything is staged in memory, at once, and committed off the frame: with the next turn of an NPC, with
`host.save()`, a few seconds of game time after it was written, or when the host closes. Without a save file it
lives as long as the host.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modkit.engine.helper import Helper
from modkit.errors import ModkitError, SaveError
from modkit.host.storage import Storage, unpack

if TYPE_CHECKING:
    from modkit.persona import Save

__all__ = ["Saves"]

_log = logging.getLogger("modkit.host")
_STATES = "@state"  # no mod's id begins with an @
_SETTINGS = "@settings"
_AFTER = 5.0  # seconds of game time that a write may wait for a turn to go with


class Saves:
    """One save, or none (`path` None). `helper` is the thread that commits."""

    def __init__(self, path: str | Path | None, helper: Helper) -> None:
        self.file: Save | None = None
        self.error: SaveError | None = None
        self._helper = helper
        self._storages: dict[str, Storage] = {}
        self._kept: dict[tuple[str, str], bytes] = {}
        self._due: float | None = None
        self._now = 0.0
        if path is not None:
            from modkit.persona import Save  # SQLite is loaded only by games that save

            self.file = Save.open(path)

    def storage(self, ident: str) -> Storage:
        """The storage of a mod; the same one when the mod is loaded again. Reads the disk the first time."""
        found = self._storages.get(ident)
        if found is None:
            packed = self.file.state(ident) if self.file is not None else {}
            found = self._storages[ident] = Storage(lambda values: self._stage(ident, values), packed)
        return found

    def state(self, ident: str) -> tuple[Any, str] | None:
        """What the mod's `@save` returned last, and the version of the mod then."""
        data = self._read(_STATES, ident)
        if data is None:
            return None
        version, state = unpack(data)
        return unpack(state), str(version)

    def keep_state(self, ident: str, data: bytes) -> None:
        """Keep what a mod's `@save` returned, packed with its version."""
        self._keep(_STATES, ident, data)

    def settings(self, ident: str) -> dict[str, Any]:
        """The mod's settings of scope "save"."""
        data = self._read(_SETTINGS, ident)
        return {} if data is None else dict(unpack(data))

    def keep_settings(self, ident: str, data: bytes) -> None:
        """Keep the packed settings of scope "save" of a mod."""
        self._keep(_SETTINGS, ident, data)

    def begin(self, now: float) -> None:
        """A frame begins, `now` seconds into the game; commit, off the frame, what has waited long enough."""
        self._now = now
        if self._due is not None and now >= self._due:
            self.commit()

    def commit(self, copy_to: str | Path | None = None, done: Callable[[], None] | None = None) -> None:
        """Commit what is staged, off the frame, and then copy the save; `error` says how it went."""
        self._due = None
        if self.file is not None:
            file = self.file
            self._helper.run(lambda: self._commit(file, copy_to, done))

    def close(self) -> None:
        """Commit what is staged and close the file."""
        if self.file is not None:
            self._commit(self.file, None, None)
            self.file.close()
            self.file = None

    def _commit(self, file: Save, copy_to: str | Path | None, done: Callable[[], None] | None) -> None:
        try:
            file.commit()
            if copy_to is not None:
                file.copy_to(copy_to)
            self.error = None
        except ModkitError as error:
            self.error = error if isinstance(error, SaveError) else SaveError(str(error))
            _log.error("The game was not saved: %s", error)
        if done is not None:
            done()

    def _read(self, owner: str, ident: str) -> bytes | None:
        kept = self._kept.get((owner, ident))
        if kept is None and self.file is not None:
            kept = self.file.get_state(owner, ident)
        return kept

    def _keep(self, owner: str, ident: str, data: bytes) -> None:
        self._kept[owner, ident] = data
        self._stage(owner, {ident: data})

    def _stage(self, owner: str, values: Mapping[str, bytes | None]) -> None:
        if self.file is not None:
            self.file.stage(owner, values)
            if self._due is None:
                self._due = self._now + _AFTER
