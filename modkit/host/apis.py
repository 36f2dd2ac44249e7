"""What mods offer each other: `mod.offer(thing, "1.2")` in one, `mod.api("harbour", ">=1")` in another.

What `mod.api()` returns is bound late: each use looks up who offers now, so the offering mod may load later,
be reloaded, or go, and nobody holds on to an old copy of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modkit.errors import ModError, ModkitError
from modkit.host.requires import satisfies

if TYPE_CHECKING:
    from modkit.host.mod import Mod

__all__ = ["Api"]


class Api:
    """Another mod's offer, as one mod sees it: its public names as attributes.

    `available` says whether somebody offers it now. A name or a call raises `ModError` when nobody does, when
    the version does not fit, or when the offering mod failed; that failure is counted as the offering mod's.
    """

    __slots__ = ("_ident", "_mod", "_range")

    def __init__(self, mod: Mod, ident: str, range: str) -> None:
        self._mod = mod
        self._ident = ident
        self._range = range

    @property
    def available(self) -> bool:
        """Whether a fitting version is offered at this moment."""
        return isinstance(self._look_up(), tuple)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{name!r} is private to the mod {self._ident!r}")
        value = getattr(self._offer()[1], name)
        if not callable(value):
            return value

        def call(*args: Any, **options: Any) -> Any:
            owner, thing = self._offer()
            origin = owner._origin(f"{name}() of its api")
            try:
                result = getattr(thing, name)(*args, **options)
                origin.streak = 0
                return result
            except (KeyboardInterrupt, ModkitError):
                raise
            except Exception as error:
                owner._failed(origin, error)
                text = f"{type(error).__name__} in {name}() of mod {self._ident!r}"
                raise ModError(f"{text}: {error}; the mistake is in that mod.") from error

        call.__name__ = name
        return call

    def __repr__(self) -> str:
        return f"<Api of {self._ident!r} {self._range}>"

    def _offer(self) -> tuple[Mod, Any]:
        found = self._look_up()
        if isinstance(found, str):
            raise ModError(found)
        return found

    def _look_up(self) -> tuple[Mod, Any] | str:
        owner = self._mod._host._roster.mods.get(self._ident)
        if owner is None or owner._offered is None or not owner.account.runs:
            why = "is not loaded" if owner is None else "offers nothing" if owner._offered is None else "is suspended"
            return f"Mod {self._ident!r} {why}; ask api.available first, or put it into requires."
        thing, version = owner._offered
        if not satisfies(version, self._range):
            return f"Mod {self._ident!r} offers version {version}, not {self._range}; ask for another range."
        return owner, thing
