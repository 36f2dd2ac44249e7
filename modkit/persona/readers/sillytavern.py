"""SillyTavern chats (JSON lines): a header with the names, then a message per line.

The user's messages keep the user's name and are never the character's. System notes are passed over,
a narrator's text is narration, and `{{char}}` and `{{user}}` become the names the header states.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.documents import plain_markup
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile
from modkit.persona.readers.values import record, string

_HEADER = re.compile(r'\A\s*\{[^\n]{0,2000}"(?:chat_metadata|character_name)"\s*:')
_MESSAGE = re.compile(r'"is_user"\s*:\s*(?:true|false)')
_MACRO = re.compile(r"\{\{(char|user)\}\}|<(BOT|USER)>", re.IGNORECASE)
_EMPHASIS = re.compile(r"(\*{1,3})(?=\S)([^*\n]{1,2000}?)(?<=\S)\1")
_UNSAID = re.compile(  # what a model thought, and remarks of extensions
    r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)|<!--.*?(?:-->|\Z)", re.DOTALL | re.IGNORECASE
)
_UNSET = {"", "unused"}


def _sniff(file: DumpFile) -> float:
    head = file.head
    if not head.lstrip().startswith("{"):
        return 0.0
    return 0.97 if _MESSAGE.search(head) and ('"mes"' in head or _HEADER.match(head)) else 0.0


def _parsed(text: str) -> dict[str, Any]:
    try:
        return record(json.loads(text, strict=False, parse_int=lambda digits: digits[:20]))
    except RecursionError:
        raise ValueError("nested too deeply") from None


@reader("sillytavern", "SillyTavern chat", sniff=_sniff, extensions=(".jsonl",))
def read_sillytavern(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every message of the user and of the characters."""
    user = character = ""
    good = bad = 0
    for number, text in file.lines():
        if not text.strip():
            continue
        try:
            entry = _parsed(text)
        except ValueError:
            bad += 1
            file.warn(f"line {number} is not JSON")
            continue
        good += 1
        if "mes" not in entry:
            named = {key: string(entry.get(key)) for key in ("user_name", "character_name")}
            user = user if named["user_name"] in _UNSET else named["user_name"]
            character = character if named["character_name"] in _UNSET else named["character_name"]
            continue
        extra = record(entry.get("extra"))
        narrated = string(extra.get("type")) == "narrator"
        if entry.get("is_system") is True and not narrated:
            continue
        name, is_user = string(entry.get("name")), entry.get("is_user") is True
        if is_user:
            user = user or name
        elif not narrated:
            character = character or name
        yield file.line(
            number,
            _plain(string(entry["mes"]), user, character),
            None if narrated else name,
            "narration" if narrated else "dialogue",
            scene=file.path.stem,
            addressee=None if narrated else (character if is_user else user) or None,
        )
    if bad > good:
        raise DumpError(f"{file.name} is damaged: {bad} of {bad + good} lines are not JSON")


def _plain(text: str, user: str, character: str) -> str:
    if "<" in text:
        text = _UNSAID.sub(" ", text)
    text = _EMPHASIS.sub(r"\2", plain_markup(_MACRO.sub(lambda found: _named(found, user, character), text)))
    return text.replace("```", " ")


def _named(found: re.Match[str], user: str, character: str) -> str:
    which = (found.group(1) or found.group(2)).casefold()
    return (user if which == "user" else character) or found.group(0)
