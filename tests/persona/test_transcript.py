"""Transcripts, as people type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from modkit.persona import Reading
from tests.persona.support import read, said, text_file


def test_names_moods_quotes_and_stars() -> None:
    assert said(read("script.txt")) == [
        ("Mara", "The tide turns at nine."),
        ("Tobin", 'Then why are we "waiting"?'),
        ("Mara", "Because I said so."),
        ("Old Ferryman", "I never wait for anybody who is as late as the two of you were last winter."),
        ("Tobin", "See http://example.invalid/a:b at 12:30."),
        ("Mara", "Said on the next line."),
    ]


def test_directions_and_narration_belong_to_nobody() -> None:
    lines = read("script.txt")
    assert said(lines, "direction") == [(None, "A bell rings.")]
    assert said(lines, "narration")[0] == (None, "The wind drops for a while, and nobody says anything.")


def test_headings_are_scenes_and_may_say_that_a_journal_follows() -> None:
    lines = read("script.txt")
    assert lines[0].scene == "The pier, at night"
    assert (lines[-1].kind, lines[-1].speaker, lines[-1].scene) == ("journal", None, "Mara's journal")


def test_a_screenplay_names_the_speaker_above_the_words() -> None:
    lines = read("screenplay.txt")
    assert said(lines) == [("MARA", "It never goes out."), ("TOBIN", "It did once."), ("MARA", "Once.")]
    assert said(lines, "narration") == [(None, "She turns away.")]


def test_a_chat_log_with_times() -> None:
    assert said(read("chat.log")) == [("mara", "is it lit?"), ("tobin", "yes"), ("mara", "good"), ("tobin", "night")]


@pytest.mark.parametrize(
    ("line", "speaker", "text"),
    [
        ("**Mara:** Hello.", "Mara", "Hello."),
        ("**Mara** (dry): Hello.", "Mara", "Hello."),
        ("- Mara: Hello.", "Mara", "Hello."),
        ("Mara (to Tobin): Hello.", "Mara", "Hello."),
        ("Mara of the Pier: Hello.", "Mara of the Pier", "Hello."),
        ("Dr. O'Neill-Smith: Hello.", "Dr. O'Neill-Smith", "Hello."),
        ("Мара: Привет.", "Мара", "Привет."),
        ("美咲：「こんばんは」", "美咲", "こんばんは"),
        ("Guard #2: Halt.", "Guard #2", "Halt."),
    ],
)
def test_dresses_of_a_line(tmp_path: Path, line: str, speaker: str, text: str) -> None:
    path = text_file(tmp_path, "a.txt", f"{line}\nTobin: Yes.\n")
    assert said(list(Reading([path])))[0] == (speaker, text)


def test_a_line_to_somebody_names_the_addressee(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.txt", "Mara (to Tobin): Hello.\nTobin: Yes.\n")
    assert next(iter(Reading([path]))).addressee == "Tobin"


@pytest.mark.parametrize(
    "line",
    [
        "and then he said to all of them: go home",
        "At 12:30 the gun is fired",
        "https://example.invalid/a",
        "He opened the door, and said: no",
        "remember: never swim",
        "Note: this was cut",
    ],
)
def test_a_colon_does_not_make_a_speaker(tmp_path: Path, line: str) -> None:
    path = text_file(tmp_path, "a.txt", f"Mara: Hello.\n\n{line}\n\nTobin: Yes.\n")
    assert {found.speaker for found in Reading([path])} == {"Mara", "Tobin", None}


def test_prose_is_not_a_transcript(tmp_path: Path) -> None:
    prose = "It was late. The lamp had been lit for an hour, and the town lay still below it.\n" * 30
    reading = Reading([text_file(tmp_path, "story.txt", prose)])
    assert list(reading) == []
    assert "in no format known" in str(reading.failed[0])


def test_a_line_longer_than_a_megabyte_is_cut_and_said_so(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.txt", "Mara: " + "word " * 500_000 + "\nTobin: Yes.\nMara: No.\n")
    reading = Reading([path])
    assert said(list(reading))[1:] == [("Tobin", "Yes."), ("Mara", "No.")]
    assert any("was cut" in str(problem) for problem in reading.problems)
