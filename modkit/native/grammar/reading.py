"""A place in a grammar's text and how to say what is wrong there: what the readers of ABNF and EBNF share."""

from __future__ import annotations

import re
from collections.abc import Callable

from modkit.errors import GrammarError
from modkit.native.grammar.nodes import LAST, Node, Rules, refs

__all__ = ["Reader"]

MAX_DEPTH = 100
MAX_SIZE = 1 << 20


class Reader:
    """A place in a text, and how to say what is wrong there."""

    def __init__(self, text: str, notation: str) -> None:
        if not isinstance(text, str) or len(text) > MAX_SIZE:
            raise GrammarError(f"{notation} is a str of at most {MAX_SIZE} characters")
        self.text, self.notation = text, notation
        self.at = 0
        self.rule = ""
        self.depth = 0
        self.margin = 0  # columns that were cut off every line
        self.used: list[tuple[str, int, str]] = []

    def error(self, message: str, at: int | None = None, rule: str | None = None) -> GrammarError:
        place = self.at if at is None else at
        line = self.text.count("\n", 0, place) + 1
        column = place - (self.text.rfind("\n", 0, place) + 1) + 1 + self.margin
        rule = rule or self.rule
        inside = f" in rule {rule!r}" if rule else ""
        return GrammarError(
            f"{self.notation}, line {line}, column {column}{inside}: {message}", line=line, column=column, rule=rule
        )

    def match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found[0]

    def eat(self, text: str) -> bool:
        if not self.text.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def enclosed(self, read: Callable[[], Node], close: str, start: int) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"brackets are nested more than {MAX_DEPTH} deep", start)
        node = read()
        if not self.eat(close):
            raise self.error(f"this is never closed with {close!r}", start)
        self.depth -= 1
        return node

    def point(self, digits: str, base: int, at: int) -> int:
        value = int(digits, base)
        if value > LAST or 0xD800 <= value <= 0xDFFF:
            raise self.error(f"U+{value:X} is no character", at)
        return value

    def finish(self, rules: Rules, known: Rules, root: str | None) -> tuple[Rules, str]:
        """Checks the names, adds what is known from elsewhere, and leaves out what is not reached."""
        if not rules:
            raise self.error("there is no rule", 0)
        for name, place, rule in self.used:
            if name not in rules and name not in known:
                raise self.error(f"the rule {name!r} is not defined", place, rule)
        start = next(iter(rules)) if root is None else root
        if start not in rules:
            raise GrammarError(f"there is no rule {start!r} to start from; the rules are {', '.join(list(rules)[:8])}")
        every = {**known, **rules}
        reached: Rules = {}
        todo = [start]
        while todo:
            name = todo.pop()
            if name not in reached:
                reached[name] = every[name]
                todo += refs(every[name])
        return {name: node for name, node in every.items() if name in reached}, start
