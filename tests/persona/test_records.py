"""JSON, JSON lines, CSV and TSV, whatever their fields are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modkit.persona import Reading
from tests.persona.support import DATA, read, said, text_file


def test_json_lines_are_read_by_synonyms() -> None:
    lines = read("talk.jsonl")
    assert said(lines) == [
        ("Mara", "The tide turns at nine."),
        ("Mara", "Bring the café lantern."),
        ("Tobin", "At once."),
    ]
    assert (lines[0].scene, lines[0].addressee, lines[0].id) == ("pier", "Tobin", "1")


def test_a_dash_is_nobody_and_a_64_bit_id_stays_exact() -> None:
    line = read("talk.jsonl")[-1]
    assert (line.speaker, line.kind, line.id) == (None, "message", "18446744073709551615")


def test_nested_records_inherit_what_is_stated_around_them() -> None:
    lines = read("nested.json")
    assert said(lines) == [("Mara", "Shut the door."), ("Tobin", "It is shut."), ("Mara", "Hm."), ("Mara", "Hm hm.")]
    assert said(lines, "journal") == [("Mara", "He never shuts it.")]
    assert {line.scene for line in lines} == {"the inn"}


def test_a_list_of_choices_is_not_put_into_the_speakers_mouth() -> None:
    assert said(read("nested.json"), "choice") == [(None, "Is it?")]


def test_excel_csv_with_quotes_newlines_and_cp1252() -> None:
    lines = read("excel_cp1252.csv")
    assert said(lines) == [("Mara", 'Café is "closed"; says the sign.'), ("Tobin", "Then we walk.")]
    assert [line.source.place for line in lines] == ["line 3", "line 5"]


def test_excel_tsv_in_utf16_and_a_prompt_said_once() -> None:
    lines = read("excel_utf16.tsv")
    assert said(lines, "choice") == [(None, "Who lit it?")]
    assert said(lines) == [("Mara", "I did."), ("Mara", "And I would again, “always”.")]


@pytest.mark.parametrize(
    "header", ["speaker\ttext", "Actor,Line", "who;dialogue", "NPC|Subtitle", '"Character","Text"']
)
def test_common_headers(tmp_path: Path, header: str) -> None:
    separator = next(mark for mark in "\t,;|" if mark in header)
    path = text_file(tmp_path, "dump.csv", f"{header}\nMara{separator}Hello.\n")
    assert said(list(Reading([path]))) == [("Mara", "Hello.")]


def test_a_tab_separated_export_does_not_quote(tmp_path: Path) -> None:
    path = text_file(
        tmp_path, "d.txt", 'SPEAKER\tRESPONSE TEXT\nMara\t"Open it!\nTobin\tHe said 5" of rope.\nMara\tYes.\n'
    )
    assert said(list(Reading([path]))) == [("Mara", '"Open it!'), ("Tobin", 'He said 5" of rope.'), ("Mara", "Yes.")]


def test_a_table_without_a_speaker_column_has_no_speakers(tmp_path: Path) -> None:
    path = text_file(tmp_path, "strings.csv", "id,text\n1,Hello.\n2,Good night.\n")
    assert said(list(Reading([path]))) == [(None, "Hello."), (None, "Good night.")]


def test_json_that_is_no_dump_is_refused(tmp_path: Path) -> None:
    path = text_file(tmp_path, "package.json", '{"name": "x", "scripts": {"test": "pytest"}}')
    reading = Reading([path])
    assert list(reading) == []
    assert "speaker and text" in str(reading.failed[0])


def test_a_damaged_line_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    rows = [json.dumps({"speaker": "Mara", "text": f"Line {n}."}) for n in range(5)]
    rows[2] = rows[2][:10]
    reading = Reading([text_file(tmp_path, "a.jsonl", "\n".join(rows))])
    assert len(list(reading)) == 4
    assert reading.failed == []
    assert "line 3 is not JSON" in str(reading.problems[0])


def test_a_file_that_is_mostly_damaged_is_a_failure(tmp_path: Path) -> None:
    reading = Reading([text_file(tmp_path, "a.jsonl", '{"speaker": "Mara", "text": "Hi."}\n{"spea\n{{{\n')])
    assert said(list(reading)) == [("Mara", "Hi.")]
    assert "2 of 3 lines" in str(reading.failed[0])


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 100_000,
        '[{"text": ' + "9" * 100_000 + "}]",
        '[{"speaker": "a", "text": "\\ud800 half"}]',
        '[{"speaker": {"name": {"name": "x"}}, "text": [1, null, ["deep"]]}]',
    ],
    ids=["brackets", "objects", "digits", "surrogate", "odd types"],
)
def test_hostile_json_is_refused_or_read_but_never_a_crash(tmp_path: Path, text: str) -> None:
    reading = Reading([text_file(tmp_path, "x.json", text)])
    for line in reading:
        line.text.encode("utf-8")
    assert len(reading.files) + len(reading.failed) >= 1


def test_deeply_nested_records_are_passed_over_and_shallow_ones_kept(tmp_path: Path) -> None:
    deep: object = [{"speaker": "Mara", "text": "too deep"}]
    for _ in range(200):
        deep = {"inside": [deep]}
    path = text_file(tmp_path, "x.json", json.dumps({"lines": [{"speaker": "Mara", "text": "Here."}], "deep": deep}))
    assert said(list(Reading([path]))) == [("Mara", "Here.")]


def test_the_same_record_twice_is_one_line(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.jsonl", '{"who": "Mara", "text": "Hm."}\n' * 3)
    reading = Reading([path])
    assert len(list(reading)) == 1
    assert reading.duplicates == 2


def test_the_data_files_stay_as_written() -> None:
    # Two of them depend on their encoding; an editor that "repairs" them would empty the tests above.
    assert b"Caf\xe9" in (DATA / "excel_cp1252.csv").read_bytes()
    assert (DATA / "excel_utf16.tsv").read_bytes()[:2] == b"\xff\xfe"
