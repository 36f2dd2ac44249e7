"""Whether a grammar can be run at all: every name exists, no rule calls itself before it eats a character, each
can come to an end.

llama.cpp looks for left recursion only through alternatives that are written as empty, so a hidden one makes its
worker loop for ever with growing memory. This check has no such hole.
"""

from __future__ import annotations

from collections.abc import Callable

from modkit.errors import GrammarError
from modkit.native.grammar.nodes import Alt, Node, Ref, Repeat, Rules, Seq, ending_rules, is_empty, nullable_rules
from modkit.native.grammar.polite import breathe

__all__ = ["check"]

MAX_WEIGHT = 1_000_000  # elements, with repeats written out as llama.cpp does

Locate = Callable[[str, str], GrammarError]  # (message, rule) -> the error to raise


def check(rules: Rules, root: str, locate: Locate) -> None:
    """Raises what `locate(message, rule)` makes of the first thing that is wrong. All names must exist."""
    if root not in rules:
        known = ", ".join(list(rules)[:8])
        raise locate(f"there is no rule {root!r} to start from; the rules are {known}", "")
    nullable = nullable_rules(rules)
    for name, node in rules.items():
        breathe()
        if _empty_loop(node, nullable):
            raise locate(
                "something that may be empty is repeated without end; let the repeated part have a character", name
            )
    _no_left_recursion(rules, nullable, locate)
    ending = ending_rules(rules)
    for name in rules:
        if name not in ending:
            raise locate("no text can ever complete this rule; give it an alternative that comes to an end", name)
    if sum(_weight(node) for node in rules.values()) > MAX_WEIGHT:
        raise locate(f"its repeats come to more than {MAX_WEIGHT} elements; make them smaller", root)


def _empty_loop(node: Node, nullable: set[str]) -> bool:
    if isinstance(node, Repeat):
        return (node.most is None and is_empty(node.item, nullable)) or _empty_loop(node.item, nullable)
    if isinstance(node, Seq | Alt):
        return any(_empty_loop(item, nullable) for item in node.items)
    return False


def _leftmost(node: Node, nullable: set[str], found: dict[str, None]) -> None:
    """The rules that can stand at the very beginning of a node."""
    if isinstance(node, Ref):
        found[node.name] = None
    elif isinstance(node, Repeat):
        _leftmost(node.item, nullable, found)
    elif isinstance(node, Alt):
        for item in node.items:
            _leftmost(item, nullable, found)
    elif isinstance(node, Seq):
        for item in node.items:
            _leftmost(item, nullable, found)
            if not is_empty(item, nullable):
                return


def _no_left_recursion(rules: Rules, nullable: set[str], locate: Locate) -> None:
    left: dict[str, list[str]] = {}
    for name, node in rules.items():
        breathe()
        found: dict[str, None] = {}
        _leftmost(node, nullable, found)
        left[name] = list(found)
    finished: set[str] = set()
    for start in rules:
        path: dict[str, None] = {}
        todo: list[tuple[str, bool]] = [(start, False)]
        while todo:
            name, leaving = todo.pop()
            if leaving:
                path.pop(name)
                finished.add(name)
            elif name in path:
                way = list(path)
                circle = " → ".join([*way[way.index(name) :], name])
                raise locate(
                    f"the rule calls itself before any character ({circle}), which llama.cpp cannot run;"
                    " write the recursion to the right, or as a repeat",
                    name,
                )
            elif name not in finished:
                path[name] = None
                todo.append((name, True))
                todo.extend((other, False) for other in reversed(left[name]))


def _weight(node: Node) -> int:
    if isinstance(node, Seq | Alt):
        return sum(_weight(item) for item in node.items)
    if isinstance(node, Repeat):
        return _weight(node.item) * max(1, node.least, node.most or 1)
    return 1
