"""Regular expressions → nodes: the regular part of what Python's `re` and JSON Schema's ECMA patterns share.

Anchors count where they stand at an end. `\\d`, `\\w` and `\\s` are ASCII, as in ECMA and with `re.ASCII`.
Lazy and possessive marks change nothing about which texts match as a whole, and are read over. What no grammar can
say (look-around, back references, word boundaries in the middle) is a GrammarError.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from modkit.errors import GrammarError
from modkit.native.grammar.nodes import (
    ANY,
    EMPTY,
    LAST,
    NEVER,
    Alt,
    Chars,
    Node,
    Ranges,
    Repeat,
    Seq,
    Text,
    alt,
    chars,
    complement,
    intersect,
    is_empty,
    repeat,
    seq,
    star,
    union,
)

__all__ = ["nonempty", "regex"]

MAX_DEPTH = 50
MAX_COUNT = 100_000
_DIGIT = chars(("0", "9")).ranges
_WORD = chars(("a", "z"), ("A", "Z"), ("0", "9"), "_").ranges
_SPACE = chars(" \t\n\r\f\v").ranges
_ECMA_SPACE = union((*_SPACE, (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F),
                     (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)))  # fmt: skip
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "0": 0, "a": 7}
_LINE_ENDS = {False: chars("\n").ranges, True: chars("\n\r\u2028\u2029").ranges}


def regex(pattern: str, *, search: bool = False, ecma: bool = False) -> Node:
    """The texts that the pattern matches as a whole; with `search`, those in which it matches somewhere.

    `ecma` takes `.`, `\\s`, `\\a` and `$` as JavaScript does. Raises GrammarError with the column.
    """
    if not isinstance(pattern, str):
        raise GrammarError(f"a pattern is a str, not {type(pattern).__name__}")
    reader = _Reader(pattern, ecma)
    node = reader.alternatives(0)
    if reader.at < len(pattern):
        raise reader.error("this ')' closes nothing")
    return _anchored(node, search, reader)


_BEGIN, _END = Text("\ue000^"), Text("\ue000$")  # a pattern's own texts have one character each


def _anchored(node: Node, search: bool, reader: _Reader) -> Node:
    """Resolves ^ and $: each alternative by itself, as `a|^b$` is three things in a search."""
    found = []
    for branch in node.items if isinstance(node, Alt) else (node,):
        items = _spread(branch)
        begins = ends = False
        while items and items[0] == _BEGIN:
            items.pop(0)
            begins = True
        while items and items[-1] == _END:
            items.pop()
            ends = True
        if len(items) == 1 and isinstance(items[0], Alt) and _has_anchor(items[0]):
            inner = _anchored(items[0], search and not (begins or ends), reader)
            found.append(inner)
            continue
        if any(_has_anchor(item) for item in items):
            raise reader.error("^ and $ can stand only at the ends of a pattern or of its alternatives", 0)
        body = Seq(tuple(items)) if len(items) > 1 else items[0] if items else EMPTY
        found.append(
            seq(
                star(ANY) if search and not begins else EMPTY,
                seq(*body.items) if isinstance(body, Seq) else body,
                star(ANY) if search and not ends else EMPTY,
            )
        )
    return alt(*found)


def _spread(node: Node) -> list[Node]:
    return [part for item in node.items for part in _spread(item)] if isinstance(node, Seq) else [node]


def _tidy(node: Node) -> Node:
    if isinstance(node, Alt):
        return alt(*(_tidy(item) for item in node.items))
    return seq(*node.items) if isinstance(node, Seq) else node


def _has_anchor(node: Node) -> bool:
    if isinstance(node, Seq | Alt):
        return any(_has_anchor(item) for item in node.items)
    return _has_anchor(node.item) if isinstance(node, Repeat) else node in (_BEGIN, _END)


class _Reader:
    def __init__(self, pattern: str, ecma: bool) -> None:
        self.text = pattern
        self.ecma = ecma
        self.at = 0

    def error(self, message: str, at: int | None = None) -> GrammarError:
        column = (self.at if at is None else at) + 1
        return GrammarError(f"pattern {self.text!r}, column {column}: {message}", line=1, column=column)

    def peek(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def alternatives(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.error(f"groups are nested more than {MAX_DEPTH} deep")
        branches = [self.branch(depth)]
        while self.peek("|"):
            self.at += 1
            branches.append(self.branch(depth))
        return Alt(tuple(dict.fromkeys(branches))) if len(branches) > 1 else branches[0]

    def branch(self, depth: int) -> Node:
        items: list[Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            items.append(self.repeated(self.atom(depth)))
        return items[0] if len(items) == 1 else Seq(tuple(items)) if items else EMPTY

    def repeated(self, node: Node) -> Node:
        start = self.at
        if self.at >= len(self.text):
            return node
        counts = self.counts()
        if counts is None:
            return node
        least, most = counts
        if _has_anchor(node):
            raise self.error("an anchor cannot be repeated", start)
        if self.at < len(self.text) and self.text[self.at] in "?+":
            self.at += 1
        if (self.at < len(self.text) and self.text[self.at] in "*+?") or (self.peek("{") and self.braces() is not None):
            raise self.error("a repeat cannot be repeated; put it in a group")
        node = seq(*node.items) if isinstance(node, Seq) else node
        if is_empty(node, ()):
            # (a?){2,} is (a){0,}: the empty turns add nothing, and llama.cpp cannot run them
            node, least = nonempty(node), 0
        return repeat(node, least, most)

    def counts(self) -> tuple[int, int | None] | None:
        char = self.text[self.at]
        if char in "*+?":
            self.at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        if char != "{":
            return None
        found = self.braces()
        if found is None:
            return None
        least, most, end = found
        if max(least, most or 0) > MAX_COUNT or (most is not None and most < least):
            raise self.error(f"a repeat counts upwards, to {MAX_COUNT} at most")
        self.at = end
        return least, most

    def braces(self) -> tuple[int, int | None, int] | None:
        """{2}, {2,}, {,3}, {2,3}; None when the brace is just a character."""
        end = self.text.find("}", self.at)
        least, comma, most = self.text[self.at + 1 : max(end, self.at + 1)].partition(",")
        digits = [part for part in (least, most) if part]
        if end < 0 or not (digits or comma) or not all(d.isascii() and d.isdigit() and len(d) < 8 for d in digits):
            return None
        if not least and self.ecma:
            return None
        low = int(least or 0)
        return low, (int(most) if most else None) if comma else low, end + 1

    def atom(self, depth: int) -> Node:
        start = self.at
        char = self.text[start]
        self.at += 1
        if char == "(":
            return self.group(depth, start)
        if char == "[":
            return Chars(self.char_class(start))
        if char == ".":
            return Chars(complement(_LINE_ENDS[self.ecma]))
        if char == "^":
            return _BEGIN
        if char == "$":
            return _END
        if char in "*+?":
            raise self.error(f"{char!r} has nothing before it to repeat", start)
        if char == "\\":
            return self.escape(start)
        return Text(char)

    def group(self, depth: int, start: int) -> Node:
        if self.peek("?"):
            if self.peek("?:"):
                self.at += 2
            elif self.peek("?P<") or (self.peek("?<") and not self.peek("?<=") and not self.peek("?<!")):
                end = self.text.find(">", self.at)
                if end < 0:
                    raise self.error("the group's name is not closed with '>'")
                self.at = end + 1
            else:
                raise self.error("look-around and other (?...) groups cannot be expressed in a grammar", start)
        node = self.alternatives(depth + 1)
        if not self.peek(")"):
            raise self.error("this '(' is never closed", start)
        self.at += 1
        return node if _has_anchor(node) else _tidy(node)

    def escape(self, start: int) -> Node:
        kind = self.text[self.at : self.at + 1]
        if not kind:
            raise self.error("the pattern ends with a '\\'", start)
        if kind == "A" and not self.ecma:
            self.at += 1
            return _BEGIN
        if kind == "Z" and not self.ecma:
            self.at += 1
            return _END
        if kind in "bB":
            raise self.error("a word boundary cannot be expressed in a grammar", start)
        if kind.isdigit() and kind != "0":
            raise self.error("a back reference cannot be expressed in a grammar", start)
        found = self.escaped_set()
        return Chars(found) if found is not None else Text(chr(self.escaped_char(start)))

    def escaped_set(self) -> Ranges | None:
        """\\d \\w \\s, their opposites, \\p{...}; the place is after the backslash. None for a single character."""
        kind = self.text[self.at]
        if kind.lower() in _CLASSES:
            self.at += 1
            ranges = _ECMA_SPACE if self.ecma and kind in "sS" else _CLASSES[kind.lower()]
            return ranges if kind.islower() else complement(ranges)
        if kind in "pP" and self.text[self.at + 1 : self.at + 2] == "{":
            end = self.text.find("}", self.at)
            name = self.text[self.at + 2 : end] if end > 0 else ""
            ranges = category(_CATEGORIES.get(name, name))
            if not ranges:
                raise self.error(f"the class \\p{{{name}}} is unknown; general categories such as \\p{{L}} are")
            self.at = end + 1
            return ranges if kind == "p" else complement(ranges)
        return None

    def escaped_char(self, start: int) -> int:
        kind = self.text[self.at]
        self.at += 1
        if kind == "u" and self.peek("{"):
            end = self.text.find("}", self.at)
            digits, self.at = self.text[self.at + 1 : end], end + 1
            return self.hexadecimal(digits, start) if end > 0 else self.hexadecimal("", start)
        if kind == "c" and self.ecma:
            self.at += 1
            return ord(self.text[self.at - 1 : self.at] or "@") % 32
        length = {"x": 2, "u": 4, "U": 8}.get(kind)
        if length is not None:
            digits = self.text[self.at : self.at + length]
            self.at += length
            if len(digits) < length:
                raise self.error(f"'\\{kind}' needs {length} hexadecimal digits", start)
            return self.hexadecimal(digits, start)
        if kind in _CONTROLS and not (kind == "a" and self.ecma):
            return _CONTROLS[kind]
        if kind.isalnum() and kind.isascii():
            raise self.error(f"the escape '\\{kind}' is unknown", start)
        return ord(kind)

    def hexadecimal(self, digits: str, start: int) -> int:
        try:
            value = int(digits, 16) if digits.isalnum() else -1
        except ValueError:
            value = -1
        if not 0 <= value <= LAST:
            raise self.error("hexadecimal digits of a character are expected", start)
        return value

    def char_class(self, start: int) -> Ranges:
        negated = self.peek("^")
        self.at += negated
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self.peek("]"):
            if self.at >= len(self.text):
                raise self.error("this '[' is never closed", start)
            if first and self.ecma and self.peek("]"):
                break
            first = False
            here = self.at
            low = self.member()
            if isinstance(low, tuple):
                ranges += low
                continue
            high: int | Ranges = low
            if self.peek("-") and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self.member()
            if isinstance(high, tuple) or high < low:
                raise self.error("a range runs from one character to a later one", here)
            ranges.append((low, high))
        self.at += 1
        found = union(ranges)
        return complement(found) if negated else found

    def member(self) -> int | Ranges:
        start = self.at
        char = self.text[start]
        self.at += 1
        if char != "\\":
            return ord(char)
        if self.at >= len(self.text):
            raise self.error("the pattern ends with a '\\'", start)
        found = self.escaped_set()
        if found is not None:
            return found
        if self.text[self.at] == "b":
            self.at += 1
            return 8
        if self.text[self.at] in "123456789":
            raise self.error("octal escapes are not read; write \\x..", start)
        return self.escaped_char(start)


def nonempty(node: Node) -> Node:
    """The node's language without the empty word. For nodes without references."""
    if not is_empty(node, ()):
        return node
    if isinstance(node, Alt):
        return alt(*(nonempty(item) for item in node.items))
    if isinstance(node, Seq):
        head, rest = node.items[0], seq(*node.items[1:])
        return alt(seq(nonempty(head), rest), nonempty(rest))
    if isinstance(node, Repeat):
        item = nonempty(node.item)
        return repeat(item, 1, node.most)
    return NEVER


_CATEGORIES = {
    "Letter": "L", "Mark": "M", "Number": "N", "Punctuation": "P", "Symbol": "S", "Separator": "Z", "Other": "C",
    "Uppercase_Letter": "Lu", "Lowercase_Letter": "Ll", "Alphabetic": "L", "digit": "Nd", "Decimal_Number": "Nd",
}  # fmt: skip


@lru_cache(maxsize=64)
def category(name: str) -> Ranges:
    """The characters of a general category, such as "L" or "Lu"; empty when there is no such one. Takes a while
    (a third of a second) the first time."""
    if not (1 <= len(name) <= 2 and name[0] in "LMNPSZC"):
        return ()
    found: list[tuple[int, int]] = []
    for point in range(LAST + 1):
        if unicodedata.category(chr(point)).startswith(name):
            if found and found[-1][1] == point - 1:
                found[-1] = (found[-1][0], point)
            else:
                found.append((point, point))
    return intersect(tuple(found), ANY.ranges)
