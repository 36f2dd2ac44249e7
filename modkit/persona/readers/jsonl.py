"""JSON lines and JSON documents: records wherever they are nested.

A record is an object with a text field. What an object around it says about speaker, scene,
addressee or language holds for the records inside, and a list that is called "journal" or
"messages" gives its records that kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from modkit.errors import DumpError
from modkit.persona.lines import Line, normalise_kind
from modkit.persona.readers.known import signature
from modkit.persona.readers.records import RecordWriter, columns, field_of
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile
from modkit.persona.values import integer

_INHERITED = ("speaker", "answerer", "scene", "addressee", "lang", "kind")
_ANSWERS = ("response", "reply", "npc_response", "answer")  # to a choice, in the choice's own record
_WEAK_SPEAKERS = ("name", "from", "author", "voice", "sender")
_WEAK_TEXTS = ("content", "body", "string", "caption", "message")
_TEXT_LISTS = ("lines", "texts", "barks", "utterances")  # lists of plain strings
_MAX_DEPTH = 60
# A list begins with a value: "[remap]" and "[Section]" do not.
_HEAD_IS_JSON = re.compile(r'\s*(?://[^\n]*\n\s*)*(?:\{|\[\s*(?:[{\[\]"\d-]|//|true\b|false\b|null\b|\Z))')
_TALKS = {
    "chat", "chatlog", "conversation", "conversations", "dialog", "dialogs", "dialogue", "dialogues", "history",
    "lines", "log", "messages", "transcript", "turns", "utterances",
}  # fmt: skip


def _parse(text: str) -> Any:
    try:
        return json.loads(text, parse_int=integer)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _sniff(file: DumpFile) -> float:
    if not _HEAD_IS_JSON.match(file.head) or signature(file) or file.suffix in (".ipynb", ".map", ".lock"):
        return 0.0
    return 0.6 if file.suffix in (".jsonl", ".json", ".ndjson") or '"' in file.head[:2000] else 0.0


def _is_lines(head: str) -> bool:
    """Whether an object ends on the first line and another begins on the next."""
    first, second = ([line for line in head.splitlines()[:50] if line.strip()] + ["", ""])[:2]
    return first.rstrip().endswith("}") and second.lstrip().startswith("{")


@reader("json", "JSON or JSON lines", sniff=_sniff, extensions=(".jsonl", ".ndjson", ".json"), records=True)
def read_json(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every record of a JSON document or of JSON lines."""
    if file.suffix in (".jsonl", ".ndjson") or _is_lines(file.head):
        yield from _read_lines(file)
    else:
        yield from _read_document(file)


def _read_lines(file: DumpFile) -> Iterator[Line | None]:
    writer = RecordWriter(file)
    good = bad = found = 0
    for number, text in file.lines():
        text = text.strip()
        if not text or text.startswith("//"):
            continue
        try:
            value = _parse(text)
        except ValueError as error:
            bad += 1
            file.warn(f"line {number} is not JSON: {_reason(error)}")
            if bad > 1000 and bad > good:
                break
            continue
        good += 1
        for record, inside in _records(value):
            found += 1
            yield from writer.lines(record, f"line {number}{inside}")
    if bad > good:
        raise DumpError(f"{file.name} is damaged: {bad} of {bad + good} lines are not JSON")
    if good and not found:
        raise DumpError(f"{file.name} has no text in its records: name the fields speaker and text")


def _read_document(file: DumpFile) -> Iterator[Line | None]:
    try:
        value = _parse(file.text())
    except ValueError as error:
        raise DumpError(f"{file.name} is not valid JSON: {_reason(error)}") from None
    writer = RecordWriter(file)
    # A tree of objects with a "text" somewhere is any program's JSON. It is a dump when it names
    # speakers, or when it is a plain list of texts.
    flat = isinstance(value, list) and 2 * sum(map(_has_text, value)) >= len(value)
    talk = _is_talk(file.path.stem)
    if not flat and not any(
        _is_said(record, place) and (talk or record.get("speaker") or _is_talk(place))
        for record, place in _records(value)
    ):
        raise DumpError(f"{file.name} has no records with a speaker and a text: name the fields speaker and text")
    found = False
    for record, inside in _records(value):
        if not flat and not _is_said(record, inside):
            continue
        found = True
        yield from writer.lines(record, inside.lstrip() or "document")
    if not found:
        raise DumpError(f"{file.name} has no text in its records: name the fields speaker and text")


