"""EBNF, the W3C's and ISO 14977's → rules. Left recursion is refused by the check that follows."""

from __future__ import annotations

import re

from modkit.native.grammar.nodes import (
    EMPTY,
    Alt,
    Chars,
    Node,
    Ref,
    Rules,
    Text,
    alt,
    complement,
    intersect,
    opt,
    repeat,
    seq,
    star,
    union,
)
from modkit.native.grammar.reading import Reader

__all__ = ["ebnf_rules"]

_EBNF_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ISO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[ \t]+[A-Za-z_][A-Za-z0-9_]*)*")
_EBNF_BLANK = re.compile(r"(?:\s|/\*.*?\*/|\(\*.*?\*\))*", re.DOTALL)
_W3C_NUMBER = re.compile(r"\[\w+\]\s*")  # of a rule, as the specification of XML has them
_W3C_RULE = re.compile(r"(?:\[\w+\]\s*)?[A-Za-z_][A-Za-z0-9_.-]*\s*::=")
_HEX_CHAR = re.compile(r"#x([0-9A-Fa-f]{1,8})")


def ebnf_rules(text: str, root: str | None = None) -> tuple[Rules, str]:
    """Rules, and the name of the first (or of `root`). Which of the two notations it is, `::=` or `=` tells."""
    reader = _W3c(text) if "::=" in str(text) else _Iso(text)
    rules = reader.read()
    return reader.finish(rules, {}, root)


class _Ebnf(Reader):
    """What the two have in common: rules one after the other, and choices."""

    sign: str
    form: str
    bars: tuple[str, ...]

    def __init__(self, text: str) -> None:
        super().__init__(text, "EBNF")

    def read(self) -> Rules:
        rules: Rules = {}
        self.blank()
        while self.at < len(self.text):
            start = self.at
            self.rule = ""
            name = self.name()
            self.blank()
            if not name or not self.eat(self.sign):
                raise self.error(f"a rule is written {self.form}", start)
            self.rule = name
            node = self.choice()
            if name in rules:
                raise self.error(f"the rule {name!r} is defined twice", start)
            rules[name] = node
            self.blank()
            self.end()
            self.blank()
        return rules

    def choice(self) -> Node:
        items = [self.sequence()]
        while True:
            self.blank()
            if not any(self.eat(bar) for bar in self.bars):
                return alt(*items)
            items.append(self.sequence())

    def name(self) -> str:
        """The name that a rule begins with, "" for none."""
        raise NotImplementedError

    def sequence(self) -> Node:
        raise NotImplementedError

    def end(self) -> None:
        """Raises where a rule cannot end."""
        raise NotImplementedError

    def blank(self) -> None:
        self.match(_EBNF_BLANK)

    def quoted(self) -> Node:
        start, mark = self.at, self.text[self.at]
        end = self.text.find(mark, start + 1)
        if end < 0 or "\n" in self.text[start:end]:
            raise self.error("this text is never closed", start)
        self.at = end + 1
        return Text(self.text[start + 1 : end])


