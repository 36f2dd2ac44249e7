"""Numbers between exact bounds, as nodes: what JSON Schema's minimum, maximum and multipleOf ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from modkit.errors import GrammarError
from modkit.native.grammar.automaton import DFA
from modkit.native.grammar.nodes import EMPTY, NEVER, Node, Text, alt, chars, opt, repeat, seq, some, star
from modkit.native.grammar.regex import nonempty
from modkit.native.grammar.write import Builder

__all__ = ["Bounds", "integers", "numbers"]

DIGITS = 16  # of a number without a bound: what a double holds, and what keeps a model from counting for ever
_PLACES = 6  # after the dot, where there are bounds; more when a bound has more
_DIGIT = chars(("0", "9"))
_HEAD = chars(("1", "9"))
_MAX_STEP = 2000


@dataclass(frozen=True)
class Bounds:
    """`low` and `high` are inclusive unless `above` and `below`; None is no bound. `steps` must each divide."""

    low: Decimal | None = None
    high: Decimal | None = None
    above: bool = False
    below: bool = False
    steps: tuple[Decimal, ...] = ()

    def holds(self, value: float | int) -> bool:
        """Whether a number is within."""
        exact = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
        if self.low is not None and (exact < self.low or (self.above and exact == self.low)):
            return False
        if self.high is not None and (exact > self.high or (self.below and exact == self.high)):
            return False
        return all((Fraction(exact) / Fraction(step)).denominator == 1 for step in self.steps)

    def meet(self, other: Bounds) -> Bounds:
        """The bounds of both."""
        low, above = self.low, self.above
        if other.low is not None and (low is None or (other.low, other.above) > (low, above)):
            low, above = other.low, other.above
        high, below = self.high, self.below
        if other.high is not None and (high is None or (other.high, not other.below) < (high, not below)):
            high, below = other.high, other.below
        return Bounds(low, high, above, below, tuple(dict.fromkeys((*self.steps, *other.steps))))

    @property
    def nothing(self) -> bool:
        """Whether no number is within, for all that the two bounds say."""
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or (self.low == self.high and (self.above or self.below))


def integers(bounds: Bounds, builder: Builder) -> Node:
    """Whole numbers within the bounds, without a fraction or an exponent."""
    low = high = None
    if bounds.low is not None:
        low = int(bounds.low.to_integral_value("ROUND_CEILING"))
        low += bounds.above and low == bounds.low
    if bounds.high is not None:
        high = int(bounds.high.to_integral_value("ROUND_FLOOR"))
        high -= bounds.below and high == bounds.high
    node = _whole(low, high)
    for step in bounds.steps:
        if step == step.to_integral_value() and step == 1:
            continue
        node = (DFA.of(node) & _divided(step, whole=True)).node(builder, "step")
    return node


def numbers(bounds: Bounds, builder: Builder, excluded: Sequence[Decimal] = (), *, broken: bool = False) -> Node:
    """Numbers within the bounds, without the excluded ones; `broken`: without whole ones.

    With any of these they have no exponent and at most six places, or the bound's own.
    """
    if bounds == Bounds() and not excluded and not broken:
        fraction = opt(seq(Text("."), repeat(_DIGIT, 1, DIGITS)))
        exponent = opt(seq(chars("eE"), opt(chars("+-")), repeat(_DIGIT, 1, 2)))
        return seq(opt(Text("-")), _naturals(0, None), fraction, exponent)
    width = max(DIGITS, *(len(str(int(abs(b)))) for b in (bounds.low, bounds.high) if b is not None), 1)
    places = max(_PLACES, *(len(_parts(b)[1]) for b in (bounds.low, bounds.high) if b is not None), 0)
    shape = seq(
        opt(Text("-")),
        alt(Text("0"), seq(_HEAD, repeat(_DIGIT, 0, width - 1))),
        opt(seq(Text("."), repeat(_DIGIT, 1, places))),
    )
    dfa = DFA.of(shape)
    if bounds.low is not None:
        dfa &= DFA.of(_at_least(bounds.low, bounds.above))
    if bounds.high is not None:
        dfa &= DFA.of(_at_most(bounds.high, bounds.below))
    for step in bounds.steps:
        dfa &= _divided(step, whole=False)
    if broken:
        dfa &= DFA.of(seq(opt(Text("-")), _ANY_WHOLE, Text("."), _MORE_THAN_ZERO))
    for value in excluded:  # with any number of zeros behind it
        size, digits = _parts(value)
        sign = Text("-") if value < 0 else EMPTY if value else opt(Text("-"))
        zeros = seq(Text(f".{digits}"), star(Text("0"))) if digits else opt(seq(Text("."), star(Text("0"))))
        dfa -= DFA.of(seq(sign, Text(str(size)), zeros))
    return dfa.node(builder, "number")


# ---- whole numbers ----


def _whole(low: int | None, high: int | None) -> Node:
    if low is not None and high is not None and low > high:
        return NEVER
    found: list[Node] = []
    if low is None or low < 0:
        least = 1 if high is None or high >= 0 else -high
        found.append(seq(Text("-"), _naturals(least, None if low is None else -low)))
    if high is None or high >= 0:
        found.append(_naturals(max(0, low or 0), high))
    return alt(*found)


def _naturals(low: int, high: int | None) -> Node:
    """From low (0 or more) to high, without leading zeros; above, as many digits as numbers may have."""
    found: list[Node] = []
    first = str(low)
    last = str(high) if high is not None else "9" * max(DIGITS, len(first))
    if high is None and low <= 1:
        long = seq(_HEAD, repeat(_DIGIT, 0, DIGITS - 1))
        return long if low else alt(Text("0"), long)
    for length in range(len(first), len(last) + 1):
        start = first if length == len(first) else "1" + "0" * (length - 1)
        end = last if length == len(last) else "9" * length
        if int(start) <= int(end):
            found.append(_between(start, end))
    return alt(*found)


def _between(low: str, high: str) -> Node:
    """Digit strings of one length, from low to high."""
    if not low:
        return EMPTY
    if set(low) == {"0"} and set(high) == {"9"}:
        return repeat(_DIGIT, len(low), len(low))
    if low[0] == high[0]:
        return seq(Text(low[0]), _between(low[1:], high[1:]))
    rest = len(low) - 1
    found: list[Node] = []
    start, end = int(low[0]), int(high[0])
    if set(low[1:]) - {"0"}:
        found.append(seq(Text(low[0]), _between(low[1:], "9" * rest)))
        start += 1
    upper: Node | None = None
    if set(high[1:]) - {"9"}:
        upper = seq(Text(high[0]), _between("0" * rest, high[1:]))
        end -= 1
    if start <= end:
        found.append(seq(_digit(start, end), repeat(_DIGIT, rest, rest)))
    return alt(*found, upper) if upper is not None else alt(*found)


def _digit(low: int, high: int) -> Node:
    return Text(str(low)) if low == high else chars((str(low), str(high)))


# ---- numbers with a fraction ----

_ANY_FRACTION = opt(seq(Text("."), some(_DIGIT)))
_ANY_WHOLE = alt(Text("0"), seq(_HEAD, star(_DIGIT)))
_MORE_THAN_ZERO = seq(star(Text("0")), _HEAD, star(_DIGIT))


def _parts(value: Decimal) -> tuple[int, str]:
    whole, _, fraction = format(abs(value), "f").partition(".")
    return int(whole), fraction.rstrip("0")


def _at_least(bound: Decimal, strict: bool) -> Node:
    if bound > 0 or (bound == 0 and strict):
        return _positive_from(bound, strict)
    zero = seq(Text("0"), opt(seq(Text("."), some(Text("0")))))
    if bound == 0:
        return _positive_from(bound, False)
    above = _positive_from(Decimal(0), False)
    return alt(above, seq(Text("-"), _positive_to(bound, strict)), seq(Text("-"), zero))


def _at_most(bound: Decimal, strict: bool) -> Node:
    if bound < 0 or (bound == 0 and strict):
        return seq(Text("-"), _positive_from(bound, strict))
    return alt(_positive_to(bound, strict), seq(Text("-"), _positive_from(Decimal(0), False)))


def _positive_from(bound: Decimal, strict: bool) -> Node:
    """Without a sign, at least the bound's size."""
    whole, fraction = _parts(bound)
    above = seq(_longer(whole + 1), _ANY_FRACTION)
    if not fraction:
        same = seq(Text("."), _MORE_THAN_ZERO) if strict else _ANY_FRACTION
    else:
        same = seq(Text("."), _digits_from(fraction, strict))
    return alt(above, seq(Text(str(whole)), same))


