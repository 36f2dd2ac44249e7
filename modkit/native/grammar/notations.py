"""ABNF (RFC 5234, with the case-sensitive strings of RFC 7405) and EBNF (the W3C's, and ISO 14977's) → rules.

Both are read into the same nodes as GBNF. Left recursion, which these notations allow and a token-by-token reader
does not, is refused by the check that follows, with the rule's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from modkit.errors import GrammarError
from modkit.native.grammar.nodes import (
    EMPTY,
    LAST,
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
    refs,
    repeat,
    seq,
    star,
    union,
)

__all__ = ["abnf_rules", "ebnf_rules"]

MAX_DEPTH = 100
MAX_SIZE = 1 << 20

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


class _Reader:
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


# ---- ABNF ----

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


class _Abnf(_Reader):
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


# ---- EBNF ----

_EBNF_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ISO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[ \t]+[A-Za-z_][A-Za-z0-9_]*)*")
_EBNF_BLANK = re.compile(r"(?:\s|/\*.*?\*/|\(\*.*?\*\))*", re.DOTALL)
_W3C_RULE = re.compile(r"(?:\[\w+\]\s*)?[A-Za-z_][A-Za-z0-9_.-]*\s*::=")
_HEX_CHAR = re.compile(r"#x([0-9A-Fa-f]{1,8})")


def ebnf_rules(text: str, root: str | None = None) -> tuple[Rules, str]:
    """Rules, and the name of the first (or of `root`). Which of the two notations it is, `::=` or `=` tells."""
    reader = _W3c(text) if "::=" in str(text) else _Iso(text)
    rules = reader.read()
    return reader.finish(rules, {}, root)


class _Ebnf(_Reader):
    def __init__(self, text: str) -> None:
        super().__init__(text, "EBNF")

    def read(self) -> Rules:
        raise NotImplementedError

    def blank(self) -> None:
        self.match(_EBNF_BLANK)

    def add(self, rules: Rules, name: str, node: Node, start: int) -> None:
        if name in rules:
            raise self.error(f"the rule {name!r} is defined twice", start)
        rules[name] = node

    def quoted(self) -> Node:
        start, mark = self.at, self.text[self.at]
        end = self.text.find(mark, start + 1)
        if end < 0 or "\n" in self.text[start:end]:
            raise self.error("this text is never closed", start)
        self.at = end + 1
        return Text(self.text[start + 1 : end])


class _W3c(_Ebnf):
    """Symbol ::= expression, as in the specification of XML."""

    def read(self) -> Rules:
        rules: Rules = {}
        self.blank()
        while self.at < len(self.text):
            start = self.at
            self.rule = ""
            self.match(re.compile(r"\[\w+\]\s*"))
            name = self.match(_EBNF_NAME)
            self.blank()
            if name is None or not self.eat("::="):
                raise self.error("a rule is written Name ::= ...", start)
            self.rule = name
            self.add(rules, name, self.choice(), start)
            self.blank()
            if self.at < len(self.text) and not _W3C_RULE.match(self.text, self.at):
                raise self.error(f"{self.text[self.at]!r} means nothing here")
        return rules

    def choice(self) -> Node:
        items = [self.sequence()]
        while True:
            self.blank()
            if not self.eat("|"):
                return alt(*items)
            items.append(self.sequence())

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

    def read(self) -> Rules:
        rules: Rules = {}
        self.blank()
        while self.at < len(self.text):
            start = self.at
            self.rule = ""
            name = self.name()
            self.blank()
            if not name or not self.eat("="):
                raise self.error("a rule is written name = ... ;", start)
            self.rule = name
            self.add(rules, name, self.choice(), start)
            self.blank()
            if not self.eat(";") and not self.eat("."):
                raise self.error("a rule ends with ';'")
            self.blank()
        return rules

    def name(self) -> str:
        return " ".join((self.match(_ISO_NAME) or "").split())

    def choice(self) -> Node:
        items = [self.sequence()]
        while True:
            self.blank()
            if not (self.eat("|") or self.eat("/") or self.eat("!")):
                return alt(*items)
            items.append(self.sequence())

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
