"""Cyberpunk 2077: scenes, subtitles, onscreen texts, voice-over maps and listings of voice files.

A scene says who speaks and holds the texts or the ids of subtitles; a voice file's name says who
speaks its id. All of them are seen before the first is read, so they may come in any order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.cyberpunk_journal import read_journal, scan_journal
from modkit.persona.readers.documents import number_text
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile
from modkit.persona.readers.wolvenkit import (
    JOURNAL,
    ONSCREENS,
    PLAYER,
    SCENE,
    SUBTITLES,
    VOICES,
    language,
    load,
    loc_value,
    properties,
    shown,
    variant,
    voice_of,
    walk,
)

_NO_ACTOR = "4294967295"  # of a cut line or a comment
_DOCUMENTS = frozenset((SCENE, SUBTITLES, ONSCREENS, VOICES, JOURNAL, "localizationPersistenceSubtitleMap"))
_ENGLISH = ("en-us", "en_us")
_VOICE_LINE = re.compile(r"(?m)^[^\n]{0,400}_[fmi]_[0-9a-fA-F]{16}\.wem[ \t\"',]*\r?$")
_SIGNATURE_ORDER = {"3": 0, "2": 1, "1": 2}  # for both, for a female V, for a male V


@dataclass(frozen=True, slots=True)
class _Spoken:
    """What a scene says of one line. `text` is the English it holds itself, "" when that is elsewhere."""

    id: str
    speaker: str | None
    addressee: str | None
    kind: str
    scene: str
    text: str


def _sniff(file: DumpFile) -> float:
    head = file.head
    if '"WKitJsonVersion"' in head[:4000]:
        return 1.0
    marks = ('"scnSceneResource"', '"localizationPersistence', '"locVoiceoverMap"', '"gameJournalResource"')
    return 0.95 if head.lstrip()[:1] == "{" and any(mark in head for mark in marks) else 0.0


def _documents(root: object) -> list[tuple[str, dict[str, Any]]]:
    return list(walk(root, _DOCUMENTS))


def _entries(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    entries = node.get("entries", node.get("Entries"))
    for entry in entries if isinstance(entries, list) else ():
        yield properties(entry)


def _scan(file: DumpFile, join: Join) -> None:
    root = load(file)
    lang = language(file, root)
    for kind, node in _documents(root):
        if kind == SUBTITLES:
            subtitles = join.table("wolvenkit.subtitles")
            for entry in _entries(node):
                key, text = number_text(entry.get("stringId")), variant(entry)
                if key and text:
                    found = subtitles.setdefault(key, {})
                    assert isinstance(found, dict)
                    found.setdefault(lang, text)
        elif kind == ONSCREENS:
            # English wins over another language, so a journal does not change its language from line to line.
            onscreens = join.table("wolvenkit.onscreens")
            for entry in _entries(node):
                for key in _onscreen_keys(entry):
                    if lang in _ENGLISH:
                        onscreens[key] = variant(entry)
                    else:
                        onscreens.setdefault(key, variant(entry))
        elif kind == VOICES:
            voices = join.table("wolvenkit.voices")
            for entry in _entries(node):
                paths = (loc_value(entry.get("femaleResPath")), loc_value(entry.get("maleResPath")))
                voice = next((found for path in paths if (found := voice_of(path))), None)
                key = number_text(entry.get("stringId"))
                if voice and key:
                    voices.setdefault(key, voice[1])
        elif kind == SCENE:
            spoken = join.table("wolvenkit.spoken")
            for said in _scene_lines(file, node):
                spoken.setdefault(said.id, said)
        elif kind == JOURNAL:
            scan_journal(node, join)


@reader("cyberpunk", "Cyberpunk 2077 (WolvenKit JSON)", sniff=_sniff, extensions=(".json",), scan=_scan)
def read_wolvenkit(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """The lines of a scene, the subtitles and texts no other file of the set says better, a journal."""
    root = load(file)
    documents = _documents(root)
    if not documents:
        raise DumpError(
            f"{file.name} is WolvenKit JSON of a type without speech: give scenes, subtitles, onscreens and journals"
        )
    lang = language(file, root)
    for kind, node in documents:
        if kind == SCENE:
            yield from _read_scene(file, node, join)
        elif kind == SUBTITLES:
            yield from _read_subtitles(file, node, join, lang)
        elif kind == ONSCREENS:
            yield from _read_onscreens(file, node, join, lang)
        elif kind == JOURNAL:
            yield from read_journal(file, node, join, lang)
        elif not join.table("wolvenkit.subtitles"):
            file.warn("names files and holds no text: give the subtitles with it")


def _onscreen_keys(entry: dict[str, Any]) -> list[str]:
    primary, secondary = number_text(entry.get("primaryKey")), loc_value(entry.get("secondaryKey"))
    return [key for key in (primary if primary != "0" else "", secondary) if key]


def _scene_lines(file: DumpFile, node: dict[str, Any]) -> Iterator[_Spoken]:
    actors: dict[str, str | None] = {_NO_ACTOR: None, "": None}
    for key, nameless in (("actors", None), ("playerActors", PLAYER)):
        for item in _list(node, key):
            actor = properties(item)
            identity = _inner(actor, "actorId", "id")
            actors.setdefault(identity, loc_value(actor.get("actorName")) or nameless)
    texts = _embedded(node)
    store = properties(node.get("screenplayStore"))
    scene = file.path.name.partition(".")[0]
    for kind, key in (("dialogue", "lines"), ("choice", "options")):
        for item in _list(store, key):
            line = properties(item)
            ruid, speaker = _inner(line, "locstringId", "ruid"), _inner(line, "speaker", "id")
            if not ruid or ruid == "0" or (kind == "dialogue" and speaker in (_NO_ACTOR, "")):
                continue
            addressee = actors.get(_inner(line, "addressee", "id"))
            if kind == "choice":
                yield _Spoken(ruid, None, None, kind, scene, texts.get(ruid, ""))
            else:
                yield _Spoken(ruid, actors.get(speaker), addressee, kind, scene, texts.get(ruid, ""))


def _embedded(node: dict[str, Any]) -> dict[str, str]:
    """ruid to the English text a scene holds itself."""
    store = properties(node.get("locStore"))
    contents = {
        _inner(entry, "variantId", "ruid"): loc_value(entry.get("content"))
        for entry in map(properties, _list(store, "vpEntries"))
    }
    best: dict[str, tuple[int, str]] = {}
    for entry in map(properties, _list(store, "vdEntries")):
        # db_db holds drafts and stage directions, the other locales are translations of the game's own.
        if loc_value(entry.get("localeId")).casefold().replace("-", "_") != "en_us":
            continue
        ruid, text = _inner(entry, "locstringId", "ruid"), contents.get(_inner(entry, "variantId", "ruid"), "")
        rank = _SIGNATURE_ORDER.get(_inner(entry, "signature", "val"), 3)
        if text and (ruid not in best or rank < best[ruid][0]):
            best[ruid] = (rank, text)
    return {ruid: text for ruid, (_, text) in best.items()}


def _list(node: dict[str, Any], key: str) -> list[Any]:
    found = node.get(key)
    return found if isinstance(found, list) else []


def _inner(node: dict[str, Any], key: str, inner: str) -> str:
    """`node[key][inner]` as text, where the file may also have written the value without the wrapping."""
    value = node.get(key)
    if isinstance(value, dict):
        value = properties(value).get(inner)
    return number_text(value)


def _chosen(said: _Spoken, join: Join) -> tuple[str | None, str]:
    """(language, text) in which a scene's line is shown: its own, else the subtitles', English first."""
    if said.text:
        return "en-us", said.text
    found = join.table("wolvenkit.subtitles").get(said.id)
    if not isinstance(found, dict) or not found:
        return None, ""
    lang = next((each for each in _ENGLISH if each in found), next(iter(found)))
    return lang, found[lang]


def _read_scene(file: DumpFile, node: dict[str, Any], join: Join) -> Iterator[Line | None]:
    missing = 0
    for number, said in enumerate(_scene_lines(file, node), 1):
        lang, text = _chosen(said, join)
        missing += not text
        yield file.line(
            f"{'option' if said.kind == 'choice' else 'line'} {said.id}",
            shown(text),
            said.speaker,
            said.kind,
            scene=said.scene,
            addressee=said.addressee,
            lang=lang,
            id=said.id,
        )
        if number > 1_000_000:
            raise DumpError(f"{file.name} has more than a million lines in one scene")
    if missing:
        file.warn(f"{missing} lines have their text in subtitles that were not given")


def _read_subtitles(file: DumpFile, node: dict[str, Any], join: Join, lang: str | None) -> Iterator[Line | None]:
    spoken, voices = join.table("wolvenkit.spoken"), join.table("wolvenkit.voices")
    for entry in _entries(node):
        key, text = number_text(entry.get("stringId")), variant(entry)
        said = spoken.get(key)
        if isinstance(said, _Spoken):
            shown_lang, shown_text = _chosen(said, join)
            if shown_lang == lang or shown_text == text:
                continue  # the scene says it, in its place among the others
            yield file.line(
                f"entry {key}",
                shown(text),
                said.speaker,
                said.kind,
                scene=said.scene,
                addressee=said.addressee,
                lang=lang,
                id=key,
            )
            continue
        voice = voices.get(key)
        speaker = voice if isinstance(voice, str) else None
        speaker = PLAYER if speaker in ("v", "V") else speaker
        yield file.line(f"entry {key}", shown(text), speaker, lang=lang, id=key or None)


def _read_onscreens(file: DumpFile, node: dict[str, Any], join: Join, lang: str | None) -> Iterator[Line | None]:
    for number, entry in enumerate(_entries(node), 1):
        keys = _onscreen_keys(entry)
        if any(key in join.table("wolvenkit.shown") for key in keys):
            continue
        place = f"entry {keys[-1]}" if keys else f"entry {number}"
        yield file.line(place, shown(variant(entry)), kind="narration", lang=lang, id=keys[-1] if keys else None)


def _listing_sniff(file: DumpFile) -> float:
    rows = [row for row in file.head.splitlines() if row.strip()]
    return 0.95 if rows and 2 * len(_VOICE_LINE.findall(file.head)) >= len(rows) else 0.0


def _scan_listing(file: DumpFile, join: Join) -> None:
    voices = join.table("wolvenkit.voices")
    for _, line in file.lines():
        voice = voice_of(line.rstrip(" \t\"',"))
        if voice:
            voices.setdefault(*voice)


@reader("wem listing", "listing of Cyberpunk 2077 voice files", sniff=_listing_sniff, scan=_scan_listing)
def read_listing(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Nothing of its own: the speakers it names are joined with subtitles."""
    if not join.table("wolvenkit.subtitles"):
        raise DumpError(f"{file.name} lists voice files and holds no text: give the subtitles with it")
    yield None
