"""ABNF (RFC 5234, with the case-sensitive strings of RFC 7405) → rules.

Left recursion, which the notation allows and a token-by-token reader does not, is refused by the check that follows,
with the rule's name.
"""

from __future__ import annotations

import re

from modkit.errors import GrammarError
from modkit.native.grammar.nodes import EMPTY, Chars, Node, Ref, Rules, Text, alt, opt, repeat, seq, union
from modkit.native.grammar.reading import Reader

__all__ = ["abnf_rules"]

_CORE = r"""
ALPHA = %x41-5A / %x61-7A
BIT = "0" / "1"
CHAR = %x01-7F
CR = %x0D
CRLF = CR LF
CTL = %x00-1F / %x7F
DIGIT = %x30-39
DQUOTE = %x22
HEXDIG = DIGIT / "A" / "B" / "C" / "D" / "E" / "F"
HTAB = %x09
LF = %x0A
LWSP = *(WSP / CRLF WSP)
OCTET = %x00-FF
SP = %x20
VCHAR = %x21-7E
WSP = SP / HTAB
"""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_BLANK = re.compile(r"(?:[ \t]|;[^\n]*|\n(?=[ \t]))*")  # a rule goes on in lines that begin with a space
_LINE = re.compile(r"\s+|$")
_COUNT = re.compile(r"(\d*)(\*?)(\d*)")
_NUMBER = re.compile(r"%([xXdDbB])([0-9A-Fa-f]+)((?:-[0-9A-Fa-f]+)|(?:\.[0-9A-Fa-f]+)*)")
_BASES = {"x": 16, "d": 10, "b": 2}


def abnf_rules(text: str, root: str | None = None) -> tuple[Rules, str]:
    """Rules, and the name of the first (or of `root`). Names are case-insensitive and come out in lower case; "text" is
    case-insensitive, %s"text" is not. The core rules of RFC 5234 are known."""
    reader = _Abnf(text)
    rules = reader.read()
    known = {} if text is _CORE else _core()
    return reader.finish(rules, {k: v for k, v in known.items() if k not in rules}, root and root.lower())


_core_rules: Rules = {}


def _core() -> Rules:
    if not _core_rules:
        _core_rules.update(_Abnf(_CORE).read())
    return _core_rules


class _Abnf(Reader):
    def __init__(self, text: str) -> None:
        super().__init__(text, "ABNF")
        lines = self.text.replace("\r\n", "\n").split("\n")
        told = [line for line in lines if line.strip() and not line.strip().startswith(";")]
        self.margin = len(told[0]) - len(told[0].lstrip(" \t")) if told else 0
        for number, line in enumerate(lines):
            if not line.strip() or line.strip().startswith(";"):
                lines[number] = " "  # belongs to whatever is around it
            elif not line[: self.margin].strip():
                lines[number] = line[self.margin :]
        self.text = "\n".join(lines)

    def read(self) -> Rules:
        rules: Rules = {}
        self.match(_LINE)
        while self.at < len(self.text):
            self.rule = ""
            start = self.at
            name = self.match(_NAME)
            if name is None:
                raise self.error(f"a rule's name is expected here, not {self.text[self.at]!r}")
            name = self.rule = name.lower()
            self.match(_BLANK)
            more = self.eat("=/")
            if not more and not self.eat("="):
                raise self.error("a rule is written name = ...; '=' is missing here")
            node = self.alternation()
            self.match(_BLANK)
            if self.match(_LINE) is None:
                raise self.error(f"{self.text[self.at]!r} means nothing here")
            if more and name in rules:
                node = alt(rules[name], node)
            elif name in rules:
                raise self.error(f"the rule {name!r} is defined twice; add alternatives with =/", start)
            rules[name] = node
        return rules

    def alternation(self) -> Node:
        items = [self.concatenation()]
        while self.eat("/"):
            items.append(self.concatenation())
        return alt(*items)

    def concatenation(self) -> Node:
        items: list[Node] = []
        while True:
            self.match(_BLANK)
            if self.at >= len(self.text) or self.text[self.at] in "/)]\n":
                break
            items.append(self.repetition())
        if not items:
            raise self.error('an element is expected here; the empty text is ""')
        return seq(*items)

    def repetition(self) -> Node:
        start = self.at
        found = _COUNT.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        low, starred, high = found[1][:7], found[2], found[3][:7]
        node = self.element(start)
        if not starred:
            count = int(low) if low else 1
            return repeat(node, count, count) if count else EMPTY
        least, most = int(low or 0), int(high) if high else None
        if most is not None and most < least:
            raise self.error(f"{found[0]} counts downwards", start)
        return EMPTY if most == 0 else repeat(node, least, most)

    def element(self, start: int) -> Node:
        here = self.at
        char = self.text[here : here + 1]
        name = self.match(_NAME)
        if name is not None:
            self.used.append((name.lower(), here, self.rule))
            return Ref(name.lower())
        if char in "([" and char:
            self.at += 1
            node = self.enclosed(self.alternation, ")" if char == "(" else "]", here)
            return node if char == "(" else opt(node)
        if char == '"' or self.text[here : here + 3].lower() in ('%s"', '%i"'):
            return self.literal(here)
        if char == "%":
            return self.number(here)
        if char == "<":
            raise self.error("prose in <...> cannot be read; write the rule out", here)
        raise self.error(f"an element is expected here, not {char!r}" if char else "the text ends here", start)

    def literal(self, start: int) -> Node:
        exact = self.text[self.at : self.at + 2].lower() == "%s"
        self.at += 2 if self.text[self.at] == "%" else 0
        end = self.text.find('"', self.at + 1)
        body = self.text[self.at + 1 : end]
        if end < 0 or "\n" in body:
            raise self.error("this text is never closed", start)
        self.at = end + 1
        return Text(body) if exact else seq(*(_either_case(char) for char in body))

    def number(self, start: int) -> Node:
        found = _NUMBER.match(self.text, self.at)
        if found is None:
            raise self.error("a character is written %x41, %d65 or %b1000001", start)
        base = _BASES[found[1].lower()]
        self.at = found.end()
        try:
            first = self.point(found[2], base, start)
            if found[3].startswith("-"):
                last = self.point(found[3][1:], base, start)
                if last < first:
                    raise self.error("the range runs backwards", start)
                return Chars(((first, last),))
            points = [first, *(self.point(digits, base, start) for digits in found[3].split(".")[1:])]
        except ValueError as error:
            if isinstance(error, GrammarError):
                raise
            raise self.error(f"{found[0]} is not a number of base {base}", start) from None
        return Text("".join(map(chr, points))) if 0 not in points else seq(*(Chars(((p, p),)) for p in points))


def _either_case(char: str) -> Node:
    if char.isascii() and char.isalpha():
        return Chars(union((ord(c), ord(c)) for c in (char.lower(), char.upper())))
    return Text(char)
