"""Ren'Py scripts: what is speech, who speaks it, and what never is."""

from __future__ import annotations

from pathlib import Path

from modkit.persona import Reading
from tests.persona.support import read, said, text_file


def test_say_statements_carry_the_names_that_another_file_defines() -> None:
    lines = said(read("rpy/cast.rpy", "rpy/scene.rpy"))
    assert ("Mara", "Good evening, [povname]. Mind the {wet} step.") in lines
    assert ("Tobin", 'She said "mind it", so mind it.') in lines
    assert ("Old Woman", "Who is there?") in lines
    assert ("Edda", "Single quotes do as well.") in lines
    assert ("The Drowned Man", "I am still here.") in lines
    assert ("Ann", "I am leaving.") in lines


def test_the_order_in_which_files_are_given_does_not_matter() -> None:
    assert sorted(said(read("rpy/scene.rpy", "rpy/cast.rpy"))) == sorted(said(read("rpy/cast.rpy", "rpy/scene.rpy")))


def test_image_attributes_transitions_and_percent_signs_leave_only_the_words() -> None:
    assert ("Mara", "It is 100% slippery. And old.") in said(read("rpy"))


def test_extend_goes_on_with_the_line_before_it() -> None:
    assert not any("And old" in text and "slippery" not in text for _, text in said(read("rpy")))


def test_a_triple_quoted_block_is_one_utterance_for_each_paragraph() -> None:
    lines = said(read("rpy"))
    assert ("Mara", "The first thing.") in lines
    assert ("Mara", "The second thing, on two lines.") in lines


def test_a_string_may_run_over_lines() -> None:
    assert ("Ann", "What a long string that goes over two lines.") in said(read("rpy"))


def test_menu_choices_are_the_players_and_what_follows_them_is_not() -> None:
    lines = read("rpy")
    assert said(lines, "choice") == [(None, "Light the lamp"), (None, "Walk away")]
    assert ("Mara", "What will you do?") in said(lines)
    assert ("Mara", "Good.") in said(lines)


def test_a_narrator_has_no_name() -> None:
    narration = said(read("rpy"), "narration")
    assert narration == [(None, "The quay is empty."), (None, "Nobody answers."), (None, "Chapter One")]


def test_code_screens_styles_images_and_music_are_never_speech() -> None:
    everything = " | ".join(line.text for line in read("rpy"))
    for never in (
        "not speech",
        "also no",
        "Buy something",
        "Leave",
        "x.ttf",
        "ogg",
        "Saved",
        "title card",
        "png",
        "#fff",
    ):
        assert never not in everything
    assert "This one was cut" not in everything


def test_a_speaker_no_file_defines_keeps_the_name_the_script_uses() -> None:
    assert ("x_unknown", "Somebody without a definition.") in said(read("rpy"))


def test_labels_are_scenes() -> None:
    scenes = {line.text: line.scene for line in read("rpy")}
    assert scenes["The quay is empty."] == "start"
    assert scenes["Down here."] == "start.cellar"
    assert scenes["(m sighs) It is lit."] == "lit"


def test_a_translation_states_its_language_and_its_line() -> None:
    (line,) = [line for line in read("rpy") if line.lang]
    assert (line.speaker, line.text, line.lang) == ("Mara", "Bonsoir, l'été est fini.", "french")
    assert (line.id, line.scene) == ("start_1a2b3c4d", "start")


def test_every_line_says_where_it_was_read() -> None:
    line = next(line for line in read("rpy") if line.text == "The quay is empty.")
    assert line.source.file.endswith("rpy/scene.rpy")
    assert line.source.place == "line 12"


def test_a_string_that_is_never_closed_costs_its_own_line_only(tmp_path: Path) -> None:
    path = text_file(
        tmp_path, "a.rpy", 'label start:\n    m "never closed\n    m "Fine."\n' + '    m "Also fine."\n' * 300
    )
    assert ("m", "Also fine.") in [(line.speaker, line.text) for line in Reading([path])]


def test_a_compiled_script_is_refused_with_the_tool_that_helps(tmp_path: Path) -> None:
    path = text_file(tmp_path, "scene.rpyc", b"RENPY RPC2\x01\0\0\0")
    reading = Reading([path])
    assert list(reading) == []
    assert "unrpyc" in str(reading.failed[0])
    assert "scene.rpyc" in str(reading.failed[0])
