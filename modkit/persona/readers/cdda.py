"""Cataclysm: Dark Days Ahead dialogue (`talk_topic` JSON), with the people in `npc` records.

A topic belongs to the one character whose chat leads to it, through the responses and through files; a
topic that several people share has no speaker. Responses are the player's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modkit.persona.lines import Line
from modkit.persona.readers.documents import parse_json, plain_markup
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile
from modkit.persona.readers.values import entries, items, record, string

_TYPE = re.compile(r'"type"\s*:\s*"talk_topic"')
_PEOPLE = re.compile(r'"type"\s*:\s*"npc"')
_MAX_DEPTH = 60
_EVERYBODYS = re.compile(
    r"TALK_(?:NONE|DONE|MISSION_\w+|FRIEND|FRIEND_\w+|TRAIN\w*|COMBAT_\w+|SIZE_UP|OPINION|SHOUT\w*)$"
)
_COLOUR = re.compile(r"</?color[^<>]{0,40}>")
_SNIPPETS = re.compile(r"(?:<\w{1,80}>\s*)+$")  # what the game takes from a list, and nothing beside it

# Conditions that are a bare word; what stands beside them is a line, not a condition's value.
_BARE_WORDS = """
u_male u_female npc_male npc_female is_day is_night is_outside is_by_radio u_driving npc_driving npc_following
npc_friend npc_hostile npc_available has_no_assigned_mission has_assigned_mission has_many_assigned_missions
has_no_available_mission has_available_mission has_many_available_missions mission_complete mission_incomplete
at_safe_space u_has_weapon npc_has_weapon has_reason u_can_stow_weapon npc_can_stow_weapon
"""
_BARE_CONDITIONS = frozenset(_BARE_WORDS.split())
_BRANCHES = ("yes", "no", "concatenate", "and", "gendered_line", "str", "str_sp", "npc_line", "u_line")


def _sniff(file: DumpFile) -> float:
    if file.head.lstrip()[:1] not in ("[", "{"):
        return 0.0
    if _TYPE.search(file.head):
        return 0.95
    return 0.9 if _PEOPLE.search(file.head) and '"chat"' in file.head else 0.0


def _objects(file: DumpFile) -> Iterator[dict[str, Any]]:
    if file.head.lstrip().startswith("{"):
        yield record(parse_json(file))
        return
    for entry in entries(file):
        yield record(entry)


def _ids(value: object) -> list[str]:
    return [string(item) for item in (value if isinstance(value, list) else [value]) if string(item)]


def _topics_in(value: object) -> Iterator[str]:
    """The topics that a topic's responses lead to, wherever they are written."""
    stack: list[tuple[object, int]] = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if depth > _MAX_DEPTH:
            continue
        if isinstance(item, dict):
            for key, inner in item.items():
                if key == "topic" and isinstance(inner, str):
                    yield inner
                elif isinstance(inner, (dict, list)) and key != "condition":
                    stack.append((inner, depth + 1))
        elif isinstance(item, list):
            stack.extend((inner, depth + 1) for inner in item)


def _scan(file: DumpFile, join: Join) -> None:
    people, leads = join.table("cdda.people"), join.table("cdda.leads")
    for entry in _objects(file):
        kind = entry.get("type")
        if kind == "npc" and string(entry.get("chat")):
            name = _text(entry.get("name_unique")) or _text(entry.get("name_suffix")) or string(entry.get("class"))
            chats = people.setdefault(string(entry["chat"]), {})
            if name and isinstance(chats, dict):
                chats[name] = True
        elif kind == "talk_topic":
            for topic in _ids(entry.get("id")):
                reached = leads.setdefault(topic, set())
                if isinstance(reached, set):
                    reached.update(_topics_in([entry.get("responses"), entry.get("repeat_responses")]))


def _owners(join: Join) -> dict[str, object]:
    """Topic to the names of those whose chat leads to it; made once for a reading."""
    owners = join.table("cdda.owners")
    if owners:
        return owners
    people, leads = join.table("cdda.people"), join.table("cdda.leads")
    for chat, names in people.items():
        if _EVERYBODYS.match(chat) or not isinstance(names, dict):
            continue
        seen: set[str] = set()
        stack = [chat]
        while stack and len(seen) < 100_000:
            topic = stack.pop()
            # Where another's chat begins, another speaks.
            if topic in seen or _EVERYBODYS.match(topic) or (topic != chat and topic in people):
                continue
            seen.add(topic)
            reached = leads.get(topic)
            stack.extend(reached if isinstance(reached, set) else ())
        for topic in seen:
            known = owners.setdefault(topic, set())
            if isinstance(known, set):
                known.update(list(names)[:50])
    owners.setdefault("", set())
    return owners


def _text(value: object) -> str:
    return string(value.get("str") or value.get("str_sp")) if isinstance(value, dict) else string(value)


@reader("cdda", "Cataclysm DDA dialogue", sniff=_sniff, extensions=(".json",), scan=_scan)
def read_cdda(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every form of every topic's line, and every response."""
    owners = _owners(join)
    for entry in _objects(file):
        if entry.get("type") != "talk_topic":
            continue
        topics = _ids(entry.get("id"))
        for topic in topics[:1]:
            found = owners.get(topic)
            names = found if isinstance(found, set) and not (len(topics) > 1 and _shared(topics, owners)) else set()
            speaker = next(iter(names)) if len(names) == 1 else None
            for text in _lines(entry.get("dynamic_line"), 0):
                said = _COLOUR.sub("", plain_markup(text) if "<br" in text else text)
                if _SNIPPETS.match(said):
                    continue
                if said[:1] in ("&", "*"):  # not spoken: what happens
                    yield file.line(topic, said[1:].removesuffix("*"), kind="narration", scene=topic)
                else:
                    yield file.line(topic, said, speaker, scene=topic)
            for text in _responses(entry):
                if not _SNIPPETS.match(text):
                    yield file.line(topic, _COLOUR.sub("", text), kind="choice", scene=topic)


def _shared(topics: list[str], owners: dict[str, object]) -> bool:
    """Whether one record serves the topics of different people."""
    names: set[str] = set()
    for topic in topics:
        found = owners.get(topic)
        names |= found if isinstance(found, set) else set()
    return len(names) != 1


def _lines(value: object, depth: int) -> Iterator[str]:
    """The texts of a dynamic_line: its branches one after the other, what is concatenated as one."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _lines(item, depth + 1)
    elif isinstance(value, dict):
        joined = value.get("concatenate") or value.get("and")
        if isinstance(joined, list) and not ("yes" in value or "no" in value):
            parts = [next(_lines(part, depth + 1), "") for part in joined]
            yield " ".join(part for part in parts if part)
            return
        for key in _BRANCHES:
            if key in value and key not in ("concatenate", "and"):
                yield from _lines(value[key], depth + 1)
        for key, inner in value.items():
            if key in _BARE_CONDITIONS and isinstance(inner, (str, list, dict)):
                yield from _lines(inner, depth + 1)


def _responses(entry: dict[str, Any]) -> Iterator[str]:
    repeated = entry.get("repeat_responses")
    wrapped = [record(item).get("response") for item in (repeated if isinstance(repeated, list) else [repeated])]
    for response in [*items(entry.get("responses")), *wrapped]:
        response = record(response)
        yield _text(response.get("text"))
        either = record(response.get("truefalsetext"))
        yield _text(either.get("true"))
        yield _text(either.get("false"))
