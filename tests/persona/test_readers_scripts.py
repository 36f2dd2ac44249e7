"""Dialogue scripts and string tables of engines and games: who speaks, what is the player's, what is never speech."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from modkit.errors import DumpError
from modkit.persona import DumpFile, Join, Reading
from modkit.persona.readers import all_readers, best_reader
from modkit.persona.readers.values import entries
from tests.persona.forced import force
from tests.persona.support import DATA, mutate, read, said, text_file

SCRIPTS = DATA / "scripts"

FORMATS = {
    "closecaption_english.txt": "captions",
    "harbour.yarn": "yarn",
    "harbour.csv": "yarn-csv",
    "godot.csv": "yarn-csv",
    "quay.ink": "ink",
    "house.ink": "ink",
    "quay.ink.json": "ink-json",
    "quay.twee": "twee",
    "story.html": "twee",
    "articy.json": "articy",
    "articy_loc.json": "articy",
    "articy.xml": "articy-xml",
    "talk.json": "cdda",
    "npcs.json": "cdda",
    "quay.cfg": "wesnoth",
    "quay.po": "gettext",
    "kmara.msg": "fallout",
    "scrname.msg": "fallout",
    "kmara.ssl": "fallout-ssl",
    "en_us.json": "minecraft",
    "quay.dialogue": "godot-dialogue",
    "chat.jsonl": "sillytavern",
    "unity.json": "unity-dialogue",
    "morrowind.json": "morrowind",
}


def script(*names: str) -> list:  # type: ignore[type-arg]
    return read(*(f"scripts/{name}" for name in names))


@pytest.mark.parametrize(("name", "expected"), FORMATS.items())
def test_each_format_is_recognised_by_what_is_in_it(tmp_path: Path, name: str, expected: str) -> None:
    found = best_reader(DumpFile(SCRIPTS / name))
    assert found is not None
    assert found.name == expected


# -- captions ---------------------------------------------------------------------------------------


def test_a_caption_is_spoken_by_whom_it_names() -> None:
    lines = script("closecaption_english.txt")
    assert said(lines) == [
        ("Mara", "Mind the wet step. It is old."),
        ("tobin", "Evening, all."),
        ("Mara", "[Coughs]"),
        (None, 'Someone has said "stop".'),
        ("Edda", 'She said "no" to me.'),
    ]
    assert said(lines, "direction") == [(None, "Door creaks")]
    assert {line.lang for line in lines} == {"english"}


def test_a_translation_does_not_bring_its_original_along() -> None:
    assert not any("original" in line.text for line in script("closecaption_english.txt"))


# -- Yarn -------------------------------------------------------------------------------------------


def test_yarn_lines_have_the_names_before_the_colon() -> None:
    lines = script("harbour.yarn")
    assert said(lines) == [
        ("Mara", "Mind the wet step, {$player}."),
        ("Tobin", "Evening."),
        ("Mara", "Good."),
        ("Edda", "Careful: it is dark."),
        ("Mara", "I have {$n} lamps."),
        ("Mara", "Time: half past nine."),
    ]
    assert said(lines, "narration") == [(None, "The lamp goes out.")]
    assert [line.id for line in lines][:2] == ["line:aa01", "line:aa02"]
    assert {line.scene for line in lines} == {"Harbour", "Cellar"}


def test_yarn_options_are_the_players() -> None:
    assert said(script("harbour.yarn"), "choice") == [(None, "Light it"), ("Mara", "Leave it."), (None, "Go down")]


def test_a_string_table_takes_from_the_script_what_it_does_not_say_itself() -> None:
    lines = [line for line in script("harbour.csv", "harbour.yarn") if line.source.file.endswith(".csv")]
    assert [(line.kind, line.speaker, line.text, line.scene, line.lang) for line in lines] == [
        ("dialogue", "Mara", "Vorsicht, die Stufe ist nass, {$player}.", "Harbour", "de"),
        ("choice", None, "Anzünden", "Harbour", "de"),
        ("narration", None, "A line of no script.", "Other", "en"),
    ]


def test_a_table_of_keys_has_a_line_for_each_language() -> None:
    lines = script("godot.csv")
    assert {(line.speaker, line.text, line.lang) for line in lines} == {
        ("Mara", "Good night.", "en"), ("Mara", "Gute Nacht.", "de"), ("Tobin", "Bye.", "en"),
    }  # fmt: skip


# -- Ink --------------------------------------------------------------------------------------------


def test_ink_is_prose_that_nobody_is_said_to_speak() -> None:
    lines = script("quay.ink")
    assert [text for _, text in said(lines, "narration")] == [
        "The quay is empty.",
        "There is {oil} oil left.",
        "The tide is in.",
        "The tide is out.",
        "Light the lamp, and wait.",
        "The wick catches at once.",
        "Nobody calls after you.",
        "It is dark.",
        "It is bright.",
        "Down here it is dry.",
    ]
    assert said(lines, "choice") == [(None, "Light the lamp."), (None, "Walk away")]
    assert said(lines) == [("Mara", '"Hello," says someone.')]  # whom a tag names
    assert {line.scene for line in lines} == {"quay", "quay.cellar"}


def test_a_story_that_writes_names_throughout_has_speakers() -> None:
    lines = script("house.ink")
    assert ("Tobin", "Note: it is wet.") in said(lines)
    assert {speaker for speaker, _ in said(lines)} == {"Mara", "Tobin"}
    assert said(lines, "choice") == [(None, "Laugh")]


def test_a_compiled_story_says_what_its_source_says() -> None:
    lines = script("quay.ink.json")
    assert [(line.kind, line.speaker, line.text) for line in lines] == [
        ("narration", None, "The quay is empty."),
        ("choice", None, "Light the lamp"),
        ("choice", None, "Walk away"),
        ("narration", None, "Light the lamp, and wait."),
        ("dialogue", "Mara", "Come back, {name}!"),
        ("narration", None, "It is bright again."),
        ("narration", None, "Down here it is dry."),
        ("narration", None, "Deeper."),
    ]
    assert [line.scene for line in lines][-2:] == ["cellar", "cellar.deep"]


# -- Twine ------------------------------------------------------------------------------------------


def test_passages_are_narration_and_their_links_choices() -> None:
    lines = script("quay.twee")
    assert [text for _, text in said(lines, "narration")] == [
        "The Quay", "The quay is empty. You have $oil lamps.", "Health: good", "It is dry.",
    ]  # fmt: skip
    assert [text for _, text in said(lines, "choice")] == ["Light it", "walk away", "Shout", "Knock"]
    assert not any(line.speaker for line in lines)
    assert not any("never" in line.text for line in lines)


def test_a_published_story_is_read_like_its_source() -> None:
    lines = script("story.html")
    assert [(line.kind, line.text) for line in lines] == [("narration", 'The quay is "empty".'), ("choice", "Go on")]


# -- articy -----------------------------------------------------------------------------------------


def test_articy_fragments_are_spoken_by_the_model_they_point_to() -> None:
    lines = script("articy.json", "articy_loc.json")
    assert said(lines) == [("Mara", "Mind the wet step."), ("Mara", "It has always been wet.")]
    assert said(lines, "narration") == [(None, "The lamp goes out.")]
    assert said(lines, "choice") == [(None, "Ask about it")]
    assert said(lines, "direction") == [(None, "quietly")]
    assert {line.scene for line in lines} == {"At the quay"}


def test_a_key_that_no_file_resolves_is_not_speech() -> None:
    assert not any("DFr_3" in line.text for line in script("articy.json"))


def test_articy_xml_has_a_line_for_each_language() -> None:
    lines = script("articy.xml")
    assert [(line.speaker, line.text, line.lang) for line in lines if line.kind == "dialogue"] == [
        ("Mara", "Mind the step.", "en"), ("Mara", "Vorsicht, Stufe.", "de"),
    ]  # fmt: skip
    assert said(lines, "narration") == [(None, "The lamp goes out.")]


def test_xml_that_declares_entities_is_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><ArticyData><DialogueFragment/></ArticyData>'
    reading = Reading([text_file(tmp_path, "a.xml", bomb)])
    assert list(reading) == []
    assert "DOCTYPE" in str(reading.failed[0])


# -- Cataclysm --------------------------------------------------------------------------------------


def test_a_topic_is_spoken_by_the_one_whose_chat_leads_to_it() -> None:
    lines = script("talk.json", "npcs.json")
    assert said(lines) == [
        ("Mara Quist", "Back again, <name_g>?"),
        ("Mara Quist", "Who are you?"),
        ("Mara Quist", "Sit down. Sir."),
        (None, "A dark night."),  # two people's chats lead here
        (None, "Fine weather."),
    ]
    assert said(lines, "narration") == [(None, "looks up."), (None, "A man coughs.")]
    assert [text for _, text in said(lines, "choice")] == [
        "A traveller.", "I have oil.", "I have none.", "Ask.", "Well?",
    ]  # fmt: skip


def test_without_the_people_nobody_is_named() -> None:
    assert {speaker for speaker, _ in said(script("talk.json"))} == {None}


# -- Wesnoth, gettext -------------------------------------------------------------------------------


def test_wml_messages_have_units_and_roles_have_no_name() -> None:
    lines = script("quay.cfg")
    assert said(lines) == [
        ("Mara Quist", 'She said "mind it" — so mind it, $unit.name|. And now. Go.'),
        (None, "Nobody knows who I am."),
        ("Tobin", "Good."),
    ]
    assert said(lines, "choice") == [(None, "Light the lamp")]
    assert said(lines, "narration") == [(None, "Night falls.")]
    assert said(lines, "direction") == [(None, "(coughs)")]
    assert {line.scene for line in lines} == {"start"}


def test_a_catalogue_names_speakers_only_in_its_comments() -> None:
    lines = script("quay.po")
    assert [(line.kind, line.speaker, line.text, line.lang) for line in lines] == [
        ("dialogue", "Mara", "Vorsicht, die Stufe.", "de"),
        ("dialogue", None, "Nobody knows.", None),
        ("choice", None, "Zünde an", "de"),
        ("dialogue", "Tobin", "Evening, %s. All well?", None),
    ]
    assert lines[-1].id == "Quay,Hello_01"


# -- Fallout, Minecraft, Morrowind ------------------------------------------------------------------


def test_a_message_file_is_explained_by_its_script_and_the_list_of_names() -> None:
    lines = script("kmara.msg", "kmara.ssl", "scrname.msg")
    assert said(lines) == [
        ("Mara Quist", "Mind the step."),
        ("Mara Quist", "Who are you?"),
        (None, "Nobody knows who says this."),
    ]
    assert said(lines, "choice") == [(None, "I will.")]
    assert said(lines, "narration") == [(None, "You see Mara.")]


def test_a_message_file_alone_names_nobody() -> None:
    lines = script("kmara.msg")
    assert {line.speaker for line in lines} == {None}
    assert said(lines, "choice") == []


def test_a_russian_message_file_is_read_in_its_own_alphabet(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.msg", "{110}{}{Осторожно, ступенька мокрая.}\n".encode("cp1251"))
    assert [line.text for line in Reading([path])] == ["Осторожно, ступенька мокрая."]


def test_a_role_in_a_key_speaks_and_a_block_does_not() -> None:
    lines = script("en_us.json")
    assert said(lines) == [("villager", "Mind the step, %1$s."), (None, "Dear friend.")]
    assert {line.lang for line in lines} == {"en_us"}


def test_morrowind_answers_have_the_names_of_their_ids() -> None:
    lines = script("morrowind.json")
    assert said(lines) == [("Mara Quist", "Mind the wet step, %PCName."), (None, "Nobody in particular.")]
    assert said(lines, "choice") == [(None, "Why?"), (None, "Fine.")]
    assert said(lines, "journal") == [(None, "I met Mara.")]
    assert [line.scene for line in lines][-1] == "MQ_01"


def test_a_long_list_is_read_in_pieces(tmp_path: Path) -> None:
    rows = [{"type": "Filler", "n": n, "text": "x" * 400} for n in range(3000)]
    path = text_file(tmp_path, "a.json", json.dumps(rows, indent=2))
    assert [entry["n"] for entry in entries(DumpFile(path))] == list(range(3000))
    broken = text_file(tmp_path, "b.json", json.dumps(rows, indent=2)[:-500])
    got = []
    with pytest.raises(DumpError, match="breaks off"):
        for entry in entries(DumpFile(broken)):
            got.append(entry["n"])
    assert got == list(range(2998))


# -- Godot, SillyTavern, Unity ----------------------------------------------------------------------


def test_a_godot_script_has_lines_and_responses() -> None:
    lines = script("quay.dialogue")
    assert said(lines) == [
        ("Mara", "Mind the wet step, {{player}}."),
        ("Tobin", "It is dry."),
        ("Mara", "Good."),
        ("Mara", "Hm."),
        ("Mara", "Down here it is dry."),
    ]
    assert said(lines, "choice") == [(None, "Light it"), (None, "Walk away")]
    assert said(lines, "narration") == [(None, "The lamp goes out.")]
    assert lines[0].id == "A1"


def test_a_chat_keeps_the_users_words_apart() -> None:
    lines = script("chat.jsonl")
    assert [(line.kind, line.speaker, line.addressee, line.text) for line in lines] == [
        ("dialogue", "Mara", "Ann", "She looks up. Evening, Ann. I am Mara."),
        ("dialogue", "Ann", "Mara", "Hello, you."),
        ("narration", None, None, "Night falls."),
    ]


def test_a_unity_database_says_who_is_the_player() -> None:
    lines = script("unity.json")
    assert [(line.kind, line.speaker, line.text, line.lang) for line in lines] == [
        ("dialogue", "Mara", "Mind the wet step, [var=Name].", None),
        ("dialogue", "Mara", "Vorsicht, Stufe.", "de"),
        ("choice", "Player", "Ask", None),
    ]
    assert lines[0].addressee == "Player"


# -- damage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_damage_of_any_kind_is_read_or_refused(tmp_path: Path, name: str) -> None:
    raw = (SCRIPTS / name).read_bytes()
    (own,) = [each for each in all_readers() if each.name == FORMATS[name]]
    damaged = [mutate(raw, seed) for seed in range(1000)] + [raw[: len(raw) * n // 50] for n in range(50)]
    for number, data in enumerate(damaged):
        file, join = DumpFile(text_file(tmp_path, name, data)), Join()
        for each in [own] if number % 10 else {own, best_reader(file) or own}:
            try:
                if each.scan is not None:
                    each.scan(file, join)
                for line in each.read(file, join):
                    if line is not None:
                        line.text.encode("utf-8")
                        assert line.text
            except DumpError as error:
                assert str(error).startswith(file.name)


@pytest.mark.parametrize("name", FORMATS)
def test_no_reader_breaks_on_a_script_of_another_format(name: str) -> None:
    for each in all_readers():
        force(each, SCRIPTS / name)


def test_json_nested_beyond_reason_is_refused_or_passed_over(tmp_path: Path) -> None:
    deep = "[" * 50_000 + "]" * 50_000
    shapes = {
        "a.json": '{"inkVersion": 21, "root": %s}',
        "b.json": '[{"type": "talk_topic", "id": "T", "dynamic_line": %s}]',
        "c.json": '{"actors": [{"fields": %s}], "conversations": []}',
        "d.json": '{"Packages": [{"Models": %s}]}',
        "e.json": '[{"type": "Header", "file_type": "Esp"},\n{"type": "DialogueInfo", "text": %s}\n]',
        "f.jsonl": '{"name": "A", "is_user": false, "mes": %s}\n',
    }
    for name, shape in shapes.items():
        reading = Reading([text_file(tmp_path, name, shape % deep)])
        assert list(reading) == []
    medium = '{"inkVersion": 21, "root": ' + "[" * 400 + '"^words"' + ', "\\n"]' * 400 + "}"
    reading = Reading([text_file(tmp_path, "g.json", medium)])
    list(reading)
    assert [problem.fatal for problem in reading.problems] == [False]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", '"lang"\n{\n"Tokens"\n{\n' + '"\\"' * 100_000),
        ("a.txt", '"lang"\n{\n"Tokens"\n{\n"a" "' + "<" * 300_000 + '"\n'),
        ("a.yarn", "title: a\n---\n" + "<<" * 100_000 + "\n" + "[[" * 100_000 + "\n" + "{" * 200_000 + "\n===\n"),
        ("a.yarn", "title: a\n---\n" + "#a " * 100_000 + "!\n" + "[select " * 50_000 + "\n===\n"),
        ("a.ink", "=== a\n-> b\n" + "{" * 200_000 + "\n" + "{a|" * 60_000 + "\n" + "[{" * 60_000),
        ("a.ink", "=== a\n-> b\n" + "{\n" * 60_000 + "- x: y\n" * 30_000),
        ("a.twee", ":: Start\n" + "(a:\n" * 40_000 + "<<" * 60_000 + "[[" * 60_000),
        ("a.twee", ":: Start\n:: " + " " * 200_000 + "\n" + "<!--" * 40_000),
        ("a.cfg", "[message]\n[/message]\n" + "[message]\n" * 50_000 + '"' * 100_001),
        ("a.cfg", "[message]\n[/message]\n" + "{" * 100_000 + "\na=" + "<<" * 60_000),
        ("a.po", 'msgid "a"\nmsgstr "b"\n' + 'msgid "' * 30_000 + '\n"x"' * 30_000),
        ("a.msg", "{1}{}{a}\n" + "{1}{" * 80_000),
        ("a.dialogue", "~ a\n=> b\n" + "[" * 200_000 + "\n" + "a:" * 80_000 + "\n" + "Mara:\n" * 30_000),
        ("a.json", '{"inkVersion":21,"root":[' + '"^a","\\n",' * 30_000 + "null]}"),
        ("a.json", '[\n{"type": "talk_topic"},\n' + "{\n}\n" * 50_000 + "[\n"),
        ("a.xml", "<ArticyData>" + "<DialogueFragment>" * 30_000),
    ],
    ids=range(16),
)
def test_hostile_files_cost_time_in_proportion(tmp_path: Path, name: str, content: str) -> None:
    path = text_file(tmp_path, name, content)
    start = time.process_time()
    list(Reading([path]))
    assert time.process_time() - start < 5.0
