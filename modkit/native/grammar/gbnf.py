"""GBNF, llama.cpp's own notation, read as strictly as llama.cpp reads it, and said where it is wrong.

llama.cpp prints a parse error to stderr and returns nothing, takes a repeat above 2,000 as endless, lets the last
of two definitions win, and hangs on some grammars that call themselves without eating a character. Here each of
these is a GrammarError with line, column and rule, raised before the worker sees the text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from modkit.errors import GrammarError
from modkit.native.grammar.nodes import (
    ANY,
    EMPTY,
    LAST,
    Chars,
    Node,
    Ref,
    Repeat,
    Rules,
    Text,
    Token,
    alt,
    complement,
    seq,
    union,
)

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_REPEAT", "MAX_RULES", "Parsed", "parse"]

MAX_BYTES = 1 << 20  # of GBNF text
MAX_RULES = 20_000
MAX_DEPTH = 100  # of parentheses: llama.cpp recurses for each
MAX_REPEAT = 2000  # llama.cpp's own threshold
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_HEX = frozenset("0123456789abcdefABCDEF")
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
_HEX_LENGTH = {"x": 2, "u": 4, "U": 8}


@dataclass
class Parsed:
    """The rules in the order of the text, and where each is defined and each name is used."""

    source: str
    rules: Rules = field(default_factory=dict)
    defined: dict[str, int] = field(default_factory=dict)
    used: list[tuple[str, int, str]] = field(default_factory=list)  # name, place, in which rule

    def error(self, message: str, at: int, rule: str | None = None) -> GrammarError:
        """A GrammarError that names the line and the column of a place in the source."""
        line = self.source.count("\n", 0, at) + 1
        column = at - (self.source.rfind("\n", 0, at) + 1) + 1
        inside = f" in rule {rule!r}" if rule else ""
        return GrammarError(f"line {line}, column {column}{inside}: {message}", line=line, column=column, rule=rule)


def parse(source: str) -> Parsed:
    """The rules of a GBNF text; raises GrammarError for what llama.cpp's own parser would not read as it is meant.

    Whether names exist and rules can be used is `check.check()`'s part.
    """
    parsed = Parsed(source)
    if len(source) > MAX_BYTES or len(source.encode("utf-8", "replace")) > MAX_BYTES:
        raise GrammarError(f"the grammar has more than {MAX_BYTES} bytes; make it smaller")
    for index, char in enumerate(source):
        if char == "\0" or 0xD800 <= ord(char) <= 0xDFFF:
            raise parsed.error(f"the character U+{ord(char):04X} cannot stand in a grammar", index)
    _Parser(parsed).run()
    return parsed


class _Parser:
    def __init__(self, parsed: Parsed) -> None:
        self.parsed = parsed
        self.text = parsed.source + "\0"  # so that a look ahead needs no check
        self.at = 0
        self.rule = ""
        self.depth = 0
        # llama.cpp bounds a repeat by how many symbols it has made so far inside the group: counted here alike
        self.symbols: set[str] = set()
        self.made = 0

    def run(self) -> None:
        self._space(True)
        while self.text[self.at] != "\0":
            self._rule()
        if not self.parsed.rules:
            raise self.parsed.error('there is no rule; write one, such as root ::= "yes" | "no"', 0)

    def _error(self, message: str, at: int | None = None) -> GrammarError:
        return self.parsed.error(message, self.at if at is None else at, self.rule or None)

    def _space(self, newlines: bool) -> None:
        text = self.text
        while True:
            char = text[self.at]
            if char == "#":
                while text[self.at] not in "\r\n\0":
                    self.at += 1
            elif char in " \t" or (newlines and char in "\r\n"):
                self.at += 1
            else:
                return

    def _name(self) -> str:
        start = self.at
        while self.text[self.at] in _WORD:
            self.at += 1
        return self.text[start : self.at]

    def _rule(self) -> None:
        self.rule = ""
        start = self.at
        name = self._name()
        if not name:
            raise self._error(_no_name(self.text[start]))
        self.rule = name
        self._space(False)
        if self.text[self.at : self.at + 3] != "::=":
            raise self._error("a rule is written name ::= ...; '::=' is missing here")
        if name in self.parsed.rules:
            raise self._error(f"the rule {name!r} is defined twice; join the two with |", start)
        if len(self.parsed.rules) >= MAX_RULES:
            raise self._error(f"there are more than {MAX_RULES} rules; make the grammar smaller", start)
        self.at += 3
        self._space(True)
        self.symbols.add(name)
        node = self._alternatives(nested=False)
        char = self.text[self.at]
        if char not in "\r\n\0":
            raise self._error(_not_the_end(char))
        self.parsed.rules[name] = node
        self.parsed.defined[name] = start
        self._space(True)

    def _alternatives(self, nested: bool) -> Node:
        items = [self._sequence(nested)]
        while self.text[self.at] == "|":
            self.at += 1
            self._space(True)
            items.append(self._sequence(nested))
        return alt(*items) if len(items) > 1 else items[0]

    def _sequence(self, nested: bool) -> Node:
        items: list[Node] = []
        cost = 1  # llama.cpp's n_prev_rules
        repeatable = False
        while True:
            start = self.at
            char = self.text[start]
            if char in "*+?{":
                if not repeatable:
                    raise self._error(f"{char!r} has nothing before it to repeat")
                least, most = self._counts()
                cost = self._bounded(cost, least, most, start)
                self._space(nested)
                if most == 0:
                    items[-1] = EMPTY
                elif (least, most) != (1, 1):
                    items[-1] = Repeat(items[-1], least, most)
                continue
            cost, repeatable = 1, True
            if char == '"':
                items.append(self._literal())
                repeatable = items[-1] != EMPTY
            elif char == "[":
                items.append(self._class())
            elif char in _WORD:
                name = self._name()
                self.symbols.add(name)
                self.parsed.used.append((name, start, self.rule))
                items.append(Ref(name))
            elif char == "(":
                before = len(self.symbols) + self.made
                items.append(self._group())
                cost = max(1, len(self.symbols) + self.made - before)
            elif char == ".":
                self.at += 1
                items.append(ANY)
            elif char in "<!":
                items.append(self._token())
            else:
                return seq(*items)
            self._space(nested)

    def _group(self) -> Node:
        start = self.at
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(f"parentheses are nested more than {MAX_DEPTH} deep; name the inner parts as rules")
        self.made += 1
        self.at += 1
        self._space(True)
        node = self._alternatives(nested=True)
        if self.text[self.at] != ")":
            if self.text[self.at] == "\0":
                raise self._error("this '(' is never closed", start)
            raise self._error(f"')' is expected here, not {self.text[self.at]!r}")
        self.at += 1
        self.depth -= 1
        return node

    def _counts(self) -> tuple[int, int | None]:
        char = self.text[self.at]
        self.at += 1
        if char != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        self._space(True)
        least = self._number()
        most: int | None = least
        self._space(True)
        if self.text[self.at] == ",":
            self.at += 1
            self._space(True)
            most = self._number() if self.text[self.at].isdigit() else None
            self._space(True)
        if self.text[self.at] != "}":
            raise self._error("a repeat is written {3}, {1,3} or {1,}; '}' is missing here")
        self.at += 1
        return least, most

    def _number(self) -> int:
        start = self.at
        while self.text[self.at] in "0123456789":
            self.at += 1
        if start == self.at:
            raise self._error("a repeat is written {3}, {1,3} or {1,}; a number is missing here")
        return int(self.text[start : min(self.at, start + 12)])

    def _bounded(self, cost: int, least: int, most: int | None, at: int) -> int:
        if most is not None and most < least:
            raise self._error(f"{{{least},{most}}} asks for at least more than at most", at)
        if max(least, most or 0) > MAX_REPEAT:
            raise self._error(f"llama.cpp repeats at most {MAX_REPEAT} times; nest rules for more", at)
        times = most if most else (least or 1)
        if cost * times > MAX_REPEAT:
            raise self._error(f"the repeated part has {cost} rules, times {times} is above {MAX_REPEAT}; name it", at)
        self.made += 1 if most is None else most - least
        return cost * times

    def _literal(self) -> Node:
        start = self.at
        self.at += 1
        found: list[str] = []
        while self.text[self.at] != '"':
            if self.text[self.at] in "\0\n":
                raise self._error("this text is never closed; write a line's end as \\n", start)
            here = self.at
            found.append(chr(self._char()))
            if found[-1] == "\0":
                raise self._error("U+0000 ends a text in C; it can stand in a class only", here)
        self.at += 1
        return Text("".join(found))

    def _class(self) -> Node:
        start = self.at
        self.at += 1
        negated = self.text[self.at] == "^"
        self.at += negated
        ranges: list[tuple[int, int]] = []
        while self.text[self.at] != "]":
            if self.text[self.at] in "\0\n":
                raise self._error("this '[' is never closed; write ']' inside as \\]", start)
            here = self.at
            low = high = self._char()
            if self.text[self.at] == "-" and self.text[self.at + 1] != "]":
                self.at += 1
                high = self._char()
            if high < low:
                raise self._error(f"the range {chr(low)!r} to {chr(high)!r} runs backwards", here)
            ranges.append((low, high))
        self.at += 1
        if not ranges:
            raise self._error("this class is empty; '.' is any character", start)
        positive = union(ranges)
        return Chars(complement(positive) if negated else positive)

    def _char(self) -> int:
        char = self.text[self.at]
        if char == "\0":
            raise self._error("the grammar ends inside a text or a class")
        if char != "\\":
            self.at += 1
            return ord(char)
        kind = self.text[self.at + 1]
        if kind in _ESCAPES:
            self.at += 2
            return ord(_ESCAPES[kind])
        length = _HEX_LENGTH.get(kind)
        if length is None:
            known = '\\n \\r \\t \\\\ \\" \\[ \\] \\- \\x41 \\u0041 \\U00000041'
            raise self._error(f"the escape '\\{kind if kind != chr(0) else ''}' is unknown; there are {known}")
        digits = self.text[self.at + 2 : self.at + 2 + length]
        if len(digits) < length or not _HEX.issuperset(digits):
            raise self._error(f"'\\{kind}' needs {length} hexadecimal digits")
        value = int(digits, 16)
        if value > LAST or 0xD800 <= value <= 0xDFFF:
            raise self._error(f"U+{value:04X} is no character")
        self.at += 2 + length
        return value

    def _token(self) -> Node:
        start = self.at
        self.at += self.text[self.at] == "!"
        if self.text[self.at] != "<":
            raise self._error("'!' stands before a token, as in !<[12]>", start)
        end = self.text.find(">", self.at)
        if end < 0 or "\n" in self.text[self.at : end]:
            raise self._error("this token is never closed with '>'", start)
        body = self.text[self.at + 1 : end]
        if body.startswith("[") and not (body.endswith("]") and body[1:-1].isdigit() and len(body) <= 12):
            raise self._error("a token is written <[12]> with its number, or <name>", start)
        self.at = end + 1
        return Token(self.text[start : self.at])


def _no_name(char: str) -> str:
    if char == "|":
        return "a rule ends with its line; put the '|' at the end of the line before, or the rule in parentheses"
    return f"a rule's name is expected here (letters, digits and '-'), not {char!r}"


def _not_the_end(char: str) -> str:
    if char == ")":
        return "this ')' closes nothing"
    if char == ":":
        return "a rule ends with its line: the one before this is empty or not ended"
    if char in "]}":
        return f"this {char!r} closes nothing"
    if char == "_":
        return "a rule's name has letters, digits and '-', no '_'"
    return f"{char!r} means nothing here; texts stand in quotes"
