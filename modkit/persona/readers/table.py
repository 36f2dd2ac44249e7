"""CSV and TSV with a header row, from any spreadsheet or tool.

The separator is the one that makes the header row speak; tab-separated exports of game editors do
not quote, spreadsheets do, and the first rows show which it is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Literal

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.known import signature
from modkit.persona.readers.records import RecordWriter, columns
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_SEPARATORS = "\t,;|"
_HEADER_WITHIN = 5  # some exports put a title or "sep=;" above the header


def _header(file: DumpFile) -> tuple[int, str, dict[str, str]] | None:
    """(line number, separator, field to column) of the header row; None when no row is one."""
    for number, line in enumerate(file.head.splitlines()[:_HEADER_WITHIN], 1):
        best: tuple[int, str, dict[str, str]] | None = None
        for separator in _SEPARATORS:
            if separator not in line:
                continue
            cells = [cell.strip().strip('"').strip() for cell in line.split(separator)]
            names = columns(cells)
            # Prose with a comma has no cell that is a header word and no empty-handed second one.
            if "text" in names and len(names) >= 2 and (best is None or len(names) > len(best[2])):
                best = (number, separator, names)
        if best:
            return best
    return None


def _quoting(file: DumpFile, separator: str) -> Literal[0, 3]:
    rows = file.head.splitlines()
    if separator == "\t" and any(row.count('"') % 2 for row in rows[:-1] or rows):
        return 3  # csv.QUOTE_NONE
    return 0  # csv.QUOTE_MINIMAL


def _sniff(file: DumpFile) -> float:
    found = _header(file)
    if found is None or signature(file):
        return 0.0
    return 0.75 if "speaker" in found[2] else 0.5


@reader("table", "CSV or TSV", sniff=_sniff, extensions=(".csv", ".tsv", ".tab"), records=True)
def read_table(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every row below the header."""
    found = _header(file)
    if found is None:
        raise DumpError(f"{file.name} has no header row with a speaker and a text column: add one")
    header_line, separator, names = found
    here = [0]

    def below_header() -> Iterator[str]:
        for number, line in file.lines():
            here[0] = number
            if number >= header_line:
                yield line + "\n"

    writer = RecordWriter(file)
    rows = csv.reader(below_header(), delimiter=separator, quoting=_quoting(file, separator))
    try:
        headers = [cell.strip() for cell in next(rows, [])]
        where = {field: headers.index(header) for field, header in names.items() if header in headers}
        start = here[0] + 1
        for row in rows:
            record = {field: row[column] for field, column in where.items() if column < len(row)}
            if any(record.values()):
                yield from writer.lines(record, start)
            start = here[0] + 1
    except csv.Error as error:
        raise DumpError(f"{file.name} is damaged at line {here[0]}: {error}") from None