def _has_text(element: object) -> bool:
    """Whether an element of a list is a record, or holds a talk: most of a game's objects have no text of their own."""
    if not isinstance(element, dict):
        return not isinstance(element, list)
    return "text" in columns(element) or any(key.casefold() in _TALKS or key in _TEXT_LISTS for key in element)


def _is_talk(words: str) -> bool:
    """Whether a file's name or the keys around a record say that it is dialogue."""
    folded = words.casefold()
    return "dialog" in folded or "conversation" in folded


def _is_said(record: dict[str, str], place: str) -> bool:
    """Whether a record of a tree is speech: a "name" with a "content" is so only inside what is called a talk."""
    if "doubtful" not in record:
        return True
    return any(key.partition("[")[0].casefold() in _TALKS for key in place.split())


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (line {error.lineno}, column {error.colno})"
    return str(error)[:100]


def _records(root: object) -> Iterator[tuple[dict[str, str], str]]:
    """(fields, place inside the document) of every record, in document order, without recursion."""
    stack: list[tuple[object, dict[str, str], str, int]] = [(root, {}, "", 0)]
    while stack:
        value, inherited, place, depth = stack.pop()
        if depth > _MAX_DEPTH:
            continue
        children: list[tuple[object, dict[str, str], str, int]] = []
        if isinstance(value, list):
            for number, item in enumerate(value):
                children.append(
                    (item, inherited, f"{place} [{number}]" if not depth else f"{place}[{number}]", depth + 1)
                )
        elif isinstance(value, dict):
            names = columns(value)
            fields = {**inherited, **_fields(value, names)}
            if "text" in fields:
                if _folded(names, "speaker") in _WEAK_SPEAKERS and _folded(names, "text") in _WEAK_TEXTS:
                    fields["doubtful"] = "yes"
                yield fields, place
                yield from _answer(value, fields, names, place)
            else:
                for key in (names.get("text", ""), *_TEXT_LISTS):
                    for text in value[key] if isinstance(value.get(key), list) else ():
                        if isinstance(text, str):
                            yield {**fields, "text": text}, f"{place} {key}"
            passed_on = _passed_on(fields, names)
            for key, item in value.items():
                if isinstance(item, (dict, list)):
                    given = _under(key, passed_on) if isinstance(item, list) else passed_on
                    children.append((item, given, f"{place} {key[:40]}", depth + 1))
        stack.extend(reversed(children))


def _answer(
    value: dict[str, Any], fields: dict[str, str], names: dict[str, str], place: str
) -> Iterator[tuple[dict[str, str], str]]:
    """What is answered to a choice: said by whoever offers it."""
    key = next((key for key in _ANSWERS if isinstance(value.get(key), str) and names.get("text") != key), None)
    if key and normalise_kind(fields.get("kind")) == "choice":
        answer = {"text": value[key], "kind": "dialogue"}
        for name, given in (("scene", "scene"), ("lang", "lang"), ("speaker", "answerer")):
            if given in fields:
                answer[name] = fields[given]
        yield answer, f"{place} {key}"


def _folded(names: dict[str, str], field: str) -> str:
    return names.get(field, field).casefold()


def _passed_on(fields: dict[str, str], names: dict[str, str]) -> dict[str, str]:
    """What holds for the records inside. A "name" is too often the name of a thing to be their speaker."""
    kept = {name: fields[name] for name in _INHERITED if name in fields}
    if _folded(names, "speaker") in _WEAK_SPEAKERS:
        kept.pop("speaker", None)
    return kept


def _under(key: str, inherited: dict[str, str]) -> dict[str, str]:
    """What holds inside the list called `key`: "journal" and "choices" give a kind, and a choice has no speaker."""
    kind = normalise_kind(key)
    if kind is None:
        return inherited
    given = {**inherited, "kind": kind}
    if kind == "choice" and "speaker" in given:
        given["answerer"] = given.pop("speaker")
    return given


def _fields(value: dict[str, Any], names: dict[str, str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for field, key in names.items():
        item = value[key]
        if isinstance(item, dict) and field in ("speaker", "addressee"):  # {"speaker": {"id": 3, "name": "Judy"}}
            item = next((v for k, v in item.items() if field_of(k) == "speaker" and isinstance(v, str)), None)
        if isinstance(item, str):
            fields[field] = item
        elif isinstance(item, int) and not isinstance(item, bool) and field == "id":
            fields[field] = str(item)
    return fields
