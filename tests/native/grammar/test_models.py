"""Models of msgspec and pydantic as types of a reply: what is generated they read, and what they refuse is refused."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import itertools
import json
import random
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest

from modkit.native.grammar import Grammar
from tests.native.grammar.support import damaged, times
from tests.native.grammar.test_schema import ALPHABET, duplicate_keys

msgspec = pytest.importorskip("msgspec")
pydantic = pytest.importorskip("pydantic")


class Mood(enum.Enum):
    CALM = "calm"
    WARY = "wary"


class Give(msgspec.Struct, tag="give", forbid_unknown_fields=True):
    item: Literal["lamp", "rope"]
    count: Annotated[int, msgspec.Meta(ge=1, le=12)] = 1


class Wait(msgspec.Struct, tag="wait", forbid_unknown_fields=True):
    turns: Annotated[float, msgspec.Meta(gt=0, le=99)]
    why: Annotated[str, msgspec.Meta(max_length=5)] | None = None


class Scene(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    mood_now: Mood
    steps: Annotated[list[Give | Wait], msgspec.Meta(min_length=1, max_length=3)]
    tags: dict[str, bool] = {}  # noqa: RUF012 (it is copied)
    seal: bytes = b""
    within: Scene | None = None


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: Annotated[str, pydantic.Field(min_length=1, max_length=6, pattern="^[a-zé ]+$")]
    age: int = pydantic.Field(ge=0, lt=120, default=3)
    born: datetime.date | None = None
    ident: uuid.UUID | None = None
    friends: list[Person] = []  # noqa: RUF012 (it is copied)
    mood: Mood = Mood.CALM


class Cat(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    kind: Literal["cat"]
    lives: Annotated[int, pydantic.Field(multiple_of=3, ge=0, le=9)]


class Dog(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    kind: Literal["dog"]
    owner: Person


class Pet(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]
    at: tuple[int, bool] = pydantic.Field(alias="where")


READERS: dict[Any, Callable[[str], object]] = {
    **{kind: msgspec.json.Decoder(kind).decode for kind in (Give, Wait, Scene)},
    **{kind: (lambda text, kind=kind: kind.model_validate_json(text, strict=True)) for kind in (Person, Cat, Dog, Pet)},
}


def taken(kind: Any, text: str) -> bool:
    try:
        READERS[kind](text)
    except (ValueError, RecursionError):  # both kinds of ValidationError are ValueErrors
        return False
    return True


@pytest.mark.parametrize("kind", READERS, ids=lambda kind: kind.__name__)
def test_members_are_read_and_what_is_not_read_is_no_member(kind: Any) -> None:
    grammar, rng, refused = Grammar.from_type(kind), random.Random(3), 0
    for text in itertools.islice(grammar.members(7, 40), times(60, 500)):
        assert taken(kind, text), text
        for _ in range(4):
            other = damaged(text, rng, ALPHABET)
            if not taken(kind, other) and not duplicate_keys(other):
                assert not grammar.accepts(other), (text, other)
                refused += 1
    assert refused > 60


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Scene, {"moodNow": "wary", "steps": [{"type": "wait", "turns": 1.5}, {"type": "give", "item": "rope"}]}),
        (Scene, {"moodNow": "calm", "steps": [{"type": "give", "item": "lamp", "count": 12}], "seal": "bGFtcA=="}),
        (Person, {"name": "éa b", "age": 119, "born": "2026-02-28", "friends": [{"name": "x"}], "mood": "wary"}),
        (Pet, {"pet": {"kind": "dog", "owner": {"name": "a"}}, "where": [3, True]}),
        (Pet, {"pet": {"kind": "cat", "lives": 9}, "where": [-1, False]}),
    ],
    ids=repr,
)
def test_what_is_read_is_a_member(kind: Any, value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert taken(kind, text) and Grammar.from_type(kind).accepts(text)


def test_models_with_definitions_of_one_name_keep_their_own() -> None:
    def model(kind: Any) -> Any:
        item = pydantic.create_model("Item", value=(kind, ...))
        return pydantic.create_model("Box", item=(item, ...))

    @dataclasses.dataclass
    class Both:
        one: model(int)  # type: ignore[valid-type]
        two: model(str)  # type: ignore[valid-type]
        three: Annotated[int, pydantic.Field(ge=3, le=5)]

    Both.__annotations__ = {"one": model(int), "two": model(str), "three": Annotated[int, pydantic.Field(ge=3, le=5)]}
    grammar = Grammar.from_type(Both)
    assert grammar.accepts('{"one":{"item":{"value":1}},"two":{"item":{"value":"x"}},"three":4}')
    assert not grammar.accepts('{"one":{"item":{"value":"x"}},"two":{"item":{"value":"x"}},"three":4}')
    assert not grammar.accepts('{"one":{"item":{"value":1}},"two":{"item":{"value":"x"}},"three":6}')
