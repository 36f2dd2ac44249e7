"""Stardew Valley: content packs (Content Patcher), their i18n texts, and the game's own unpacked dialogue.

A content pack says which character's file it changes; its texts are mostly keys of i18n/default.json.
A key that is drawn at random stands for every key it could be.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.documents import parse_json
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile
from modkit.persona.readers.stardew_text import dialogue, event, letter

_MAX_VALUE = 40_000
_MAX_ALTERNATIVES = 400
_MAX_WILDCARDS = 20_000  # keys compared for one value

_PACK = re.compile(r'"Changes"\s{0,10}:')
_ACTION = re.compile(r'"Action"\s{0,10}:\s{0,10}"(?:EditData|Load|Include|EditMap|EditImage)"', re.IGNORECASE)
_FLAT_CODES = re.compile(r'#\$[be]#|\$(?:\d{1,2}|[hsula])"')
_BARE_TOKEN = re.compile(r"\{\{[^{}]{1,200}\}\}")
_TOKEN = re.compile(r"\{\{\s{0,4}i18n\s{0,4}:", re.IGNORECASE)
_LANGUAGE_FILE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z]{2,4})?\Z")
_NOT_SPEECH = re.compile(r"config\.|.*\.(?:name|description)\Z", re.IGNORECASE)
_ANY = "\0"  # inside a key: a token that the game fills in


class _Texts:
    """The texts of one mod in one language, and which keys a pattern can mean."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self._sorted: list[str] | None = None
        self._patience = 2_000_000  # keys compared in all, so that a hostile file ends

    def find(self, key: str) -> list[str]:
        pieces = key.split(_ANY)
        if len(pieces) == 1:
            found = self.texts.get(key)
            return [found] if found is not None else []
        if self._sorted is None:
            self._sorted = sorted(self.texts)
        first, last = pieces[0], pieces[-1]
        found_texts: list[str] = []
        start = bisect_left(self._sorted, first)
        for each in self._sorted[start : start + _MAX_WILDCARDS] if first else ():
            self._patience -= 1
            if self._patience < 0 or not each.startswith(first) or len(found_texts) >= _MAX_ALTERNATIVES:
                break
            if each.endswith(last) and len(each) > len(first) + len(last) and _in_order(each, pieces):
                found_texts.append(self.texts[each])
        return found_texts


def _in_order(key: str, pieces: list[str]) -> bool:
    at = 0
    for number, piece in enumerate(pieces):
        at = key.find(piece, at + (1 if number else 0))
        if at < 0:
            return False
        at += len(piece) - (1 if number and piece == "" else 0)
    return True


def _is_i18n(file: DumpFile) -> bool:
    return any(part.casefold() == "i18n" for part in file.path.parts[-3:-1])


def _i18n_sniff(file: DumpFile) -> float:
    # A flat object of texts; nested ones are the texts of some web site.
    return 0.75 if _is_i18n(file) and file.suffix == ".json" and file.head.lstrip()[:1] in "{/" else 0.0


def _root(file: DumpFile) -> str:
    """The folder of the mod an i18n file belongs to."""
    parents = list(file.path.parents)
    found = next((parent for parent in parents[:2] if parent.name.casefold() == "i18n"), None)
    return str(found.parent if found else parents[0])


def _flat(file: DumpFile) -> dict[str, str]:
    value = parse_json(file, comments=True)
    if not isinstance(value, dict):
        raise DumpError(f"{file.name} is not an object of keys and texts")
    return {key: text for key, text in value.items() if isinstance(text, str)}


def _scan_i18n(file: DumpFile, join: Join) -> None:
    mods = join.table("stardew.i18n")
    languages = mods.setdefault(_root(file), {})
    assert isinstance(languages, dict)
    texts = languages.setdefault(_i18n_language(file), _Texts({}))
    texts.texts.update({key.strip(): text for key, text in _flat(file).items()})


def _i18n_language(file: DumpFile) -> str | None:
    below = file.path.parent.name
    name = file.path.stem if below.casefold() == "i18n" else below
    return name if _LANGUAGE_FILE.match(name) and name != "default" else None