def _positive_to(bound: Decimal, strict: bool) -> Node:
    whole, fraction = _parts(bound)
    found = [seq(_naturals(0, whole - 1), _ANY_FRACTION)] if whole else []
    if fraction or not strict:
        found.append(Text(str(whole)))
    found.append(seq(Text(str(whole)), Text("."), nonempty(_digits_to(fraction, strict))))
    return alt(*found)


def _longer(low: int) -> Node:
    """Whole numbers from low on, without end."""
    digits = len(str(low))
    return alt(_naturals(low, 10**digits - 1), seq(_HEAD, repeat(_DIGIT, digits, None)))


def _digits_from(bound: str, strict: bool) -> Node:
    if not bound:
        return _MORE_THAN_ZERO if strict else star(_DIGIT)
    here = int(bound[0])
    found = [seq(Text(bound[0]), _digits_from(bound[1:], strict))]
    if here < 9:
        found.append(seq(_digit(here + 1, 9), star(_DIGIT)))
    return alt(*found)


def _digits_to(bound: str, strict: bool) -> Node:
    if not bound:
        return NEVER if strict else star(Text("0"))
    here = int(bound[0])
    found: list[Node] = [EMPTY, seq(Text(bound[0]), _digits_to(bound[1:], strict))]
    if here:
        found.append(seq(_digit(0, here - 1), star(_DIGIT)))
    return alt(*found)


