"""What mods offer each other: `mod.offer(thing, "1.2")` in one, `mod.api("harbour", ">=1")` in another.

What `mod.api()` returns is bound late: each use looks up who offers now, so the offering mod may load later,
be reloaded, or go, and nobody holds on to an old copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from modkit.engine.pending import Answer, Pending
from modkit.errors import ModError, ModkitError
from modkit.host.requires import satisfies

if TYPE_CHECKING:
    from modkit.host.mod import Mod

__all__ = ["Api", "Elsewhere", "FarOffer"]


class Elsewhere:
    """Stands where an answer's engine would: what is asked of other mods is not computed by one."""

    name = "elsewhere"
    context = 0

    def tick(self) -> None:
        raise ModError("result() would wait inside the frame; in a mod, await the answer")

    def _cancel(self, asked: Pending[Any]) -> None:
        """It is marked already; what still comes is ignored."""


class FarOffer:
    """What a mod in a process of its own offers: its functions by name, each answered late; `values` are the names of
    what is no function. `ask(name, args, options)` passes a use of one on."""

    __slots__ = ("_ask", "_calls", "_values")

    def __init__(
        self, calls: Sequence[str], values: Sequence[str], ask: Callable[[str, Sequence[Any], dict[str, Any]], Any]
    ) -> None:
        self._calls, self._values, self._ask = frozenset(calls), frozenset(values), ask

    def __getattr__(self, name: str) -> Any:
        if name in self._calls:
            return lambda *args, **options: self._ask(name, args, options)
        if name in self._values:
            raise ModError(
                f"{name!r} is a value in the process of another mod, for which no frame waits; write: "
                f"value = await api.later({name!r})"
            )
        raise AttributeError(name)

    def __dir__(self) -> list[str]:
        return sorted({*self._calls, *self._values})


class Api:
    """Another mod's offer, as one mod sees it: its public names as attributes.

    `available` says whether somebody offers it now. A name or a call raises `ModError` when nobody does, when
    the version does not fit, or when the offering mod failed; that failure is counted as the offering mod's.

    Between processes nothing is waited for: where one of the two mods has a process of its own, a call returns an
    `Answer` at once, to be awaited. `later()` does so always.
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

    def later(self, name: str, /, *args: Any, **options: Any) -> Any:
        """Call `name` (or look it up, when it is a value) and return an `Answer`: `await` it for what came of it.

        The same wherever the two mods run. Raises nothing: what went wrong, `await` raises as `ModError`.
        """
        answer: Answer[Any] = Answer(Elsewhere(), 0)  # type: ignore[arg-type]
        try:
            thing = self._offer()[1]
            if isinstance(thing, FarOffer) and not name.startswith("_"):
                return thing._ask(name, args, options)
            value = self.__getattr__(name)
            if callable(value):
                value = value(*args, **options)
        except AttributeError:
            answer._end("error", ModError(f"Mod {self._ident!r} offers no {name!r}; look at what it offers."))
        except ModkitError as error:
            answer._end("error", error)
        else:
            if isinstance(value, Pending):
                return value
            if isinstance(value, Coroutine):
                self._mod.spawn(_settle(answer, value, f"{name}() of mod {self._ident!r}"))
            else:
                answer._make = lambda: value
                answer._end("stop")
        return answer

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


async def _settle(answer: Answer[Any], coro: Coroutine[Any, Any, Any], what: str) -> None:
    """Ends the answer with what the coroutine returns or raises."""
    try:
        value = await coro
    except ModkitError as error:
        answer._end("error", error)
    except Exception as error:
        answer._end("error", ModError(f"{type(error).__name__} in {what}: {error}; the mistake is in that mod."))
    else:
        answer._make = lambda: value
        answer._end("stop")