@reader("stardew i18n", "Stardew Valley i18n", sniff=_i18n_sniff, extensions=(".json",), scan=_scan_i18n)
def read_i18n(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """The texts by themselves, where no content pack says whose they are."""
    if join.table("stardew.packs"):
        return
    lang = _i18n_language(file)
    for key, text in _flat(file).items():
        if _NOT_SPEECH.match(key):
            continue
        spoken = bool(_FLAT_CODES.search(text + '"'))
        for kind, said in dialogue(text[:_MAX_VALUE]):
            kind = "narration" if kind == "dialogue" and not spoken else kind
            yield file.line(f"key {key[:100]}", said, None, kind, lang=lang, id=key)


def _sniff(file: DumpFile) -> float:
    head = file.head
    if head.lstrip()[:1] not in ("{", "/"):
        return 0.0
    if _PACK.search(head) and _ACTION.search(head):
        return 1.0
    if _target_of_path(file) and not _is_i18n(file):
        return 0.9 if file.suffix == ".json" and len(_FLAT_CODES.findall(head)) >= 2 else 0.0
    return 0.0


def _target_of_path(file: DumpFile) -> str | None:
    """The asset a file of the unpacked game is, by its folder: Characters/Dialogue/Abigail."""
    parts = file.path.parts
    for depth, folder in ((2, "dialogue"), (2, "schedules"), (2, "events"), (2, "festivals")):
        if len(parts) > depth and parts[-depth].casefold() == folder:
            return f"{parts[-depth - 1]}/{parts[-depth]}/{file.path.stem}"
    return None


def _scan(file: DumpFile, join: Join) -> None:
    join.table("stardew.packs")[file.name] = True
    if not _PACK.search(file.head):
        return
    loads = join.table("stardew.loads")
    for change in _changes(parse_json(file, comments=True)):
        source, target = change.get("FromFile"), change.get("Target")
        if str(change.get("Action")).casefold() == "load" and isinstance(source, str) and isinstance(target, str):
            loads.setdefault(PurePath(source.replace("\\", "/")).as_posix().casefold(), target)


def _changes(value: object) -> list[dict[str, Any]]:
    found = value.get("Changes") if isinstance(value, dict) else None
    return [change for change in found if isinstance(change, dict)] if isinstance(found, list) else []


@reader("stardew", "Stardew Valley content pack", sniff=_sniff, extensions=(".json",), scan=_scan)
def read_stardew(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every box of every character whose dialogue a pack adds or changes, and its events and letters."""
    writer = _Writer(file, join)
    value = parse_json(file, comments=True)
    changes = _changes(value)
    if not changes and isinstance(value, dict):
        path = file.path.as_posix().casefold()
        loaded = next((target for end, target in join.table("stardew.loads").items() if path.endswith("/" + end)), None)
        target = loaded if isinstance(loaded, str) else _target_of_path(file)
        changes = [{"Target": target or "", "Entries": value}]
    for change in changes:
        targets, entries = change.get("Target"), change.get("Entries")
        if not isinstance(targets, str) or not isinstance(entries, dict):
            continue
        for target in targets.split(",")[:50]:
            for key, text in entries.items():
                for said in _texts_of(target, text):
                    yield from writer.lines(target.strip().replace("\\", "/"), key, said[:_MAX_VALUE])
    if writer.missing:
        file.warn(f"{writer.missing} texts are keys of an i18n file that was not given")


def _texts_of(target: str, value: object) -> Iterator[str]:
    """The text of an entry; of what somebody says at the cinema the texts are deeper down."""
    if isinstance(value, str):
        if value.strip():
            yield value
        return
    reactions = value.get("Reactions") if isinstance(value, dict) else None
    if not isinstance(reactions, list) or not target.strip().casefold().endswith("moviesreactions"):
        return
    for reaction in reactions:
        moments = reaction.get("SpecialResponses") if isinstance(reaction, dict) else None
        for moment in moments.values() if isinstance(moments, dict) else ():
            text = moment.get("Text") if isinstance(moment, dict) else None
            if isinstance(text, str) and text.strip():
                yield text


class _Writer:
    def __init__(self, file: DumpFile, join: Join) -> None:
        self._file = file
        self.missing = 0
        mods = join.table("stardew.i18n")
        above = [str(parent) for parent in file.path.parents]
        root = next((each for each in above if each in mods), next(iter(mods)) if len(mods) == 1 else "")
        languages = mods.get(root, {})
        self._languages: dict[str | None, _Texts] = languages if isinstance(languages, dict) else {}

    def lines(self, target: str, key: str, raw: str) -> Iterator[Line | None]:
        folder, _, tail = target.rpartition("/")
        parts = folder.casefold().split("/")
        for lang, texts in (self._languages or {None: _Texts({})}).items():
            for part, kind, speaker in self._said(parts, tail, key, raw, texts, lang is None):
                if _BARE_TOKEN.fullmatch(part.strip()):  # made by the mod's code while the game runs
                    continue
                place = f"{tail}, {key}"[:150]
                yield self._file.line(place, part, speaker, kind, scene=tail, lang=lang, id=f"{tail} {key}")

    def _said(
        self, folder: list[str], tail: str, key: str, raw: str, texts: _Texts, first: bool
    ) -> Iterator[tuple[str, str, str | None]]:
        """(text, kind, speaker) of what one entry of one asset says."""
        if "events" in folder:
            for speaker, kind, text in event(raw):
                for resolved in self._resolve(text, texts, first):
                    for part_kind, said in dialogue(resolved):
                        kind_here = part_kind if kind == "dialogue" else kind
                        yield said, kind_here, _named(speaker) if kind_here == "dialogue" else None
            return
        mail = tail.casefold() == "mail"
        if not mail and not (speaker_of := _speaker(folder, tail, key)) and folder[0] != "strings":
            return
        for resolved in self._resolve(raw, texts, first):
            if mail:
                yield letter(resolved), "message", None
            elif folder[0] == "strings" and not speaker_of:
                for _, said in dialogue(resolved):
                    yield said, "narration", None
            elif tail.casefold() == "npcgifttastes":
                for text in resolved.split("/")[:10:2]:
                    for kind, said in dialogue(text):
                        yield said, kind, speaker_of if kind == "dialogue" else None
            else:
                for kind, said in dialogue(resolved):
                    yield said, kind, _named(speaker_of) if kind == "dialogue" else None

    def _resolve(self, raw: str, texts: _Texts, first: bool) -> list[str]:
        """`raw` with its i18n keys filled in; more than one text where a key is drawn among several."""
        kept: list[str] = []
        drawn: list[str] = []
        at = missing = 0
        for count, token in enumerate(_TOKEN.finditer(raw)):
            if count > 100:
                break
            key, end = _token_key(raw, token.end())
            found = texts.find(key)
            missing += not found and _ANY not in key
            if token.start() >= at:  # not inside another token, whose default it is then
                kept.append(raw[at : token.start()])
                at = end
                if _ANY not in key and found:
                    kept.append(found[0])
                    continue
            drawn += found
        kept.append(raw[at:])
        if first:
            self.missing += missing
        whole = "".join(kept)
        bare = not whole.strip() or (not first and at == 0)
        return [*([] if bare else [whole]), *drawn[:_MAX_ALTERNATIVES]]


def _token_key(raw: str, at: int) -> tuple[str, int]:
    """(key, end) of the i18n token whose key begins at `at`; tokens inside the key become wildcards."""
    key: list[str] = []
    depth, named = 0, True
    while at < len(raw):
        pair = raw[at : at + 2]
        if pair == "{{":
            depth += 1
            if named and depth == 1:
                key.append(_ANY)
            at += 2
        elif pair == "}}":
            if depth == 0:
                return "".join(key).strip(), at + 2
            depth -= 1
            at += 2
        else:
            if depth == 0 and raw[at] == "|":
                named = False
            if depth == 0 and named:
                key.append(raw[at])
            at += 1
    return "".join(key).strip(), at


def _named(speaker: str | None) -> str | None:
    return None if speaker is None or "{{" in speaker else speaker


def _speaker(folder: list[str], tail: str, key: str) -> str | None:
    """Whose words an asset holds, by its name; where it holds everybody's, the key begins with the name."""
    plain = tail.casefold()
    if folder[-1] == "schedules" and folder[0] != "strings":
        return None  # where somebody goes and when; what is said on the way is in Strings/schedules
    if folder[-1] in ("dialogue", "schedules"):
        if plain in ("rainy", "fishing"):
            return key.partition("_")[0]
        if plain.startswith("marriagedialogue"):
            return tail[len("marriagedialogue") :] or None  # "MarriageDialogue" alone is anybody's
        return tail
    if plain == "engagementdialogue":
        return key.rstrip("0123456789")
    if plain == "moviesreactions":
        return key
    if plain == "npcgifttastes":
        return None if key.startswith("Universal_") else key
    if folder[-1] == "festivals" and key[:1].isupper() and "-" not in key:
        return key.partition("_")[0]
    return None
