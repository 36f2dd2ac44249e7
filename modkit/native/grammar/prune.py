"""Made rules without what is needless in them: dead ways, rules that nothing reaches, rules that are used once."""

from __future__ import annotations

from collections import Counter

from modkit.native.grammar.nodes import NEVER, Node, Ref, Rules, ending_rules, rebuilt, refs
from modkit.native.grammar.polite import breathe

__all__ = ["pruned", "rest_of"]

_REST = "-rest"


def rest_of(hint: str) -> str:
    """The name for a rule that is written out where it is used, when that is one place only. Such rules are made from
    the inside out."""
    return f"{hint}{_REST}"


def pruned(rules: Rules, root: str) -> Rules:
    """Without the ways that nothing completes and the rules that nothing reaches."""
    good = ending_rules(rules)

    def alive(leaf: Node) -> Node:
        return NEVER if isinstance(leaf, Ref) and leaf.name not in good else leaf

    cut: Rules = {}
    for name, node in rules.items():
        breathe()
        cut[name] = rebuilt(node, alive)
    uses = Counter(name for node in cut.values() for name in refs(node))
    written: Rules = {}  # in the order they were made, so that an object of 2,000 properties is no deep recursion

    def inlined(leaf: Node) -> Node:
        return written.get(leaf.name, leaf) if isinstance(leaf, Ref) else leaf

    for name, node in cut.items():
        if _REST in name and uses[name] == 1:
            written[name] = rebuilt(node, inlined)
    reached: Rules = {}
    todo = [root]
    while todo:
        name = todo.pop()
        breathe()
        if name not in reached:
            reached[name] = written.get(name) or rebuilt(cut[name], inlined)
            todo += refs(reached[name])
    return {name: reached[name] for name in cut if name in reached}
