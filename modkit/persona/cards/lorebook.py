"""Lorebooks: the `character_book` of a card, standalone V3 books, and SillyTavern's world info files.

An entry speaks when one of its keys is in what was said lately. Everything that was read is kept and written
back, what modkit does not use included. Nothing here is run: a key that is a regular expression is tried only
when its shape cannot make the matcher hang.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modkit.errors import CardError
from modkit.persona.cards.reading import MAX_JSON, parse_json, read
from modkit.persona.values import record, string

__all__ = ["LoreEntry", "Lorebook", "read_lorebook"]

MAX_ENTRIES = 20_000
_SCANNED = 8_000  # characters of talk that keys are looked for in
_ROUNDS = 3  # of entries that wake other entries
_DECORATOR = re.compile(r"@@@?([a-z_]{1,40})(?:[ \t]+(.*))?")
_SLASHED = re.compile(r"/(.{1,500})/([gimsuy]{0,6})", re.DOTALL)
_UNBOUNDED = re.compile(r"[*+]|\{\d*,\d*\}")


def texts(value: Any) -> list[str]:
    """`value` as texts: a list's, or those of a string with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [string(item) for item in value if string(item)] if isinstance(value, list) else []


def whole(value: Any, default: int) -> int:
    """`value` as a whole number, `default` when it is none or beyond reason."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -(10**9) < value < 10**9:
        return default
    return int(value)


@dataclass
class LoreEntry:
    """One piece of lore and what wakes it. `order`: lower stands earlier; `priority`: lower leaves first."""

    content: str
    keys: list[str] = field(default_factory=list)
    secondary: list[str] = field(default_factory=list)
    logic: str = "any"  # of the secondary keys: "any", "not all", "not any", "all"
    name: str = ""
    comment: str = ""
    enabled: bool = True
    constant: bool = False
    order: int = 100
    priority: int = 100
    case_sensitive: bool = False
    whole_words: bool = False
    regex: bool = False
    extensions: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)

    def decorators(self) -> dict[str, str]:
        """The `@@name value` lines that its content begins with; the first of each name counts."""
        found: dict[str, str] = {}
        for line in self.content.split("\n"):
            mark = _DECORATOR.fullmatch(line.strip())
            if mark is None:
                break
            found.setdefault(mark.group(1), (mark.group(2) or "").strip())
        return found

    def said(self) -> str:
        """Its content without decorators."""
        lines = self.content.split("\n")
        while lines and _DECORATOR.fullmatch(lines[0].strip()):
            lines.pop(0)
        return "\n".join(lines).strip()

    def wakes(self, talk: str, turn: int = 1) -> bool:
        """Whether `talk` wakes it at the `turn`-th turn (from 1)."""
        marks = self.decorators()
        if not self.enabled or "dont_activate" in marks or not self.said():
            return False
        after, every = _number(marks.get("activate_only_after")), _number(marks.get("activate_only_every"))
        if turn <= after or (every > 1 and turn % every):
            return False
        if self._any(texts(marks.get("exclude_keys", "")), talk):
            return False
        if self.constant or "activate" in marks:
            return True
        if not self._any(self.keys, talk):
            return False
        if not all(self._in(key, talk) for key in texts(marks.get("additional_keys", ""))):
            return False
        if not self.secondary:
            return True
        hits = [self._in(key, talk) for key in self.secondary]
        return {"any": any(hits), "all": all(hits), "not any": not any(hits), "not all": not all(hits)}[self.logic]

    def _any(self, keys: Sequence[str], talk: str) -> bool:
        return any(self._in(key, talk) for key in keys)

    def _in(self, key: str, talk: str) -> bool:
        slashed = _SLASHED.fullmatch(key)
        if self.regex or slashed:
            pattern, flags = (slashed.group(1), slashed.group(2)) if slashed else (key, "")
            return _search(pattern, "i" in flags or not (slashed or self.case_sensitive), talk)
        key = key.strip()
        if not key:
            return False
        if not self.case_sensitive:
            key, talk = key.casefold(), talk.casefold()
        if not self.whole_words:
            return key in talk
        return re.search(rf"(?<!\w){re.escape(key)}(?!\w)", talk) is not None


def _number(value: str | None) -> int:
    return int(value) if value and value.isdecimal() and len(value) < 9 else 0


def _search(pattern: str, fold: bool, talk: str) -> bool:
    """A search whose cost is bounded: at most one unbounded repeat, none of a group, no look back at what matched."""
    if len(pattern) > 500 or len(_UNBOUNDED.findall(pattern)) > 1 or re.search(r"\)\s*[*+{]|\\[1-9]|\(\?P=", pattern):
        return False
    try:
        return re.search(pattern, talk[-2000:], re.IGNORECASE if fold else 0) is not None
    except (re.error, OverflowError, RecursionError):  # as the format's description says: a bad pattern matches nothing
        return False


@dataclass
class Lorebook:
    """Entries and how they are looked for. `scan_depth`: messages that are looked at; `token_budget`: 0 is none."""

    entries: list[LoreEntry] = field(default_factory=list)
    name: str = ""
    description: str = ""
    scan_depth: int = 4
    token_budget: int = 0
    recursive: bool = False
    raw: dict[str, Any] = field(default_factory=dict)

    def active(self, messages: Sequence[str], *, turn: int = 1, tokens: int | None = None) -> list[LoreEntry]:
        """The entries that `messages` (oldest first) wake, in their order.

        `tokens` (default: the book's own budget) is what they may take in all, four characters a token; what has the
        lowest priority leaves first. `turn` counts from 1.
        """
        talk = "\n".join(messages[-max(1, self.scan_depth) :])[-_SCANNED:]
        awake: list[LoreEntry] = []
        for _ in range(_ROUNDS if self.recursive else 1):
            asleep = [entry for entry in self.entries if not any(entry is other for other in awake)]
            new = [entry for entry in asleep if entry.wakes(self._near(entry, talk, messages), turn)]
            awake += new
            if not new:
                break
            talk = (talk + "\n" + "\n".join(entry.said() for entry in new))[-_SCANNED:]
        budget = self.token_budget if tokens is None else tokens
        if budget > 0:
            room = 4 * budget
            for entry in sorted(awake, key=lambda e: (not e.constant, -e.priority, e.order)):
                room -= len(entry.said())
                if room < 0:
                    awake = [other for other in awake if other is not entry]
                    room += len(entry.said())
        return sorted(awake, key=lambda e: e.order)

    @staticmethod
    def _near(entry: LoreEntry, talk: str, messages: Sequence[str]) -> str:
        own = _number(entry.decorators().get("scan_depth"))
        return "\n".join(messages[-own:])[-_SCANNED:] if own else talk

    @classmethod
    def parse(cls, value: Any) -> Lorebook:
        """From JSON: a card's book, a standalone one, or SillyTavern's world info. Raises CardError."""
        book = record(value)
        if str(book.get("spec", "")).startswith("lorebook") and isinstance(book.get("data"), dict):
            book = book["data"]
        rows = book.get("entries")
        if isinstance(rows, dict):
            listed = [_from_world_info(record(row)) for row in list(rows.values())[:MAX_ENTRIES]]
        elif isinstance(rows, list):
            listed = [_from_card(record(row)) for row in rows[:MAX_ENTRIES]]
        else:
            raise CardError("this is no lorebook: it has no entries; give a card's book or a world info file")
        return cls(
            listed,
            string(book.get("name")),
            string(book.get("description")),
            whole(book.get("scan_depth"), 4),
            max(0, whole(book.get("token_budget"), 0)),
            bool(book.get("recursive_scanning")),
            {key: copy.deepcopy(item) for key, item in book.items() if key != "entries"},
        )

    def as_json(self, version: int = 3) -> dict[str, Any]:
        """A card's `character_book` of this version (2 or 3), with all that was read."""
        made: dict[str, Any] = {"extensions": {}, **copy.deepcopy(self.raw)}
        if self.name:
            made["name"] = self.name
        if self.description:
            made["description"] = self.description
        if "scan_depth" in made or self.scan_depth != 4:
            made["scan_depth"] = self.scan_depth
        if "token_budget" in made or self.token_budget:
            made["token_budget"] = self.token_budget
        if "recursive_scanning" in made or self.recursive:
            made["recursive_scanning"] = self.recursive
        if not isinstance(made["extensions"], dict):
            made["extensions"] = {}
        made["entries"] = [_to_card(entry, version) for entry in self.entries]
        return made


_LOGIC = ("any", "not all", "not any", "all")


def _from_card(row: dict[str, Any]) -> LoreEntry:
    extra = record(row.get("extensions"))
    return LoreEntry(
        string(row.get("content")),
        texts(row.get("keys")),
        texts(row.get("secondary_keys")) if row.get("selective", bool(row.get("secondary_keys"))) else [],
        _LOGIC[whole(extra.get("selectiveLogic"), 0) % 4],
        string(row.get("name")),
        string(row.get("comment")),
        row.get("enabled") is not False,
        bool(row.get("constant")),
        whole(row.get("insertion_order"), 100),
        whole(row.get("priority"), 100),
        bool(row.get("case_sensitive")),
        bool(extra.get("match_whole_words")),
        bool(row.get("use_regex")),
        copy.deepcopy(extra),
        copy.deepcopy(row),
    )


def _from_world_info(row: dict[str, Any]) -> LoreEntry:
    known = {
        "uid": "id",
        "key": "keys",
        "keysecondary": "secondary_keys",
        "order": "insertion_order",
        "content": "content",
        "comment": "comment",
        "constant": "constant",
        "selective": "selective",
    }
    made: dict[str, Any] = {name: row[old] for old, name in known.items() if old in row}
    made["enabled"] = not row.get("disable")
    if row.get("caseSensitive") is not None:
        made["case_sensitive"] = bool(row["caseSensitive"])
    extra = {_snake(key): copy.deepcopy(value) for key, value in row.items() if key not in known and key != "disable"}
    made["position"] = "before_char" if whole(row.get("position"), 1) == 0 else "after_char"
    made["extensions"] = extra
    return _from_card(made)


_CAMEL = frozenset({"selectiveLogic", "useProbability"})  # SillyTavern spells these so inside a card as well


def _snake(key: str) -> str:
    return key if key in _CAMEL else re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: "_" + found.group().lower(), key)


