"""articy:draft exports: JSON (one file, or the split files of newer versions) and XML.

A dialogue fragment names its speaker by the id of a model, whose display name may stand in any file of
the set; so may the texts, in a localisation file. A menu text is what the player picks.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.documents import Element, parse_json, plain_markup, xml_trees
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile
from modkit.persona.readers.values import record, records, string

_MODEL = re.compile(r'"Properties"\s*:\s*\{\s*"(?:TechnicalName|Id)"')
_LOCALISED = re.compile(r'"\w{1,80}\.(?:Text|DisplayName|MenuText)"\s*:\s*\{\s*"')
_XML_MODEL = re.compile(r"<(?:ArticyData|DialogueFragment|ExportDefinition)\b|/schemas/articydraft/")
_STYLE = re.compile(r"<(style|script|title)\b[^<>]{0,200}>[^<]{0,20000}(?:</\1\s{0,9}>)?", re.IGNORECASE)
_FRAGMENT = "DialogueFragment"
_NOBODY = re.compile(r"(?:0x)?0*$")


def _sniff(file: DumpFile) -> float:
    head = file.head
    if not head.lstrip().startswith("{"):
        return 0.0
    if '"Packages"' in head and ('"Models"' in head or '"Files"' in head):
        return 0.95
    if '"ObjectDefinitions"' in head and '"Project"' in head:  # the models come after 64 KB of definitions
        return 0.95
    if _MODEL.search(head) and '"Type"' in head and '"Objects"' in head[:2000]:
        return 0.95
    return 0.92 if _LOCALISED.search(head[:8000]) else 0.0


def _models(document: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """(type, properties) of every model, in file order."""
    top = record(document)
    packages = [*records(top.get("Packages")), top]
    for package in packages:
        for model in [*records(package.get("Models")), *records(package.get("Objects"))]:
            yield string(model.get("Type")), record(model.get("Properties"))


def _localised(document: object) -> Iterator[tuple[str, str]]:
    """(key, text) of a localisation file: {"DFr_1.Text": {"": {"Text": …}}}."""
    for key, value in record(document).items():
        for text in record(value).values():
            words = text if isinstance(text, str) else string(record(text).get("Text"))
            if words:
                yield key, words
                break


def _scan(file: DumpFile, join: Join) -> None:
    document = parse_json(file)
    names, texts = join.table("articy.names"), join.table("articy.texts")
    for _, properties in _models(document):
        name = string(properties.get("DisplayName"))
        if name:
            names.setdefault(string(properties.get("Id")), name)
    for key, text in _localised(document):
        if "." in key:
            texts.setdefault(key, text)


@reader("articy", "articy:draft JSON", sniff=_sniff, extensions=(".json",), scan=_scan)
def read_articy(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every dialogue fragment with its menu text and stage directions."""
    names, texts = join.table("articy.names"), join.table("articy.texts")

    def shown(value: object) -> str:
        text = string(value)
        found = texts.get(text)
        return plain_markup(found if isinstance(found, str) else text)

    fragments = [(kind, each) for kind, each in _models(parse_json(file)) if "Speaker" in each and "Text" in each]
    # A project that writes its speech in plain fragments has templates for something else, such as menus.
    plain = any(kind == _FRAGMENT and string(each["Text"]) for kind, each in fragments)
    others = sorted({kind[:40] for kind, _ in fragments if kind != _FRAGMENT}) if plain else []
    if others:
        file.warn(f"what its own templates hold was passed over: {', '.join(others[:5])}")
    for kind, properties in fragments:
        if plain and kind != _FRAGMENT:
            continue
        speaker, identifier = string(properties["Speaker"]), string(properties.get("Id"))
        name = None if _NOBODY.match(speaker) else shown(names.get(speaker)) or None
        scene = shown(names.get(string(properties.get("Parent")))) or None
        place = string(properties.get("TechnicalName")) or identifier or "a fragment"
        for key, extra_kind in (("MenuText", "choice"), ("StageDirections", "direction")):
            extra = shown(properties.get(key))
            yield file.line(place, extra, kind=extra_kind, scene=scene, id=f"{identifier}.{key}")
        text = shown(properties["Text"])
        # An empty fragment has nothing but its connections; a key that no file resolves is not speech.
        if text and not re.fullmatch(r"\w{1,80}\.Text", text):
            yield file.line(place, text, name, "dialogue" if name else "narration", scene=scene, id=identifier)


# -- XML --------------------------------------------------------------------------------------------

_NAMED = ("Entity", "Dialogue", "FlowFragment", "Location", "Asset", "Document")


def _sniff_xml(file: DumpFile) -> float:
    return 0.95 if file.head.lstrip().startswith("<") and _XML_MODEL.search(file.head) else 0.0


def _texts(element: Element | None) -> list[tuple[str | None, str]]:
    """(language, text) of a localised property, its HTML taken off."""
    if element is None:
        return []
    found = [
        (child.attributes.get("Language") or child.attributes.get("Lang") or None, child.text)
        for child in element.children
        if child.tag == "LocalizedString"
    ] or [(None, element.text)]
    return [(language, _plain(text)) for language, text in found if text.strip()]


def _plain(text: str) -> str:
    # With ExportMarkup a text is a whole HTML page, its style sheet in front.
    marked = text.lstrip()[:6].casefold().startswith(("<html", "<head", "<style", "<p", "<span", "<body"))
    return html.unescape(plain_markup(_STYLE.sub(" ", text))) if marked else plain_markup(text)


def _scan_xml(file: DumpFile, join: Join) -> None:
    with suppress(DumpError):  # read() meets the same damage after it has given what stands before it
        _note_names(file, join.table("articy.names"))


def _note_names(file: DumpFile, names: dict[str, object]) -> None:
    for element in xml_trees(file, _NAMED):
        name = next((text for _, text in _texts(element.child("DisplayName"))), "")
        name = name or element.attributes.get("DisplayName", "")
        for key in ("Id", "TechnicalName"):
            if name and key in element.attributes:
                names.setdefault(element.attributes[key], name)


@reader("articy-xml", "articy:draft XML", sniff=_sniff_xml, extensions=(".xml",), scan=_scan_xml)
def read_articy_xml(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every dialogue fragment, in each language it has."""
    names = join.table("articy.names")
    for element in xml_trees(file, ("DialogueFragment",)):
        reference = element.child("Speaker")
        given = reference.attributes if reference else element.attributes
        speaker = names.get(given.get("IdRef") or given.get("Id" if reference else "Speaker") or "")
        name = speaker if isinstance(speaker, str) else None
        identifier = element.attributes.get("Id")
        for tag, kind in (("MenuText", "choice"), ("StageDirections", "direction"), ("Text", "")):
            for language, text in _texts(element.child(tag)):
                yield file.line(
                    element.line,
                    text,
                    None if kind else name,
                    kind or ("dialogue" if name else "narration"),
                    lang=language,
                    id=f"{identifier}.{tag}" if kind and identifier else identifier,
                )
