"""Reads the character's dump for training: who said what, and what was said just before.

modkit's own readers serve play; this one is small on purpose, so that the model can be rebuilt with nothing of
modkit installed.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

RPY_NAME = re.compile(r"""^\s*define\s+(\w+)\s*=\s*Character\(\s*(?:_\()?["']([^"']+)["']""")
RPY_CHOICE = re.compile(r'^\s+"((?:[^"\\]|\\.)*)"(?:\s+if\s.*)?:\s*$')
RPY_SAY = re.compile(r'^\s*(\w+|"[^"]+")(?:\s+\w+)*\s+"((?:[^"\\]|\\.)*)"\s*$')
SCRIPT_SAY = re.compile(r"^\s*(?:\[[^\]]*\]\s*)?([A-Z][\w' ]{0,24}):\s+(.+)$")
SPEAKER_KEYS = ("speaker", "name", "who", "character", "from", "sender", "author")
TEXT_KEYS = ("text", "line", "message", "content", "body", "dialogue", "entry")
RPY_WORDS = {"label", "jump", "call", "menu", "scene", "show", "play", "define", "image", "default", "voice"}


@dataclass(frozen=True)
class Line:
    """One line of the dump. ``cue`` is the line before it when someone else spoke that one, else empty."""

    speaker: str
    text: str
    cue: str = ""


def clean(text: str) -> str:
    """Plain text on one line: no markup, straight quotes, single spaces."""
    text = re.sub(r"\{[^}]*\}|\\n", " ", text).replace('\\"', '"')
    text = re.sub(r"\[(?:player\w*|name)\]", "stranger", text)
    text = text.replace("\u2019", "'").replace("\u2018", "'").replace("\u201c", '"').replace("\u201d", '"')
    return " ".join(text.split())


def _rpy(lines: Iterable[str], names: dict[str, str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        if found := RPY_CHOICE.match(line):
            yield "Player", found[1]
        elif (found := RPY_SAY.match(line)) and found[1] not in RPY_WORDS:
            yield names.get(found[1], found[1].strip('"')), found[2]


def _record(record: dict[str, object]) -> tuple[str, str]:
    low = {str(key).lower(): value for key, value in record.items() if key}
    speaker = next((str(low[key]) for key in SPEAKER_KEYS if low.get(key)), "")
    return speaker, next((str(low[key]) for key in TEXT_KEYS if low.get(key)), "")


def _names(paths: Iterable[Path]) -> dict[str, str]:
    """Ren'Py's short names for its characters; one script may define them for all the others."""
    found: dict[str, str] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            if match := RPY_NAME.match(line):
                found[match[1]] = match[2]
    return found


def _said(path: Path, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".rpy":
        yield from _rpy(text.splitlines(), names)
    elif path.suffix == ".jsonl":
        yield from (_record(json.loads(line)) for line in text.splitlines() if line.strip())
    elif path.suffix == ".csv":
        yield from (_record(dict(row)) for row in csv.DictReader(text.splitlines()))
    elif path.suffix == ".txt":
        for line in text.splitlines():
            if found := SCRIPT_SAY.match(line):
                yield found[1], found[2]


def read(folder: Path) -> list[Line]:
    """Every line of every dump file under ``folder``, in the order of the files' names."""
    lines: list[Line] = []
    names = _names(sorted(folder.rglob("*.rpy")))
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".rpy", ".jsonl", ".csv", ".txt"):
            continue
        before = ("", "")
        for speaker, raw in _said(path, names):
            text = clean(raw)
            if speaker and text:
                lines.append(Line(speaker, text, before[1] if before[0] != speaker else ""))
                before = (speaker, text)
    return lines