class _W3c(_Ebnf):
    """Symbol ::= expression, as in the specification of XML."""

    sign, form, bars = "::=", "Name ::= ...", ("|",)

    def name(self) -> str:
        self.match(_W3C_NUMBER)
        return self.match(_EBNF_NAME) or ""

    def end(self) -> None:
        if self.at < len(self.text) and not _W3C_RULE.match(self.text, self.at):
            raise self.error(f"{self.text[self.at]!r} means nothing here")

    def sequence(self) -> Node:
        items: list[Node] = []
        while True:
            self.blank()
            if self.at >= len(self.text) or self.text[self.at] in "|)":
                break
            if _W3C_RULE.match(self.text, self.at):
                break
            items.append(self.difference())
        return seq(*items)

    def difference(self) -> Node:
        start = self.at
        node = self.item()
        self.blank()
        if not self.text.startswith("-", self.at):
            return node
        self.at += 1
        self.blank()
        other = self.item()
        one, two = _as_chars(node), _as_chars(other)
        if one is None or two is None:
            raise self.error("'A - B' is read for single characters only; use Grammar's own '-' for more", start)
        return Chars(intersect(one.ranges, complement(two.ranges)))

    def item(self) -> Node:
        node = self.primary()
        while True:
            char = self.text[self.at : self.at + 1]
            if char not in ("?", "*", "+"):
                return node
            self.at += 1
            node = opt(node) if char == "?" else repeat(node, int(char == "+"))

    def primary(self) -> Node:
        start = self.at
        char = self.text[start : start + 1]
        if char in ("'", '"') and char:
            return self.quoted()
        if char == "(":
            self.at += 1
            return self.enclosed(self.choice, ")", start)
        if char == "[":
            return self.char_class()
        code = _HEX_CHAR.match(self.text, start)
        if code is not None:
            self.at = code.end()
            point = self.point(code[1], 16, start)
            return Chars(((point, point),))
        name = self.match(_EBNF_NAME)
        if name is None:
            raise self.error(f"an item is expected here, not {char!r}" if char else "the text ends here")
        self.used.append((name, start, self.rule))
        return Ref(name)

    def char_class(self) -> Node:
        start = self.at
        self.at += 1
        negated = self.eat("^")
        ranges: list[tuple[int, int]] = []
        while not self.eat("]"):
            if self.at >= len(self.text) or self.text[self.at] == "\n":
                raise self.error("this '[' is never closed", start)
            low = high = self.class_char()
            if self.text.startswith("-", self.at) and not self.text.startswith("-]", self.at):
                self.at += 1
                high = self.class_char()
            if high < low:
                raise self.error("the range runs backwards", start)
            ranges.append((low, high))
        found = union(ranges)
        return Chars(complement(found) if negated else found)

    def class_char(self) -> int:
        code = _HEX_CHAR.match(self.text, self.at)
        if code is not None:
            start, self.at = self.at, code.end()
            return self.point(code[1], 16, start)
        self.at += 1
        return ord(self.text[self.at - 1])


class _Iso(_Ebnf):
    """meta identifier = definitions ; as in ISO/IEC 14977. Spaces in names become one space."""

    sign, form, bars = "=", "name = ... ;", ("|", "/", "!")

    def name(self) -> str:
        return " ".join((self.match(_ISO_NAME) or "").split())

    def end(self) -> None:
        if not self.eat(";") and not self.eat("."):
            raise self.error("a rule ends with ';'")

    def sequence(self) -> Node:
        items = [self.term()]
        while True:
            self.blank()
            if not self.eat(","):
                return seq(*items)
            items.append(self.term())

    def term(self) -> Node:
        self.blank()
        start = self.at
        digits = self.match(re.compile(r"\d{1,6}"))
        self.blank()
        if digits is not None:
            if not self.eat("*"):
                raise self.error("a count is written 3 * item", start)
            self.blank()
            node = repeat(self.primary(), int(digits), int(digits))
        else:
            node = self.primary()
        self.blank()
        if self.eat("-"):
            raise self.error("exceptions (A - B) are not read; use Grammar's own '-'", start)
        return node

    def primary(self) -> Node:
        start = self.at
        char = self.text[start : start + 1]
        if char in ("'", '"', "`") and char:
            return self.quoted()
        if char == "?":
            raise self.error("special sequences ?...? cannot be read; write the rule out", start)
        for opening, close, made in (("(", ")", None), ("[", "]", opt), ("{", "}", star)):
            if char == opening:
                self.at += 1
                node = self.enclosed(self.choice, close, start)
                return node if made is None else made(node)
        name = self.name()
        if name:
            self.used.append((name, start, self.rule))
            return Ref(name)
        if not char or char in ",;|)]}":
            return EMPTY
        raise self.error(f"an item is expected here, not {char!r}")


def _as_chars(node: Node) -> Chars | None:
    if isinstance(node, Chars):
        return node
    if isinstance(node, Text) and len(node.text) == 1:
        return Chars(((ord(node.text), ord(node.text)),))
    if isinstance(node, Alt):
        parts = [_as_chars(item) for item in node.items]
        if all(parts):
            return Chars(union(pair for part in parts if part is not None for pair in part.ranges))
    return None
