"""A SELECT over the tables and columns there are: the worked example of "any formal language".

Small on purpose, and complete for what it has: one table or a join of two on equal columns, WHERE with AND, OR, NOT,
comparisons, LIKE, IN, BETWEEN and IS NULL, aggregates with GROUP BY, ORDER BY, LIMIT. A column can only be named where
its table is there, so every member is a query that the database prepares.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from modkit.errors import GrammarError
from modkit.native.grammar.nodes import Chars as _Chars
from modkit.native.grammar.nodes import Node, Ref, Rules, Text, alt, chars, complement, opt, repeat, seq, star, union

__all__ = ["select_rules"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def select_rules(tables: Mapping[str, Sequence[str]]) -> Rules:
    """Rules from "root" on, for `{"table": ["column", ...]}`. Raises GrammarError for names that would need quotes."""
    if not tables:
        raise GrammarError("there is no table to select from")
    for table, columns in tables.items():
        for name in (table, *columns):
            if not isinstance(name, str) or not _NAME.fullmatch(name) or name.upper() in _RESERVED:
                raise GrammarError(f"{name!r} cannot be named in a query without quotes")
        if not columns:
            raise GrammarError(f"the table {table!r} has no columns")
    rules: Rules = {"root": Text("")}
    queries: list[Node] = []
    for number, (table, columns) in enumerate(tables.items()):
        column = alt(*(Text(name) for name in columns))
        queries.append(_query(rules, f"t{number}", column, Text(f" FROM {table}")))
    for number, (one, two) in enumerate(_pairs(tables)):
        both = alt(*(Text(f"{table}.{name}") for table in (one, two) for name in tables[table]))
        ours, theirs = (alt(*(Text(f"{table}.{name}") for name in tables[table])) for table in (one, two))
        source = seq(Text(f" FROM {one} JOIN {two} ON "), ours, Text(" = "), theirs)
        queries.append(_query(rules, f"j{number}", both, source))
    rules["root"] = alt(*queries)
    rules["number"] = seq(opt(Text("-")), alt(Text("0"), seq(chars(("1", "9")), repeat(chars(("0", "9")), 0, 8))),
                          opt(seq(Text("."), repeat(chars(("0", "9")), 1, 4))))  # fmt: skip
    inside = _Chars(complement(union([(0, 0x1F), (0x27, 0x27), (0x7F, 0x7F)])))
    rules["string"] = seq(Text("'"), repeat(alt(inside, Text("''")), 0, 60), Text("'"))
    rules["value"] = alt(Ref("number"), Ref("string"))
    return rules


def _pairs(tables: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    return [(one, two) for one in tables for two in tables if one != two]


def _query(rules: Rules, prefix: str, column: Node, source: Node) -> Node:
    """One SELECT whose columns are these; its rules are named after the prefix."""
    name = f"{prefix}-column"
    rules[name] = column
    here = Ref(name)
    aggregate = alt(
        Text("COUNT(*)"), seq(alt(*map(Text, ("COUNT", "SUM", "AVG", "MIN", "MAX"))), Text("("), here, Text(")"))
    )
    plain = alt(Text("*"), seq(here, star(seq(Text(", "), here))))
    value = Ref("value")
    compare = alt(*map(Text, (" = ", " <> ", " < ", " <= ", " > ", " >= ")))
    test = seq(here, alt(
        seq(compare, alt(value, here)),
        seq(opt(Text(" NOT")), Text(" LIKE "), Ref("string")),
        seq(opt(Text(" NOT")), Text(" IN ("), value, star(seq(Text(", "), value)), Text(")")),
        seq(Text(" BETWEEN "), value, Text(" AND "), value),
        seq(Text(" IS"), opt(Text(" NOT")), Text(" NULL")),
    ))  # fmt: skip
    condition = Ref(f"{prefix}-condition")
    single = seq(opt(Text("NOT ")), alt(test, seq(Text("("), condition, Text(")"))))
    rules[condition.name] = seq(single, star(seq(alt(Text(" AND "), Text(" OR ")), single)))
    where = opt(seq(Text(" WHERE "), condition))
    order = opt(seq(Text(" ORDER BY "), here, opt(alt(Text(" ASC"), Text(" DESC"))), star(seq(Text(", "), here))))
    limit = opt(seq(Text(" LIMIT "), chars(("1", "9")), repeat(chars(("0", "9")), 0, 3)))
    distinct = opt(Text("DISTINCT "))
    lists = seq(Text("SELECT "), distinct, plain, source, where, order, limit)
    counts = seq(Text("SELECT "), aggregate, source, where)
    groups = seq(Text("SELECT "), here, Text(", "), aggregate, source, where, Text(" GROUP BY "), here, limit)
    rules[f"{prefix}-query"] = alt(lists, counts, groups)
    return Ref(f"{prefix}-query")


_RESERVED = frozenset(
    re.findall(
        r"\w+",
        "ADD ALL ALTER AND AS BETWEEN BY CASE CHECK COLLATE COMMIT CONSTRAINT CREATE CROSS DEFAULT DELETE DISTINCT"
        " DROP ELSE END ESCAPE EXCEPT EXISTS FOREIGN FROM FULL GROUP HAVING IN INDEX INNER INSERT INTERSECT INTO IS"
        " ISNULL JOIN LEFT LIKE LIMIT NATURAL NOT NOTNULL NULL OFFSET ON OR ORDER OUTER PRIMARY REFERENCES RIGHT"
        " SELECT SET TABLE THEN TO TRANSACTION UNION UNIQUE UPDATE USING VALUES WHEN WHERE WITH",
    )
)
