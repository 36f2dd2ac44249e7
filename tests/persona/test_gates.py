"""Gates: what has not happened cannot be known, and nothing that is written as a gate can do anything."""

from __future__ import annotations

import random

import pytest

from modkit.errors import OptionError
from modkit.persona.gates import Gate, look_up, state_of

STATE = {
    "quest": {"q004": 3, "q005": {"stage": 2}},
    "flag.met_evelyn": True,
    "place": "Afterlife",
    "party": ["Judy", "Panam"],
    "money": 99.5,
}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("quest.q004 >= 3", True),
        ("quest.q004 > 3", False),
        ("quest.q004 = 3", True),
        ("quest.q004 != 3", False),
        ("quest.q005.stage == 2", True),
        ("flag.met_evelyn", True),
        ("not flag.met_evelyn", False),
        ("!flag.met_evelyn || money < 100", True),
        ("flag.met_evelyn && quest.q004 < 3", False),
        ("flag.nobody", False),
        ("not flag.nobody", True),
        ("flag.nobody == none", True),
        ("flag.nobody >= 0", False),
        ("flag.nobody < 10", False),
        ("flag.nobody != 3", True),
        ('"judy" in party', True),
        ("'Johnny' in party", False),
        ('"Johnny" not in party', True),
        ('place in ["Afterlife", "Lizzie\'s"]', True),
        ('place == "afterlife"', True),
        ("place > 3", False),
        ("money >= 99.5 and money <= 99.5", True),
        ("true or flag.nobody", True),
        ("false or flag.nobody or none", False),
        ("not (quest.q004 >= 3 and flag.met_evelyn) or money > 1", True),
        ("a or b and c", False),
        ("quest.q004 in [1, 2, 3]", True),
        ("-1 < quest.q004", True),
    ],
)
def test_a_gate_is_open_when_its_condition_holds(expression: str, holds: bool) -> None:
    assert Gate.parse(expression).open(STATE) is holds


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "is missing"),
        ("quest.q004 >=", "is missing"),
        ("quest.q004 3", "should end here"),
        ("(a", "`\\)` is missing"),
        ("[1, 2", "`\\]` is missing"),
        ("1 < a < 3", "join two comparisons"),
        ("a; b", "means nothing here \\(character 2\\)"),
        ("open('x')", "should end here"),
        ("a.__class__()", "should end here"),
        ("a[0]", "should end here"),
        ("lambda: 1", "means nothing"),
        ('"unfinished', "means nothing"),
        ("(" * 100 + "a" + ")" * 100, "too deeply"),
        ("not " * 100 + "a", "too deeply"),
        ("a or " * 1000 + "a", "too long"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place(expression: str, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        Gate.parse(expression)


def test_names_tell_what_is_asked_and_only_that_is_copied() -> None:
    gate = Gate.parse("quest.q004 >= 3 and place in towns or none")
    assert gate.names == {"quest.q004", "place", "towns"}
    seen = state_of(STATE, gate.names)
    assert seen == {"quest.q004": 3, "place": "Afterlife"}


def test_a_gate_looks_at_data_and_never_into_objects() -> None:
    class Game:
        secret = True

    assert look_up({"game": Game()}, "game.secret") is None
    assert Gate.parse("game.secret").open({"game": Game()}) is False
    assert Gate.parse("x.__class__").open({"x": 1}) is False


def test_any_text_is_a_gate_or_an_error_by_name() -> None:
    rng = random.Random(5)
    pieces = ["a", "b.c", "3", "\n", '"x"', "(", ")", "[", "]", ",", "and", "or", "not", "in", ">=", "!", " ", "%"]
    good = 0
    for _ in range(3000):
        text = " ".join(rng.choice(pieces) for _ in range(rng.randint(1, 9)))
        try:
            gate = Gate.parse(text)
        except OptionError:
            continue
        good += 1
        assert gate.open({"a": 1, "b": {"c": "x"}}) in (True, False)
    assert good > 100
