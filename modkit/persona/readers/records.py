"""What the columns of a table and the keys of a JSON record mean: header synonyms, one set for all.

Every other tool ends in CSV or JSON, each with its own headers. `Fields` finds the ones that matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from modkit.persona.lines import Line, normalise_kind
from modkit.persona.readers.source import DumpFile

__all__ = ["RecordWriter", "columns", "field_of"]

# In order of preference: the first synonym a record has wins.
_SYNONYMS = {
    "speaker": "speaker speakername speakingvoice saidby actor actorname character charactername npcname sender from "
    "who npc name author voice voicename alias",
    "text": "text line dialogue dialog spokendialogue dialoguetext subtitle responsetext response utterance message "
    "mes npctext npcline content body caption string sourcestring entext english en",
    "addressee": "addressee listener conversant target targetname to recipient receiver spokento",
    "scene": "scene scenename conversation conversationid quest thread context location chapter topic title",
    "id": "id lineid stringid key keys uid uuid guid textid",
    "kind": "kind type category linetype",
    "lang": "lang language locale",
    "prompt": "prompt playerprompt playerline playertext cue question",
}
_FIELD_BY_HEADER = {
    header: (field, rank) for field, headers in _SYNONYMS.items() for rank, header in enumerate(headers.split())
}


def _plain(header: str) -> str:
    return re.sub(r"[\W_]+", "", header[:64]).casefold()


def field_of(header: str) -> str | None:
    """The field a header means: "Speaker Name" is "speaker". None for one that means nothing here."""
    found = _FIELD_BY_HEADER.get(_plain(header))
    return found[0] if found else None


def columns(headers: Iterable[str]) -> dict[str, str]:
    """Field to header, the best synonym of each field."""
    best: dict[str, tuple[int, str]] = {}
    for header in headers:
        found = _FIELD_BY_HEADER.get(_plain(header))
        if found and (found[0] not in best or found[1] < best[found[0]][0]):
            best[found[0]] = (found[1], header)
    return {field: header for field, (_, header) in best.items()}


class RecordWriter:
    """Turns records (field to text) of one file into lines; a prompt becomes the player's line before the answer."""

    def __init__(self, file: DumpFile) -> None:
        self._file = file
        self._last_prompt: tuple[str | None, str] | None = None

    def lines(self, record: Mapping[str, str], place: int | str) -> Iterator[Line | None]:
        """The lines of one record: its prompt, when it has a new one, and its text."""
        scene = record.get("scene")
        lang = record.get("lang")
        kind = normalise_kind(record.get("kind")) or "dialogue"
        prompt = record.get("prompt", "")
        if prompt and kind == "dialogue" and self._last_prompt != (scene, prompt):
            # A table repeats the prompt on every row of a long answer; it was said once.
            self._last_prompt = (scene, prompt)
            yield self._file.line(place, prompt, kind="choice", scene=scene, lang=lang)
        yield self._file.line(
            place,
            record.get("text", ""),
            record.get("speaker"),
            kind,
            scene=scene,
            addressee=record.get("addressee"),
            lang=lang,
            id=record.get("id"),
        )
