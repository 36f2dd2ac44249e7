"""Knowledge gates: small conditions over the game's state, such as `quest.q004 >= 3 and not flag.betrayed`.

A line or a piece of lore with a gate comes to mind only while its gate is open. The language has names with
dots, numbers, strings, `true` `false` `none`, lists, comparisons, `in`, `and` `or` `not` and brackets; nothing
can be called, looked into or changed, so a gate from anywhere may be evaluated. What is not in the state has
not happened: it equals nothing but `none`, is never greater or less than anything, and is false. Any thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modkit.errors import OptionError

__all__ = ["Gate", "look_up", "state_of"]

MAX_LENGTH = 2000  # characters of an expression
MAX_DEPTH = 40

Value = Any  # None, bool, int, float, str, or a container of them
_Node = Callable[[Callable[[str], Value]], Value]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?)(?![\w.])|(?P<name>[^\W\d]\w*(?:[.:/-]?\w+)*)"
    r"|(?P<text>\"[^\"\n]*\"|'[^'\n]*')|(?P<sign>>=|<=|==|!=|>|<|=|\(|\)|\[|\]|,|!|&&|\|\|))"
)
_WORDS = {"&&": "and", "||": "or", "!": "not", "=": "=="}
_CONSTANTS: dict[str, Value] = {"true": True, "false": False, "none": None, "null": None}
_COMPARISONS = ("==", "!=", ">=", "<=", ">", "<", "in")


@dataclass(frozen=True)
class Gate:
    """A parsed condition. `names` are what it asks of the state."""

    expression: str
    names: frozenset[str]
    _node: _Node = field(repr=False, compare=False)

    @classmethod
    def parse(cls, expression: str) -> Gate:
        """Raises OptionError, with the place of the mistake, for what is no expression."""
        if not isinstance(expression, str):
            raise OptionError(f"a gate is a str such as 'quest.q004 >= 3', not {type(expression).__name__}")
        if len(expression) > MAX_LENGTH:
            raise OptionError(f"a gate of {len(expression)} characters is too long: {MAX_LENGTH} are allowed")
        parser = _Parser(expression)
        node = parser.whole()
        return cls(expression.strip(), frozenset(parser.names), node)

    def open(self, state: Mapping[str, Any]) -> bool:
        """Whether the condition holds in `state`, a mapping by dotted names or of mappings in mappings."""
        return bool(self._node(lambda name: look_up(state, name)))


def look_up(state: Mapping[str, Any], name: str) -> Value:
    """The value of a dotted name: `state["a.b"]`, else `state["a"]["b"]`; None where there is none."""
    if name in state:
        return state[name]
    here: Any = state
    rest = name
    while rest:
        if not isinstance(here, Mapping):
            return None
        if rest in here:
            return here[rest]
        head, _, rest = rest.partition(".")
        if head not in here:
            return None
        here = here[head]
    return here


def state_of(state: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What of `state` these names ask for: small, and untouched by what the game changes later."""
    found = {name: look_up(state, name) for name in names}
    return {
        name: tuple(value) if isinstance(value, (list, set, frozenset)) else value
        for name, value in found.items()
        if value is not None
    }


