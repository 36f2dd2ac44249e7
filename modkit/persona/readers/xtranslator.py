"""Translation files of Bethesda's games: xTranslator XML, SSE-AT and DSD JSON, and who speaks them.

Neither format names a speaker. A table made with xEdit does, by form id (columns FormID and Speaker),
and is joined where it is given; without it the speaker is nobody.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.bethesda_text import form_id, language_of, shown
from modkit.persona.readers.documents import parse_json, xml_trees
from modkit.persona.readers.records import columns
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile
from modkit.persona.readers.values import entries

_KINDS = {
    "INFO:NAM1": "dialogue",
    "INFO:RNAM": "choice",
    "DIAL:FULL": "choice",
    "QUST:CNAM": "journal",
    "QUST:NNAM": "journal",
    "BOOK:DESC": "journal",
}
_EDITOR_FORM = re.compile(r"\[([0-9A-Fa-f]{6,8})\]")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One string of a translation file, whichever format it came in."""

    record: str  # "INFO:NAM1"
    editor_id: str
    form: tuple[str, str] | None
    index: str
    source: str
    dest: str
    place: int | str


def _record(text: str) -> str:
    return ":".join(text.upper().replace(":", " ").split())


def _xml_sniff(file: DumpFile) -> float:
    return 1.0 if "<SSTXMLRessources" in file.head[:4000] else 0.0


def _xml_entries(file: DumpFile, languages: list[str | None]) -> Iterator[_Entry]:
    """The strings; `languages` is set to the two that the file states as soon as it has."""
    addon = ""
    for element in xml_trees(file, ("Params", "String")):
        if element.tag == "Params":
            addon = element.child_text("Addon")
            languages[:] = [element.child_text("Source") or None, element.child_text("Dest") or None]
            continue
        record = element.child("REC")
        if record is None:
            continue
        editor_id = element.child_text("EDID").strip()
        found = _EDITOR_FORM.search(editor_id[:200])
        yield _Entry(
            _record(record.text),
            editor_id,
            form_id(found.group(1), addon) if found else None,
            record.attributes.get("id", ""),
            element.child_text("Source"),
            element.child_text("Dest"),
            element.line,
        )


def _json_sniff(file: DumpFile) -> float:
    head = file.head[:8000]
    found = head.lstrip()[:1] in "[{" and '"form_id"' in head and '"type"' in head and '"string"' in head
    return 0.95 if found else 0.0


def _json_entries(file: DumpFile) -> Iterator[_Entry]:
    if file.head.lstrip().startswith("["):
        values = entries(file)
    else:
        value = parse_json(file)
        values_of = value.values() if isinstance(value, dict) else ()
        listed = next((item for item in values_of if isinstance(item, list)), None)
        if listed is None:
            raise DumpError(f"{file.name} has no list of strings as SSE-AT and DSD write it")
        values = iter(listed)
    for number, item in enumerate(values, 1):
        if not isinstance(item, dict):
            continue
        texts = {key: item[key] for key in item if isinstance(item[key], str)}
        yield _Entry(
            _record(texts.get("type", "")[:40]),
            texts.get("editor_id", ""),
            form_id(texts.get("form_id", "")),
            str(item.get("index", ""))[:20],
            texts.get("original", ""),
            texts.get("string", ""),
            f"entry {number}",
        )


def _note(entries: Iterator[_Entry], join: Join) -> None:
    names = join.table("bethesda.names")
    join.table("bethesda.texts")["any"] = True
    for entry in entries:
        if entry.record == "NPC_:FULL" and entry.editor_id and (entry.source or entry.dest):
            names.setdefault(entry.editor_id.casefold(), entry.source or entry.dest)


def _scan_xml(file: DumpFile, join: Join) -> None:
    with suppress(DumpError):  # read() meets the same damage after it has given what stands before it
        _note(_xml_entries(file, []), join)


def _scan_json(file: DumpFile, join: Join) -> None:
    with suppress(DumpError):
        _note(_json_entries(file), join)


