"""`Grammar`: a checked grammar, as generate(), chat() and say() take it with `grammar=`."""

from __future__ import annotations

from collections.abc import Sequence

from modkit.errors import GrammarError
from modkit.native.grammar import gbnf as _gbnf
from modkit.native.grammar.check import check
from modkit.native.grammar.nodes import Rules

__all__ = ["Grammar"]

MAX_TRIGGERS = 16


class Grammar:
    """A language that a reply is held to.

    gbnf: its text in llama.cpp's notation. root: the rule to start from. triggers: when not empty, the grammar is
    lazy: the model speaks freely until one of these texts appears, and is held to the grammar from that text on
    (which the grammar must begin with).

    Making one parses and checks it: microseconds for a few rules, milliseconds for hundreds, so make it while
    loading or on the helper thread. Immutable; any thread may use it. Raises GrammarError.
    """

    __slots__ = ("_rules", "gbnf", "root", "triggers")

    def __init__(self, gbnf: str, root: str = "root", triggers: Sequence[str] = ()) -> None:
        if not isinstance(gbnf, str):
            raise GrammarError(f"a grammar is a str of GBNF, not {type(gbnf).__name__}")
        parsed = _gbnf.parse(gbnf)
        for name, place, rule in parsed.used:
            if name not in parsed.rules:
                raise parsed.error(f"the rule {name!r} is not defined", place, rule)
        check(parsed.rules, root, lambda message, rule: parsed.error(message, parsed.defined.get(rule, 0), rule))
        self.gbnf = gbnf
        self.root = root
        self.triggers = _checked_triggers(triggers)
        self._rules: Rules = parsed.rules

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grammar):
            return NotImplemented
        return (self.gbnf, self.root, self.triggers) == (other.gbnf, other.root, other.triggers)

    def __hash__(self) -> int:
        return hash((self.gbnf, self.root, self.triggers))

    def __repr__(self) -> str:
        lazy = f", from {' or '.join(map(repr, self.triggers))} on" if self.triggers else ""
        return f"<Grammar of {len(self._rules)} rules{lazy}>"


def _checked_triggers(triggers: Sequence[str]) -> tuple[str, ...]:
    found = (triggers,) if isinstance(triggers, str) else tuple(triggers)
    if len(found) > MAX_TRIGGERS or not all(isinstance(t, str) and 0 < len(t) <= 100 for t in found):
        raise GrammarError(f"triggers are at most {MAX_TRIGGERS} texts of 1 to 100 characters")
    return found
