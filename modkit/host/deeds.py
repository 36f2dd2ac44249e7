"""Actions of an NPC that a mod registers: guarded as every call into a mod is, and gone when the mod is unloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modkit.errors import ActionRefused, ModError
from modkit.host.events import Origin
from modkit.host.guard import FAILED

if TYPE_CHECKING:
    from modkit.host.mod import Mod

__all__ = ["ModActions"]


class ModActions:
    """`npc.actions`, as one mod sees it; every other attribute is the NPC's own."""

    def __init__(self, mod: Mod, npc: Any) -> None:
        self._mod = mod
        self._npc = npc

    def add(
        self, fn: Callable[..., Any], when: Callable[[], object] | None = None, name: str | None = None
    ) -> Callable[..., Any]:
        """`NPC.actions.add()`. A first parameter `mod` gets the mod. Raises `ModError` with what to change."""
        from modkit.persona.action import Action

        mod, actions = self._mod, self._npc.actions
        mod._check()
        origin = Origin(f"action {name or getattr(fn, '__name__', repr(fn))}")

        def guarded(*args: Any, **values: Any) -> Any:
            result = mod._host._guard.call(mod, origin, _attempt, fn, args, values)
            if result is FAILED:
                raise ModError(f"The {origin.label} of mod {mod.id!r} failed.")
            if isinstance(result, ActionRefused):
                raise result
            return result

        try:
            added = Action(fn, when, name, {"mod": mod, "npc": self._npc}, guarded)
            actions._add(added)
        except ValueError as error:  # OptionError, GrammarError
            raise ModError(f"Mod {mod.id!r}: {error}.") from error
        mod._deeds.append((actions, added.name))
        return fn

    def on_deed(self, function: Callable[[Any], object]) -> None:
        """`NPC.actions.on_deed()`: calls function(deed) after each call, as the mod's code is called."""
        self._npc.actions.on_deed(self._mod._guarded("on_deed", function))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._npc.actions, name)

    def __len__(self) -> int:
        return len(self._npc.actions)

    def __contains__(self, name: object) -> bool:
        return name in self._npc.actions


def _attempt(fn: Callable[..., Any], args: tuple[Any, ...], values: dict[str, Any]) -> Any:
    """To say no is not a failure: the guard does not hear of it."""
    try:
        return fn(*args, **values)
    except ActionRefused as refusal:
        return refusal
