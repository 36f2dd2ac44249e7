"""What a dump says: `Line`, and the small rules every reader shares.

A line is one utterance as its source delimits it, with its provenance. Readers make lines, nobody
changes them afterwards. Nothing here touches a file; every function may be called from any thread.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from modkit.errors import OptionError

__all__ = [
    "KINDS",
    "MAX_NAME",
    "Line",
    "Names",
    "Source",
    "display_path",
    "fold",
    "is_player",
    "normalise_kind",
    "parse_alias",
    "speaker_name",
    "tidy",
]

KINDS = ("dialogue", "message", "journal", "choice", "narration", "direction")

MAX_TEXT = 20_000  # characters of one utterance; a longer "line" is a file that was misread
MAX_NAME = 200

# What files write in the kind column, by the word they use.
_KIND_WORDS = {
    "dialogue": "dialogue dialog line speech say spoken bark voice conversation talk",
    "message": "message messages sms phone mail email letter letters chat texting",
    "journal": "journal diary note notes log logbook codex book entry",
    "choice": "choice choices option options replies responses prompt playerchoice",
    "narration": "narration narrator narrative description",
    "direction": "direction directions stage stagedirection action",
}
_KINDS_BY_WORD = {word: kind for kind, words in _KIND_WORDS.items() for word in words.split()}

# A file that writes one of these in its speaker column states that there is no speaker.
_NOBODY = {"", "-", "--", "---", "none", "null", "nil", "n/a", "na", "unknown", "undefined"}
_PLAYERS = {"player", "the player", "playercharacter", "pc", "you", "user"}

_SPACES = re.compile(r"\s+")
_SURROGATE = re.compile("[\ud800-\udfff]")


def display_path(path: Path) -> str:
    """`path` as text that can be printed and stored, whatever bytes the file system gave."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a line was read: the file as it was named, and the place in it ("line 12", "row 3")."""

    file: str
    place: str

    def __str__(self) -> str:
        return f"{self.file}, {self.place}" if self.place else self.file


@dataclass(frozen=True, slots=True)
class Line:
    """One utterance.

    `speaker` is None where the file states none; it is never guessed. `kind` is one of `KINDS`.
    `scene` is what the file calls the conversation, and `index` the line's place in its file in
    authored order, from 0. `lang` is a language the file states. `id` is the file's own identifier.
    """

    text: str
    speaker: str | None = None
    kind: str = "dialogue"
    scene: str | None = None
    index: int = 0
    addressee: str | None = None
    lang: str | None = None
    source: Source = Source("", "")
    id: str | None = None

    def as_json(self) -> dict[str, object]:
        """The line as a JSON object of plain values, every key always there."""
        return {
            "speaker": self.speaker,
            "text": self.text,
            "kind": self.kind,
            "scene": self.scene,
            "index": self.index,
            "addressee": self.addressee,
            "lang": self.lang,
            "source": {"file": self.source.file, "place": self.source.place},
            "id": self.id,
        }


def whole(text: str) -> str:
    """`text` without half characters: two halves that belong together become one character, others U+FFFD.

    JSON and hosts with UTF-16 can spell them; SQLite and UTF-8 cannot.
    """
    if _SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def tidy(text: str, limit: int = MAX_TEXT) -> str:
    """`text` on one line: control characters out, whitespace runs as one space, at most `limit` characters."""
    if len(text) > 4 * limit:
        text = text[: 4 * limit]
    text = whole(text)
    text = _SPACES.sub(" ", text).strip()
    if not text.isprintable():
        text = "".join(c for c in text if unicodedata.category(c) != "Cc" and c != "\ufeff").strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def fold(name: str) -> str:
    """The form in which two spellings of a name are compared: case, width and spacing do not count."""
    return tidy(unicodedata.normalize("NFKC", name), MAX_NAME).casefold()


def speaker_name(value: str | None) -> str | None:
    """A speaker as a file wrote it, or None where what it wrote means nobody."""
    if value is None:
        return None
    name = tidy(value, MAX_NAME)
    return None if name.casefold() in _NOBODY else name


def is_player(speaker: str | None, kind: str) -> bool:
    """Whether these are the player's words: a choice, or a speaker called Player, You, PC or User."""
    return kind == "choice" or (speaker is not None and fold(speaker) in _PLAYERS)


def normalise_kind(value: object) -> str | None:
    """A file's word for the kind of a line as one of `KINDS`; None when the word says nothing to us."""
    if not isinstance(value, str):
        return None
    return _KINDS_BY_WORD.get(re.sub(r"[\W_]+", "", value[:64]).casefold())


class Names:
    """Joins the spellings of a name: case-folded, with aliases the user gives.

    `aliases` maps a name to the other spellings of it: `{"Judy": ["judy_01", "Judy A."]}`. The first
    spelling met in the dumps is the one shown, unless an alias says otherwise.
    """

    def __init__(self, aliases: Mapping[str, Iterable[str]] | None = None) -> None:
        self._shown: dict[str, str] = {}
        for name, others in (aliases or {}).items():
            for spelling in (name, *others):
                self._shown[fold(spelling)] = tidy(name, MAX_NAME)

    def join(self, name: str | None) -> str | None:
        """The one spelling used for `name`."""
        if name is None:
            return None
        return self._shown.setdefault(fold(name), name)

    def apply(self, line: Line) -> Line:
        """`line` with its speaker and addressee in their joined spelling."""
        speaker, addressee = self.join(line.speaker), self.join(line.addressee)
        if speaker == line.speaker and addressee == line.addressee:
            return line
        return replace(line, speaker=speaker, addressee=addressee)


def parse_alias(text: str) -> tuple[str, list[str]]:
    """Read `judy=Judy,JUDY_01` into ("judy", ["Judy", "JUDY_01"]); raises OptionError on anything else."""
    name, sign, others = text.partition("=")
    spellings = [tidy(other) for other in others.split(",") if tidy(other)]
    if not sign or not tidy(name) or not spellings:
        raise OptionError(f"alias {text[:80]!r} is not of the form NAME=SPELLING,SPELLING, such as judy=Judy,JUDY_01")
    return tidy(name), spellings