class _Parser:
    """Recursive descent: or, and, not, comparison, value."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: set[str] = set()
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0

    def whole(self) -> _Node:
        node = self._or()
        if self._peek()[0] != "end":
            raise self._wrong("the expression should end here")
        return node

    def _or(self) -> _Node:
        nodes = [self._and()]
        while self._take("or"):
            nodes.append(self._and())
        return nodes[0] if len(nodes) == 1 else lambda get: any(node(get) for node in nodes)

    def _and(self) -> _Node:
        nodes = [self._not()]
        while self._take("and"):
            nodes.append(self._not())
        return nodes[0] if len(nodes) == 1 else lambda get: all(node(get) for node in nodes)

    def _not(self) -> _Node:
        if self._take("not"):
            node = self._deeper(self._not)
            return lambda get: not node(get)
        return self._comparison()

    def _comparison(self) -> _Node:
        left = self._value()
        sign = self._peek()[1] if self._peek()[0] in ("sign", "word") else ""
        if sign == "not" and self._tokens[self._at + 1][1] == "in":
            self._at += 1
            outside = self._compare("in", left)
            return lambda get: not outside(get)
        return self._compare(sign, left) if sign in _COMPARISONS else left

    def _compare(self, sign: str, left: _Node) -> _Node:
        self._at += 1
        right = self._value()
        if self._peek()[1] in _COMPARISONS and self._peek()[0] in ("sign", "word"):
            raise self._wrong("only two values are compared: join two comparisons with `and`")
        return lambda get: _holds(sign, left(get), right(get))

    def _value(self) -> _Node:
        kind, text, _ = self._peek()
        if self._take("("):
            node = self._deeper(self._or)
            self._expect(")")
            return node
        if self._take("["):
            items: list[_Node] = []
            while not self._take("]"):
                items.append(self._deeper(self._value))
                if not self._take(","):
                    self._expect("]")
                    break
            return lambda get: tuple(item(get) for item in items)
        self._at += 1
        if kind == "number":
            number: Value = float(text) if "." in text else int(text)
            return lambda get: number
        if kind == "text":
            return lambda get: text[1:-1]
        if kind == "name":
            if text.casefold() in _CONSTANTS:
                constant = _CONSTANTS[text.casefold()]
                return lambda get: constant
            self.names.add(text)
            return lambda get: get(text)
        self._at -= 1
        raise self._wrong("a name, a number or a \"text\" is missing")

    def _deeper(self, part: Callable[[], _Node]) -> _Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong("it is nested too deeply")
        node = part()
        self._depth -= 1
        return node

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._at]

    def _take(self, text: str) -> bool:
        if self._peek()[1] == text and self._peek()[0] in ("sign", "word"):
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._wrong(f"`{text}` is missing")

    def _wrong(self, reason: str) -> OptionError:
        place = self._peek()[2]
        return OptionError(f"gate {self.text.strip()[:80]!r}: {reason} (character {place + 1})")


def _tokens(text: str) -> Iterable[tuple[str, str, int]]:
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise OptionError(f"gate {text.strip()[:80]!r}: {text[at]!r} means nothing here (character {at + 1})")
        kind = found.lastgroup or ""
        token = found.group(kind)
        if kind == "name" and token.casefold() in ("and", "or", "not", "in"):
            kind, token = "word", token.casefold()
        token = _WORDS.get(token, token) if kind == "sign" else token
        yield kind, token, found.start(found.lastgroup or 0)
        at = found.end()
    yield "end", "", len(text)


def _holds(sign: str, left: Value, right: Value) -> bool:
    if sign == "in":
        return _inside(left, right)
    if sign in ("==", "!="):
        return _same(left, right) is (sign == "==")
    if isinstance(left, str) and isinstance(right, str):
        pair: tuple[Any, Any] = (left.casefold(), right.casefold())
    elif isinstance(left, (int, float)) and isinstance(right, (int, float)):
        pair = (left, right)
    else:  # nothing, or a text beside a number: neither is more
        return False
    a, b = pair
    return bool({">": a > b, "<": a < b, ">=": a >= b, "<=": a <= b}[sign])


def _same(left: Value, right: Value) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left.casefold() == right.casefold()
    if isinstance(left, str) or isinstance(right, str):
        return False
    return bool(left == right)


def _inside(left: Value, right: Value) -> bool:
    if isinstance(right, str):
        return isinstance(left, str) and left.casefold() in right.casefold()
    if isinstance(right, Mapping):
        return isinstance(left, str) and left in right
    return isinstance(right, (list, tuple, set, frozenset)) and any(_same(left, item) for item in right)
