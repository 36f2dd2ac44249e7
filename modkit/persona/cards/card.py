"""`Card`: a character card of any version as one object, with everything that was in it."""

from __future__ import annotations

import copy
import re
import time
from dataclasses import dataclass, field
from typing import Any

from modkit.errors import CardError
from modkit.persona.cards.lorebook import Lorebook
from modkit.persona.cards.macros import fill_macros
from modkit.persona.values import record, string

__all__ = ["Card"]

_TEXTS = ("name", "description", "personality", "scenario", "first_mes", "mes_example")
_MORE = ("creator_notes", "system_prompt", "post_history_instructions", "creator", "character_version", "nickname")
_LISTS = ("alternate_greetings", "tags", "group_only_greetings", "source")
_OLD_NAMES = {  # of the first tools
    "char_name": "name",
    "char_persona": "description",
    "char_greeting": "first_mes",
    "example_dialogue": "mes_example",
    "world_scenario": "scenario",
}
_START = re.compile(r"^\s*<START>\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass
class Card:
    """A character as cards tell it. Macros stay in the fields; `text()` and `greetings()` fill them in.

    `version` is what it was read as (1, 2 or 3). `raw` is the object it came from, `files` what lay beside it in a
    .charx, `picture` the PNG around it. `warnings` say what was odd. Nothing a card names is fetched.
    """

    name: str
    description: str = ""
    personality: str = ""
    scenario: str = ""
    first_mes: str = ""
    mes_example: str = ""
    creator_notes: str = ""
    system_prompt: str = ""
    post_history_instructions: str = ""
    creator: str = ""
    character_version: str = ""
    nickname: str = ""
    alternate_greetings: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    group_only_greetings: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    assets: list[dict[str, Any]] = field(default_factory=list)
    book: Lorebook | None = None
    extensions: dict[str, Any] = field(default_factory=dict)
    version: int = 3
    raw: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    picture: bytes | None = None
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, value: Any, name: str = "the card") -> Card:
        """From a card's JSON object of any version. Raises CardError, with `name` in it, when it is no card."""
        if not isinstance(value, dict):
            raise CardError(f"{name} is no character card: its JSON is not an object")
        spec = string(value.get("spec"))
        nested = isinstance(value.get("data"), dict)
        flat = {_OLD_NAMES.get(str(key), str(key)): item for key, item in value.items()}
        data: dict[str, Any] = dict(value["data"]) if nested else flat
        if nested and not string(data.get("name")):
            data["name"] = value.get("name")
        fields = [key for key in _TEXTS if isinstance(data.get(key), str)]
        if not string(data.get("name")) or (not spec and len(fields) < 2):
            raise CardError(f"{name} is no character card: it has no name and description; see docs/personas.md")
        assets = data.get("assets")
        given: dict[str, Any] = {key: string(data.get(key)) for key in (*_TEXTS, *_MORE)}
        given.update({key: texts_of(data.get(key)) for key in _LISTS})
        card = cls(
            **given,
            assets=[dict(asset) for asset in assets if isinstance(asset, dict)] if isinstance(assets, list) else [],
            extensions=copy.deepcopy(record(data.get("extensions"))),
            version=3 if spec == "chara_card_v3" else 2 if nested else 1,
            raw=copy.deepcopy(value),
        )
        if data.get("character_book") is not None:
            try:
                card.book = Lorebook.parse(data["character_book"])
            except CardError as error:
                card.warnings.append(f"its lorebook was left alone: {error}")
        card._look_over(value, data, spec, name)
        return card

    def _look_over(self, value: dict[str, Any], data: dict[str, Any], spec: str, name: str) -> None:
        for key in (*_TEXTS, *_MORE):
            if key in data and not isinstance(data[key], str | type(None)):
                self.warnings.append(f"{name}: {key} is no text")
        if spec and spec not in ("chara_card_v2", "chara_card_v3"):
            self.warnings.append(f"{name} has the unknown spec {spec[:40]!r} and is read as version {self.version}")
        try:
            newer = float(string(value.get("spec_version")) or 0) > 3.0
        except ValueError:
            newer = False
        if newer:
            self.warnings.append(f"{name} is of a newer version than 3.0: what is new in it is kept and not used")

    @property
    def called(self) -> str:
        """What `{{char}}` becomes: the nickname, if there is one."""
        return self.nickname or self.name

    def fill(self, words: str, player: str = "Player", *, seed: int | str = 0, original: str = "") -> str:
        """`words` with this card's macros filled in; see `fill_macros`."""
        return fill_macros(words, char=self.called, user=player, seed=seed, original=original)

    def text(self, player: str = "Player", *, seed: int | str = 0) -> str:
        """Who the character is, as text for the model's system message, macros filled.

        The card's own system prompt first, then description, personality and scenario. Notes, tags and the creator's
        name are for people and are never part of it.
        """
        parts = [self.fill(self.system_prompt, player, seed=seed), self.description]
        parts += [f"{self.called}'s personality: {self.personality}"] if self.personality.strip() else []
        parts += [f"Scenario: {self.scenario}"] if self.scenario.strip() else []
        filled = (self.fill(part, player, seed=seed).strip() for part in parts)
        return "\n".join(part for part in filled if part)

    def greetings(self, player: str = "Player", *, seed: int | str = 0) -> list[str]:
        """First messages the mod may choose from, the card's first one first."""
        return [self.fill(g, player, seed=seed) for g in (self.first_mes, *self.alternate_greetings) if g.strip()]

    def examples(self, player: str = "Player", *, seed: int | str = 0) -> list[str]:
        """The example dialogues, one text each."""
        parts = (part.strip() for part in _START.split(self.mes_example))
        return [self.fill(part, player, seed=seed) for part in parts if part]

    def as_json(self, version: int | None = None) -> dict[str, Any]:
        """The card's JSON object in `version` (1, 2, 3; default: its own). Unknown fields come along."""
        version = version or self.version
        if version not in (1, 2, 3):
            raise CardError(f"there is no version {version} of character cards: choose 1, 2 or 3")
        top = copy.deepcopy(self.raw)
        nested = isinstance(top.get("data"), dict)
        if version == 1:
            base = {k: v for k, v in top.items() if k not in ("data", "spec", "spec_version")}
            return {**base, **{key: getattr(self, key) for key in _TEXTS}}
        data = top.pop("data") if nested else {}
        if not nested:  # a V1 card's own extra fields have no place in the others but among the extensions
            known = {*_TEXTS, *_OLD_NAMES, "spec", "spec_version"}
            extra = {key: top.pop(key) for key in list(top) if key not in known}
            if extra:
                self.extensions.setdefault("modkit", {}).setdefault("v1", extra)
            top = {}
        spec = {"spec": f"chara_card_v{version}", "spec_version": f"{version}.0"}
        return {**top, **spec, "data": self._data(data, version)}

    def _data(self, data: dict[str, Any], version: int) -> dict[str, Any]:
        for key in (*_TEXTS, *_MORE[:-1]):  # a nickname only where there is one
            data[key] = getattr(self, key)
        data["alternate_greetings"], data["tags"] = list(self.alternate_greetings), list(self.tags)
        data["extensions"] = copy.deepcopy(self.extensions)
        if self.book is not None:
            data["character_book"] = self.book.as_json(version)
        if version == 3:
            data["group_only_greetings"] = list(self.group_only_greetings)
            for key in ("nickname", "source", "assets"):
                if getattr(self, key) or key in data:
                    data[key] = copy.deepcopy(getattr(self, key))
            data.setdefault("creation_date", int(time.time()))
        elif self.group_only_greetings:
            data["group_only_greetings"] = list(self.group_only_greetings)
        return data


def texts_of(value: Any) -> list[str]:
    """A list of texts, empty ones included; one text is a list of one."""
    if isinstance(value, list):
        return [string(item) for item in value if isinstance(item, str) or string(item)]
    return [value] if isinstance(value, str) and value else []