def _to_card(entry: LoreEntry, version: int) -> dict[str, Any]:
    made = copy.deepcopy(entry.raw)
    made.update(
        keys=list(entry.keys),
        content=entry.content,
        enabled=entry.enabled,
        insertion_order=entry.order,
        extensions=copy.deepcopy(entry.extensions),
    )
    if "secondary_keys" not in made and entry.secondary:
        made.update(secondary_keys=list(entry.secondary), selective=True)
    for key, value, default in (
        ("name", entry.name, ""),
        ("comment", entry.comment, ""),
        ("constant", entry.constant, False),
        ("priority", entry.priority, 100),
        ("case_sensitive", entry.case_sensitive, False),
    ):
        if key in made or value != default:
            made[key] = value
    if version >= 3 or "use_regex" in made:
        made["use_regex"] = entry.regex
    return made


def read_lorebook(path: str | Path) -> Lorebook:
    """The lorebook in a JSON file: standalone, world info, or a card's. Raises CardError."""
    path = Path(path)
    value = record(parse_json(read(path, MAX_JSON), path.name))
    inner = record(value.get("data")).get("character_book") if "data" in value else value.get("character_book")
    try:
        return Lorebook.parse(inner if isinstance(inner, dict) else value)
    except CardError as error:
        raise CardError(f"{path.name}: {error}") from None
