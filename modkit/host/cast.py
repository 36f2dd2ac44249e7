"""The NPCs that mods can ask for: registered by the game, or found as `.persona` files in a mod's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modkit.errors import ModError

if TYPE_CHECKING:
    from modkit.host.folder import Folder

__all__ = ["Cast"]


class Cast:
    """NPCs by id. One id is one mind, whichever mod speaks to it. Closes what it opened, and only that."""

    def __init__(self, engine: Any, save: Any = None) -> None:
        self._engine = engine
        self._save = save  # an open Save, or None; not ours to close
        self._owners: dict[str, str] = {}  # of the NPCs that came with a mod
        self._npcs: dict[str, Any] = {}
        self._opened: dict[str, tuple[Any, Any]] = {}
        self._no_engine: set[str] = set()

    def add_persona(self, ident: str, persona: Any, **options: Any) -> None:
        """Open the persona (if it is a path) and make its NPC, which replaces one of the same id."""
        if self._engine is None:
            self._no_engine.add(ident)
            return
        import modkit.persona as room  # SQLite is loaded only by games that have personas

        opened = None
        if isinstance(persona, str | Path):
            persona = opened = room.Persona.open(persona)
        npc = room.NPC(persona, self._engine, save=self._save, **options)
        self._close(ident)
        self._npcs[ident] = npc
        self._opened[ident] = (npc, opened)

    def add_npc(self, ident: str, npc: Any) -> None:
        """Register an NPC of the game's own."""
        self._close(ident)
        self._npcs[ident] = npc

    def look_in(self, files: Folder, owner: str) -> None:
        """Register each `<id>.persona` at the top of the folder of the mod `owner`, unless that id is taken."""
        for path in sorted(files.root.glob("*.persona")):
            if path.stem not in self._npcs:
                self.add_persona(path.stem, files.path(path.name))
                self._owners[path.stem] = owner

    def leave(self, owner: str) -> None:
        """The mod is gone, and with it the NPCs that came with it. Their minds are in the save."""
        for ident in [ident for ident, mod in self._owners.items() if mod == owner]:
            self._close(ident)

    def npc(self, ident: str) -> Any:
        """The NPC of that id; raises `ModError` when there is none."""
        try:
            return self._npcs[ident]
        except KeyError:
            if ident in self._no_engine:
                raise ModError(
                    f"NPC {ident!r} cannot speak: this host has no engine; give it one, or a model."
                ) from None
            known = ", ".join(sorted(self._npcs)) or "none"
            raise ModError(
                f"There is no NPC {ident!r} (known: {known}); the game adds one with "
                f"host.add_persona({ident!r}, 'file.persona'), or put {ident}.persona into the mod's folder."
            ) from None

    def close(self) -> None:
        """Close every NPC and persona that was opened here."""
        for ident in list(self._opened):
            self._close(ident)
        self._npcs.clear()

    def _close(self, ident: str) -> None:
        self._owners.pop(ident, None)
        self._npcs.pop(ident, None)
        for thing in self._opened.pop(ident, ()):
            close = getattr(thing, "close", None)
            if close is not None:
                close()
