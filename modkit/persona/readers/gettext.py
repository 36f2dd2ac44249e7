"""gettext catalogues (.po, .pot), read line by line.

The translation is taken, and the original where there is none or it is marked fuzzy. Only a comment
such as Wesnoth's `#. [message]: speaker=Mehir` or `#. Speaker: Mehir` names a speaker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from modkit.persona.lines import Line
from modkit.persona.readers.documents import plain_markup
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_FIELD = re.compile(r"(msgctxt|msgid_plural|msgid|msgstr)\s*(?:\[\d{1,2}\])?\s*\"(.*)\"\s*$")
_MORE = re.compile(r"\"(.*)\"\s*$")
_HEAD = re.compile(r'(?m)^msgid "')
_STR = re.compile(r"(?m)^msgstr")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": " ", "r": " "}
_WESNOTH = re.compile(r"\[(\w{1,40})\]\s*(?::\s*(.*))?$")
_PAIR = re.compile(r"(?:^|,\s*)(speaker|id|role)\s*=\s*([^,]{1,80})")
_SPEAKER = re.compile(r"(?:speaker|character|actor|said by|spoken by)\s*[:=]\s*(.{1,80}?)\s*$", re.IGNORECASE)
_KEY = re.compile(r"[A-Za-z]\w*(?:[._]\w+)+$")  # "start_a_new_file": what a program looks its texts up by
_LANGUAGE = re.compile(r"(?m)^Language:\s*([\w@.-]{1,40})", re.IGNORECASE)
_CONTEXT = re.compile(r"[\w][\w -]{0,60}\^")
_ROLES = {"unit", "second_unit", "narrator"}
_KINDS = {"message": "dialogue", "option": "choice", "part": "narration", "story": "narration"}
_MAX_PARTS = 2000  # physical lines of one text


@dataclass(slots=True)
class _Entry:
    number: int = 0
    comments: list[str] = field(default_factory=list)
    fuzzy: bool = False
    texts: dict[str, list[str]] = field(default_factory=dict)
    translations: int = 0

    def text(self, name: str) -> str:
        joined = "".join(self.texts.get(name, ()))
        return _ESCAPE.sub(lambda found: _ESCAPES.get(found.group(1), found.group(1)), joined)


def _sniff(file: DumpFile) -> float:
    return 0.95 if _HEAD.search(file.head) and _STR.search(file.head) else 0.0


def _entries(file: DumpFile) -> Iterator[_Entry]:
    entry, at = _Entry(), ""
    for number, raw in file.lines():
        line = raw.strip()
        if line.startswith("#"):
            if entry.texts:
                yield entry
                entry, at = _Entry(), ""
            if line.startswith("#,"):
                entry.fuzzy = entry.fuzzy or "fuzzy" in line
            elif line.startswith("#.") and len(entry.comments) < 100:
                entry.comments.append(line[2:].strip())
        elif found := _FIELD.match(line):
            name, text = found.groups()
            begins = name == "msgctxt" or (name == "msgid" and ("msgid" in entry.texts or "msgctxt" not in entry.texts))
            if begins and entry.texts:
                yield entry
                entry = _Entry()
            if name == "msgstr":
                entry.translations += 1
                name = f"msgstr{entry.translations}"
            entry.number = entry.number or number
            entry.texts[name] = [text]
            at = name
        elif at and (more := _MORE.match(line)) and len(entry.texts[at]) < _MAX_PARTS:
            entry.texts[at].append(more.group(1))
    if entry.texts:
        yield entry


def _spoken(entry: _Entry) -> tuple[str | None, str | None, str | None]:
    """(speaker, kind, scene) that the comments state; kind is None for what nobody says."""
    for comment in entry.comments:
        if found := _WESNOTH.match(comment):
            kind = _KINDS.get(found.group(1))
            pairs = dict(_PAIR.findall(found.group(2) or ""))
            speaker = pairs.get("speaker", "").strip()
            if kind != "dialogue" or not speaker or speaker.startswith("$"):
                return None, kind, None
            return (
                (None, "narration" if speaker == "narrator" else kind, None)
                if speaker in _ROLES
                else (speaker, kind, None)
            )
    for comment in entry.comments:
        if found := _SPEAKER.match(comment):
            return found.group(1), "dialogue", None
    return None, "dialogue", None


@reader("gettext", "gettext catalogue", sniff=_sniff, extensions=(".po", ".pot"), records=True)
def read_gettext(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every text of a catalogue that is not obsolete."""
    language: str | None = None
    for entry in _entries(file):
        original = entry.text("msgid")
        if not original:
            found = _LANGUAGE.search(entry.text("msgstr1"))
            language = found.group(1) if found else language
            continue
        speaker, kind, scene = _spoken(entry)
        if kind is None or (_KEY.match(original) and not (entry.translations and entry.text("msgstr1"))):
            continue
        context = entry.text("msgctxt") or None
        translated = [] if entry.fuzzy else [entry.text(f"msgstr{n}") for n in range(1, min(entry.translations, 6) + 1)]
        translated = [text for text in dict.fromkeys(translated) if text]
        prefix = _CONTEXT.match(original)  # "female^Hello": for translators
        for text in translated or [original[prefix.end() :] if prefix else original]:
            yield file.line(
                entry.number, plain_markup(text), speaker, kind,
                scene=scene, lang=language if translated else None, id=context,
            )  # fmt: skip