# ---- multiples ----


def _divided(step: Decimal, whole: bool) -> DFA:
    """Numbers (any sign, any leading zeros) that the step divides, counted digit by digit."""
    places = max(0, -int(step.normalize().as_tuple().exponent))
    unit = int(step.scaleb(places))
    if unit <= 0 or unit > _MAX_STEP or places > 6:
        raise GrammarError(f"multipleOf {step} cannot be expressed: it needs more than {_MAX_STEP} states")
    if whole:
        unit_for_whole = unit  # n * 10**places must be divided by unit
        start = 2
        edges: list[list[tuple[int, int, int]]] = [[(45, 45, 1)], []]
        for state in range(unit):
            edges.append([(48 + d, 48 + d, start + (state * 10 + d) % unit) for d in range(10)])
        edges[0] += [(48 + d, 48 + d, start + d % unit) for d in range(10)]
        edges[1] = edges[0][1:]
        good = [False, False, *((state * 10**places) % unit_for_whole == 0 for state in range(unit))]
        return DFA(edges, good)
    # state: how many places have been read (0: none yet), and the remainder so far
    width = places + 1

    def name(read: int, rest: int) -> int:
        return 2 + rest * width + read

    dots = 2 + unit * width  # after the dot, before its first digit
    rows: list[list[tuple[int, int, int]]] = [[] for _ in range(dots + unit)]
    accepts = [False] * len(rows)
    rows[1] = [(48 + d, 48 + d, name(0, d % unit)) for d in range(10)]
    rows[0] = [(45, 45, 1), *rows[1]]
    for rest in range(unit):
        for read in range(width):
            here = name(read, rest)
            accepts[here] = rest * 10 ** (places - read) % unit == 0
            if read == 0:
                rows[here] += [(48 + d, 48 + d, name(0, (rest * 10 + d) % unit)) for d in range(10)]
                rows[here] = [(46, 46, dots + rest), *rows[here]]
            elif read < places:
                rows[here] += [(48 + d, 48 + d, name(read + 1, (rest * 10 + d) % unit)) for d in range(10)]
        if places:
            rows[dots + rest] = [(48 + d, 48 + d, name(1, (rest * 10 + d) % unit)) for d in range(10)]
    return DFA(rows, accepts)