@reader("xtranslator", "xTranslator XML", sniff=_xml_sniff, extensions=(".xml",), scan=_scan_xml)
def read_xtranslator(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Responses, prompts, journal entries and books, in both languages where they differ."""
    languages: list[str | None] = [None, None]
    for entry in _xml_entries(file, languages):
        yield from _lines(file, join, entry, languages)


@reader("sse-at", "SSE-AT or DSD JSON", sniff=_json_sniff, extensions=(".json",), scan=_scan_json)
def read_sse_at(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """As for xTranslator; the file does not state its languages, the folder it lies in may state the translation's."""
    languages = [None, language_of(file.path)]
    for entry in _json_entries(file):
        yield from _lines(file, join, entry, languages if entry.source else languages[1:] * 2)


def _lines(file: DumpFile, join: Join, entry: _Entry, languages: list[str | None]) -> Iterator[Line | None]:
    kind = _KINDS.get(entry.record)
    if kind is None:
        return
    speaker, scene = _spoken_by(join, entry) if kind == "dialogue" else (None, None)
    form = entry.form[1] if entry.form else entry.editor_id
    identity = f"{form} {entry.record} {entry.index}".strip() if form else None
    texts = [(entry.source, languages[0])]
    if entry.dest.strip() and entry.dest.strip() != entry.source.strip():
        texts.append((entry.dest, languages[1]))
    for text, lang in texts:
        yield file.line(entry.place, shown(text), speaker, kind, scene=scene, lang=lang, id=identity)


def _spoken_by(join: Join, entry: _Entry) -> tuple[str | None, str | None]:
    """(speaker, scene) of a response, from the speaker table; (None, None) where it says nothing."""
    if entry.form is None:
        return None, None
    speakers = join.table("bethesda.speakers")
    plugin, form = entry.form
    found = speakers.get(f"{plugin}|{form}") if plugin else None
    found = found or speakers.get(f"|{form}")
    if not isinstance(found, tuple):
        return None, None
    speaker, scene = found
    name = join.table("bethesda.names").get((speaker or "").casefold())
    return (name if isinstance(name, str) else speaker or None), scene or None


def _table_names(file: DumpFile) -> tuple[str, list[str]] | None:
    """(separator, plain headers) of a table of speakers by form id; None for any other file."""
    first = file.head.split("\n", 1)[0].strip()[:2000]
    for separator in ",;\t|":
        headers = [re.sub(r"[\W_]+", "", cell).casefold() for cell in first.split(separator)]
        if "formid" in headers and "speaker" in headers and "text" not in columns(first.split(separator)):
            return separator, headers
    return None


def _table_sniff(file: DumpFile) -> float:
    return 0.95 if _table_names(file) else 0.0


def _scan_table(file: DumpFile, join: Join) -> None:
    found = _table_names(file)
    if found is None:
        raise DumpError(f"{file.name} has no columns FormID and Speaker")
    separator, headers = found
    speakers = join.table("bethesda.speakers")
    rows = csv.reader((line for _, line in file.lines()), delimiter=separator)
    try:
        for row in rows:
            cells = dict(zip(headers, row))
            form = form_id(cells.get("formid", ""), cells.get("plugin", ""))
            speaker = cells.get("speaker", "").strip()
            if form is None or not speaker:
                continue
            said = (speaker, cells.get("parentdialedid", "").strip())
            speakers.setdefault("|".join(form), said)
            # Without the plugin a form id names its speaker only while no other plugin uses it too.
            loose = speakers.setdefault(f"|{form[1]}", said)
            if loose is not None and loose != said:
                speakers[f"|{form[1]}"] = None
    except csv.Error as error:
        raise DumpError(f"{file.name} is damaged: {error}") from None


@reader("speaker table", "table of speakers by form id", sniff=_table_sniff, extensions=(".csv",), scan=_scan_table)
def read_speaker_table(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Nothing of its own: the speakers it names are joined with translation files."""
    if not join.table("bethesda.texts"):
        raise DumpError(f"{file.name} names speakers and holds no text: give the xTranslator XML with it")
    yield None
