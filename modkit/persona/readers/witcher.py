"""The Witcher 3: string tables as w3strings decodes them.

They name no speaker. What has a key is a text of the interface; dialogue has a number alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from modkit.persona.lines import Line
from modkit.persona.readers.documents import plain_markup
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_META = re.compile(r";\s{0,4}meta\[language=(\w{1,12})\]")
_ROW = re.compile(r"(?m)^[ \t]{0,20}\d{0,12}[ \t]{0,20}\|[ \t]{0,20}[0-9a-fA-F]{0,8}[ \t]{0,20}\|[^|\n]{0,300}\|")
_HEADER = re.compile(r"(?m)^;[ \t]{0,20}id[ \t]{0,20}\|[ \t]{0,20}key")


def _sniff(file: DumpFile) -> float:
    if not _ROW.search(file.head):
        return 0.0
    return 1.0 if _META.search(file.head[:4000]) or _HEADER.search(file.head[:4000]) else 0.0


@reader("witcher3", "Witcher 3 strings", sniff=_sniff, extensions=(".csv",))
def read_strings(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every text, in the order of the table."""
    lang: str | None = None
    for number, row in file.lines():
        if row.lstrip().startswith(";"):
            found = _META.search(row[:200])
            lang = found.group(1) if found else lang
            continue
        cells = row.split("|", 3)
        if len(cells) < 4:
            if row.strip():
                file.warn(f"line {number} has {len(cells)} columns instead of 4")
            continue
        identity, number_of_key, key, text = (cell.strip() for cell in cells)
        if text.startswith("[") and text.endswith("]"):
            continue  # a text that was left out of this language
        # The game keeps of most keys their hash alone.
        kind = "narration" if key or number_of_key.strip("0") else "dialogue"
        yield file.line(number, plain_markup(text), kind=kind, lang=lang, id=identity or key or None)
