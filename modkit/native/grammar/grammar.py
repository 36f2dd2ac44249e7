"""`Grammar`: a checked grammar, as generate(), chat() and say() take it with `grammar=`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from modkit.errors import GrammarError
from modkit.native.grammar import gbnf as _gbnf
from modkit.native.grammar.abnf import abnf_rules
from modkit.native.grammar.automaton import DFA, flat
from modkit.native.grammar.check import check
from modkit.native.grammar.ebnf import ebnf_rules
from modkit.native.grammar.generate import Members
from modkit.native.grammar.match import Machine, Matcher, Next
from modkit.native.grammar.nodes import Node, Ref, Rules, Text, alt, opt, repeat, seq
from modkit.native.grammar.pytypes import schema_of
from modkit.native.grammar.regex import regex
from modkit.native.grammar.schema import schema_rules
from modkit.native.grammar.shape import Schema
from modkit.native.grammar.sql import select_rules
from modkit.native.grammar.write import Builder, write

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

    __slots__ = ("_machine", "_rules", "gbnf", "root", "triggers")

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
        self._machine: Machine | None = None

    # ---- from other notations ----

    @classmethod
    def from_schema(cls, schema: Schema, *, spaces: bool = True, closed: bool = False) -> Grammar:
        """JSON that a JSON Schema (draft 2020-12; older words are read) allows; true and false are schemas too.

        Properties come in the schema's order. `spaces` allows one after each colon and comma. `closed`: an object
        that names properties has no others, unless it says additionalProperties itself. What cannot be expressed
        is a GrammarError that names the keyword.
        """
        return cls._of(schema_rules(schema, spaces=spaces, closed=closed))

    @classmethod
    def from_type(cls, kind: Any, *, spaces: bool = True) -> Grammar:
        """JSON of a Python type: dataclass, TypedDict, Literal, Enum, Optional, list, dict, Annotated with limits,
        msgspec's and pydantic's models where these are installed."""
        return cls.from_schema(schema_of(kind), spaces=spaces, closed=True)

    @classmethod
    def from_regex(cls, pattern: str) -> Grammar:
        """Texts that a regular expression matches as a whole; \\d, \\w and \\s are ASCII."""
        return cls._of({"root": regex(pattern)})

    @classmethod
    def from_abnf(cls, text: str, root: str | None = None) -> Grammar:
        """From ABNF (RFC 5234 and 7405), starting from its first rule or from `root`; the core rules are known."""
        return cls._named(*abnf_rules(text, root))

    @classmethod
    def from_ebnf(cls, text: str, root: str | None = None) -> Grammar:
        """From EBNF, the W3C's (`Name ::= ...`) or ISO's (`name = ... ;`), from its first rule or from `root`."""
        return cls._named(*ebnf_rules(text, root))

    @classmethod
    def from_tables(cls, tables: Mapping[str, Sequence[str]]) -> Grammar:
        """SQL SELECTs over `{"table": ["column", ...]}`, which SQLite (and its like) prepares."""
        return cls._of(select_rules(tables))

    @classmethod
    def _named(cls, rules: Rules, root: str) -> Grammar:
        """From rules whose names GBNF may not know."""
        builder = Builder({"root": Text("")})
        names = builder.absorb(rules)
        builder.rules["root"] = Ref(names[root])
        return cls._of(builder.rules)

    @classmethod
    def from_choices(cls, choices: Iterable[str]) -> Grammar:
        """One of these texts."""
        texts = list(choices)
        if not texts or not all(isinstance(text, str) and text for text in texts):
            raise GrammarError("choices are one or more texts, none of them empty")
        return cls._of({"root": alt(*(Text(text) for text in texts))})

    @classmethod
    def from_text(cls, text: str) -> Grammar:
        """Exactly this text, for compositions."""
        return cls._of({"root": Text(text)})

    @classmethod
    def _of(cls, rules: Rules, root: str = "root", triggers: tuple[str, ...] = ()) -> Grammar:
        """From rules that were made here: written, checked, not parsed again."""
        made = cls.__new__(cls)

        def refused(message: str, rule: str) -> GrammarError:
            return GrammarError(f"in rule {rule!r}: {message}" if rule else message, rule=rule or None)

        check(rules, root, refused)
        made.gbnf, made.root, made.triggers = write(rules, root), root, triggers
        made._rules, made._machine = rules, None
        if len(made.gbnf) > _gbnf.MAX_BYTES:
            raise GrammarError(f"the grammar comes to more than {_gbnf.MAX_BYTES} bytes; make it smaller")
        return made

    # ---- composition: none of these keeps triggers ----

    def __add__(self, other: Grammar | str) -> Grammar:
        """One after the other."""
        return _composed((self, _grammar(other)), lambda one, two: seq(one, two))

    def __radd__(self, other: str) -> Grammar:
        return _grammar(other) + self

    def __or__(self, other: Grammar | str) -> Grammar:
        """Either."""
        return _composed((self, _grammar(other)), lambda one, two: alt(one, two))

    def optional(self) -> Grammar:
        """It, or nothing."""
        return _composed((self,), opt)

    def repeat(self, least: int = 0, most: int | None = None, separator: str = "") -> Grammar:
        """It, from `least` to `most` times (None: without end), with a text in between."""
        if least < 0 or (most is not None and most < max(1, least)):
            raise GrammarError(f"a repeat is from 0 or more times up to at least as many, not {least} to {most}")

        def repeated(item: Node) -> Node:
            if not separator:
                return repeat(item, least, most)
            more = repeat(seq(Text(separator), item), max(0, least - 1), None if most is None else most - 1)
            return seq(item, more) if least else opt(seq(item, more))

        return _composed((self,), repeated)

    def __sub__(self, other: Grammar | str | Iterable[str]) -> Grammar:
        """Without the texts of the other. Neither may be recursive: GrammarError."""
        if not isinstance(other, Grammar | str):
            other = Grammar.from_choices(other)
        other = _grammar(other)
        left = DFA.of(flat(Ref(self.root), self._rules)) - DFA.of(flat(Ref(other.root), other._rules))
        if left.nothing:
            raise GrammarError("nothing is left when these texts are taken away")
        builder = Builder({"root": Text("")})
        builder.rules["root"] = left.node(builder, "rest")
        return Grammar._of(builder.rules)

    def lazy(self, *triggers: str) -> Grammar:
        """The same, holding only from one of these texts on."""
        made = Grammar.__new__(Grammar)
        made.gbnf, made.root, made.triggers = self.gbnf, self.root, _checked_triggers(triggers)
        made._rules, made._machine = self._rules, self._machine
        return made

    # ---- asking it, without a model ----

    def accepts(self, text: str) -> bool:
        """Whether the text is a member. Time grows with the text; for tests and tools, not for a frame."""
        matcher = self.matcher()
        return matcher.feed(text) and matcher.complete

    def begins(self, text: str) -> bool:
        """Whether the text is the beginning of a member, as a reply is that was cut off."""
        return self.matcher().feed(text)

    def next(self, text: str = "") -> Next:
        """What may come after `text`: `.chars` (ranges of code points), `.end`, and `"x" in grammar.next(text)`."""
        matcher = self.matcher()
        matcher.feed(text)
        return matcher.next()

    def matcher(self) -> Matcher:
        """A matcher at the beginning, to be fed piece by piece."""
        if self._machine is None:
            self._machine = Machine(self._rules, self.root)
        return Matcher(self._machine)

    def members(self, seed: int = 0, size: int = 60) -> Iterator[str]:
        """Random members without end, the same for the same seed; `size` is about how many choices one takes."""
        made, rng = Members(self._rules, self.root), random.Random(seed)
        while True:
            yield made.one(rng, size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grammar):
            return NotImplemented
        return (self.gbnf, self.root, self.triggers) == (other.gbnf, other.root, other.triggers)

    def __hash__(self) -> int:
        return hash((self.gbnf, self.root, self.triggers))

    def __repr__(self) -> str:
        lazy = f", from {' or '.join(map(repr, self.triggers))} on" if self.triggers else ""
        return f"<Grammar of {len(self._rules)} rules{lazy}>"


def _grammar(given: Grammar | str) -> Grammar:
    return Grammar.from_text(given) if isinstance(given, str) else given


def _composed(parts: tuple[Grammar, ...], join: Callable[..., Node]) -> Grammar:
    builder = Builder({"root": Text("")})
    roots = [Ref(builder.absorb(part._rules)[part.root]) for part in parts]
    builder.rules["root"] = join(*roots)
    return Grammar._of(builder.rules)


def _checked_triggers(triggers: Sequence[str]) -> tuple[str, ...]:
    found = (triggers,) if isinstance(triggers, str) else tuple(triggers)
    if len(found) > MAX_TRIGGERS or not all(isinstance(t, str) and 0 < len(t) <= 100 for t in found):
        raise GrammarError(f"triggers are at most {MAX_TRIGGERS} texts of 1 to 100 characters")
    return found
