"""What a character can do in one turn: her actions as they are at that moment, the lines that the prompt tells of
them, and the grammar that holds a reply to them.

What is made of a state (a line in the prompt, a grammar) is made once for it and kept. On the game's thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modkit.persona.action import Action, Offered

__all__ = ["Offer", "Offers"]

_KEPT = 64  # offers whose grammar is kept
OPEN, CLOSE = "<do:", ">"
TOOL, TOOL_END = "<tool_call>", "</tool_call>"


@dataclass
class Offer:
    """All that can be done in one turn; `grammar=` of `Engine.chat` takes it as it is."""

    actions: tuple[Offered, ...]
    budget: int = 3
    triggers: tuple[str, ...] = (OPEN,)
    root: str = "root"
    tools: bool = False
    _made: str = field(default="", repr=False)

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of "You can do:"."""
        return tuple(offered.line for offered in self.actions)

    @property
    def gbnf(self) -> str:
        """Free speech with calls in it: from the first `<do:` on, only what is offered, `budget` times."""
        if not self._made and self.actions:
            self._made = _gbnf(self.actions, self.budget, self.tools)
        return self._made

    def find(self, name: str) -> Offered | None:
        """The offered action of that name."""
        return next((offered for offered in self.actions if offered.action.name == name), None)

    def __bool__(self) -> bool:
        return bool(self.actions)


class Offers:
    """Makes offers and keeps the last ones, so that a state of the game that comes back costs nothing."""

    def __init__(self) -> None:
        self._kept: dict[Any, Offer] = {}

    def of(self, actions: Iterable[Action], budget: int, tools: bool = False) -> Offer:
        """The offer of what can be done now; `tools`: in the form that the model's own template has."""
        now = tuple(offered for action in actions if (offered := action.now()) is not None)
        key = (now, budget, tools)
        try:
            offer = self._kept.get(key)
        except TypeError:  # a choice that cannot be hashed
            return _offer(now, budget, tools)
        if offer is None:
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            offer = self._kept[key] = _offer(now, budget, tools)
        return offer


def _offer(now: tuple[Offered, ...], budget: int, tools: bool) -> Offer:
    return Offer(now, budget, (TOOL if tools else OPEN,), tools=tools)


# ---- the grammar ----

# words, in which no "<do:" can begin: after a '<' nothing that leads there
_WORDS = 'words ::= ([^<] | "<" ([^d<] | "d" ([^o<] | "o" [^:<])))*'


_TOOL_WORDS = 'words ::= ([^<] | "<" ([^t<] | "t" ([^o<] | "o" [^o<])))*'


def _gbnf(actions: tuple[Offered, ...], budget: int, tools: bool) -> str:
    """Put together from texts that were made when the actions were added: a turn begins inside a frame."""
    from modkit.native.grammar.write import quoted  # loaded by the first action; who only talks has none

    more = f" (call words){{0,{budget - 1}}}" if budget > 1 else ""
    rules = "".join(offered.rules for offered in actions)
    if tools:
        names = (quoted(f'{offered.action.name}", "arguments": ') + f" {offered.action.root}" for offered in actions)
        begin, end = quoted(f'{TOOL}\n{{"name": "'), quoted(f"}}\n{TOOL_END}")
        return f"root ::= call words{more}\ncall ::= {begin} ({' | '.join(names)}) {end}\n{_TOOL_WORDS}\n{rules}"
    calls = " | ".join(f'"{offered.action.name} " {offered.action.root}' for offered in actions)
    return f'root ::= call words{more}\ncall ::= "{OPEN}" ({calls}) "{CLOSE}"\n{_WORDS}\n{rules}'
