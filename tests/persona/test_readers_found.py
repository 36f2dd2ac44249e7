"""What real files of mods did that the written samples did not: each is here in a few lines of our own."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from modkit.persona import Line, Reading
from tests.persona.support import mutate, said, text_file


def lines_of(folder: Path, name: str, text: str | bytes) -> list[Line]:
    return list(Reading([text_file(folder, name, text)]))


def refused(folder: Path, name: str, text: str | bytes) -> str:
    """Why this file is not read; fails when it is."""
    reading = Reading([text_file(folder, name, text)])
    assert list(reading) == []
    return str(reading.failed[0])


# Larian


def spoken(handle: str, text: str | None = None) -> list[dict[str, object]]:
    said = {"type": 28, "handle": handle} | ({} if text is None else {"value": text})
    return [{"TaggedText": [{"TagTexts": [{"TagText": [{"TagText": said}]}]}]}]


def dialogue(people: str, *texts: list[dict[str, object]]) -> str:
    nodes = [{"constructor": {"value": "TagAnswer"}, "speaker": {"value": 0}, "TaggedTexts": text} for text in texts]
    speakers = [{"speaker": [{"index": {"type": 22, "value": "0"}, "list": {"type": 23, "value": people}}]}]
    dialog = {"nodes": [{"node": nodes}], "speakerlist": speakers}
    return json.dumps({"save": {"header": {"version": "2.0.8.2"}, "regions": {"dialog": dialog}}})


def test_a_dialogue_that_holds_its_own_words_needs_no_loca(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "pier.lsj", dialogue("mara-id", spoken("h1", "*Mind <b>the</b> step.*")))
    assert [(line.speaker, line.text, line.id) for line in lines] == [("mara-id", "Mind the step.", "h1")]


def test_the_loca_is_believed_before_the_dialogue(tmp_path: Path) -> None:
    text_file(tmp_path, "english.xml", '<contentList><content contentuid="h1">New words.</content></contentList>')
    text_file(tmp_path, "pier.lsj", dialogue("mara-id", spoken("h1", "Old words."), spoken("h2", "More.")))
    assert [line.text for line in Reading([tmp_path])] == ["New words.", "More."]


def test_a_text_that_was_never_written_is_not_missed(tmp_path: Path) -> None:
    unknown = spoken("ls::TranslatedStringRepository::s_HandleUnknown")
    reading = Reading([text_file(tmp_path, "pier.lsj", dialogue("mara-id", unknown, spoken("h2", "Here.")))])
    assert said(list(reading)) == [("mara-id", "Here.")]
    assert reading.problems == []


def test_a_template_that_holds_its_own_name_needs_no_loca(tmp_path: Path) -> None:
    template = (
        '<save><region id="Templates"><node id="Templates"><children><node id="GameObjects">'
        '<attribute id="MapKey" type="22" value="mara-id"/>'
        '<attribute id="DisplayName" type="28" value="Mara" handle="h9"/></node></children></node></region></save>'
    )
    text_file(tmp_path, "mara.lsx", template)
    text_file(tmp_path, "pier.lsj", dialogue("mara-id", spoken("h1", "Mind the step.")))
    assert said(list(Reading([tmp_path]))) == [("Mara", "Mind the step.")]


def test_where_several_may_stand_nobody_is_named(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "bark.lsj", dialogue("mara-id;tobin-id", spoken("h1", "Look out!")))
    assert said(lines) == [(None, "Look out!")]


def test_the_steps_of_a_quest_are_its_journal(tmp_path: Path) -> None:
    quest = (
        '<save><region id="Quests"><node id="root"><children><node id="Quest">'
        '<attribute id="QuestID" value="PIER"/><children><node id="QuestStep"><attribute id="ID" value="Met"/>'
        '<attribute id="Description" type="TranslatedString" handle="h7" version="1"/></node></children>'
        "</node></children></node></region></save>"
    )
    text_file(tmp_path, "english.xml", '<contentList><content contentuid="h7">We met her.</content></contentList>')
    text_file(tmp_path, "quest_prototypes.lsx", quest)
    lines = [line for line in Reading([tmp_path]) if line.kind == "journal"]
    assert [(line.text, line.scene, line.id) for line in lines] == [("We met her.", "PIER", "h7")]


# The Witcher 3


def test_a_text_whose_key_is_known_by_its_hash_alone_is_no_dialogue(tmp_path: Path) -> None:
    rows = ";meta[language=en]\n; id |key(hex)|key(str)| text\n 174131|77971da9||Stamina\n 300|00000000||Go home.\n"
    lines = lines_of(tmp_path, "en.csv", rows)
    assert [(line.kind, line.text) for line in lines] == [("narration", "Stamina"), ("dialogue", "Go home.")]


# Captions


def captions(*pairs: tuple[str, str], language: str = "russian") -> bytes:
    rows = "\n".join(f'"{token}"\t"{text}"' for token, text in pairs)
    return f'"lang"\n{{\n"Language" "{language}"\n"Tokens"\n{{\n{rows}\n}}\n}}\n'.encode("utf-16")


FILLER = [(f"quay.line_{n}", f"The {n}th lamp is lit.") for n in range(60)]


def test_names_are_read_in_any_alphabet_where_they_come_back(tmp_path: Path) -> None:
    talk = [("a.1", "<clr:255,1,1>Мара: Привет."), ("a.2", "教官：起床了！"), ("a.3", "教官：快去！")]
    lines = lines_of(tmp_path, "closecaption_russian.txt", captions(*talk, *FILLER))
    assert said(lines)[:3] == [("Мара", "Привет."), ("教官", "起床了！"), ("教官", "快去！")]


def test_a_colon_once_in_a_long_file_names_nobody(tmp_path: Path) -> None:
    talk = [("a.1", "Careful: the step is wet."), ("suit.1", "<sfx><clr:255,170,0>Warning: low oil.")]
    lines = lines_of(tmp_path, "closecaption_english.txt", captions(*talk, *FILLER))
    assert {line.speaker for line in lines} == {None}
    assert ("direction", "Warning: low oil.") in [(line.kind, line.text) for line in lines]


def test_half_a_tag_is_not_spoken(tmp_path: Path) -> None:
    talk = [("a.1", "<sfx><[Radio chatter]"), ("a.2", "fx>[Creak]"), ("a.3", "<clr:255,204,232Mara: It is me.")]
    lines = lines_of(tmp_path, "closecaption_english.txt", captions(*talk))
    assert [(line.kind, line.text) for line in lines] == [
        ("direction", "Radio chatter"), ("direction", "Creak"), ("dialogue", "It is me."),
    ]  # fmt: skip


def test_the_texts_of_menus_are_said_by_nobody(tmp_path: Path) -> None:
    menu = [("GameUI_NewGame", "NEW GAME"), ("GameUI_Site", "Site: %s1"), ("GameUI_Back", "BACK")]
    lines = lines_of(tmp_path, "harbour_english.txt", captions(*menu))
    assert {(line.kind, line.speaker) for line in lines} == {("narration", None)}


def test_compiled_files_are_named_with_what_to_give_instead(tmp_path: Path) -> None:
    assert "closecaption .txt" in refused(tmp_path, "closecaption_english.dat", b"VCCD\1\0\0\0")
    assert "LSLib" in refused(tmp_path, "English.loca", b"LOCA\1\0\0\0")
    assert "tes3conv" in refused(tmp_path, "Quay.esp", b"TES3\x2c\1\0\0")
    assert "w3strings first" in refused(tmp_path, "en.w3strings", b"RTSW\xa2\0\0\0")
    assert "AssetRipper" in refused(tmp_path, "data.bundle", b"UnityFS\0\0\0\0\7")
    assert "the .po" in refused(tmp_path, "de.mo", b"\xde\x12\x04\x95\0\0\0\0")
    assert "save it as CSV" in refused(tmp_path, "lines.xlsx", b"PK\3\4\x14\0\0\0")


# articy XML


ARTICY = """\ufeff<?xml version='1.0' encoding='utf-8' standalone='yes' ?>
<Export xmlns="http://www.nevigo.com/schemas/articydraft/2.4/XmlContentExport_FullProject.xsd" Version="2.4">
<Settings>{padding}</Settings><Content>
<Entity Id="0x01"><DisplayName Count="1"><LocalizedString Lang="">Mara</LocalizedString></DisplayName></Entity>
<DialogueFragment Id="0x11"><Text Count="1" HasMarkup="1"><LocalizedString Lang=""><![CDATA[<html><head><style>#s0
{{text-align:left;}} </style></head><body><p id="s0"><span>It is gl&#243;wny &amp; old.</span></p></body></html>]]>
</LocalizedString></Text><Speaker IdRef="0x01"/></DialogueFragment>
</Content></Export>"""


def test_an_export_that_begins_with_its_settings_is_known_by_its_schema(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "flow.xml", ARTICY.format(padding="<Size>1</Size>" * 6000))
    assert [(line.speaker, line.text, line.lang) for line in lines] == [("Mara", "It is glówny & old.", None)]


def test_an_export_that_breaks_off_gives_what_stands_before(tmp_path: Path) -> None:
    whole = ARTICY.format(padding="")
    reading = Reading([text_file(tmp_path, "flow.xml", whole[: whole.index("</Content>")])])
    assert [line.speaker for line in reading] == ["Mara"]
    assert "damaged" in str(reading.failed[0])


def test_damage_to_an_export_is_read_or_refused(tmp_path: Path) -> None:
    raw = ARTICY.format(padding="").encode("utf-8")
    for seed in range(1000):
        assert all(line.text for line in Reading([text_file(tmp_path, "flow.xml", mutate(raw, seed))]))


# Files beside the dialogue that are none


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("story.css", ".a {\n  color: red;\n  margin: 0;\n}\n.b {\n  color: blue;\n  margin: 1px;\n}\n"),
        ("style.txt", ".a {\ncolor: red;\nmargin: 0;\n}\n.b {\ncolor: blue;\nmargin: 1px;\n}\n"),
        ("notes.md", "# Setup\n\nAdd this.\n\n```yaml\nen-us: one\nen-us: two\nphases: a\nphases: b\n```\n"),
        ("changes-2.md", "# 2\n\nGeneral:\n* Fix it\n* A lamp\n\nThe Quay:\n* Fix a step\n\nGeneral:\n* Less fog\n"),
        ("Makefile", "NAME := quay\nNAME: all\nVERSION: 2\nall:\n\techo $(NAME)\n"),
        ("COPYING", "A PUBLIC LICENCE\nof some version\n\nA PUBLIC LICENCE\nThese are its terms.\n"),
        ("build.bat", "@echo off\n:: the compiler\nset A=1\n:: the linker\nset B=2\n"),
        ("run.ipynb", '{"cells": [{"outputs": [{"name": "stdout", "text": ["one\\\\n"]}]}]}'),
        ("quay.md", "Long prose about it.\n" * 8 + "Windows: install it\nProject page: see there\n"),
        ("ids.txt", "MQ102\nMin00\nMQ102\nTutorial\nMQ102\nMin00\n"),
        ("a.dialogue.import", '[remap]\n\nimporter="dialogue"\npath="res://a.tres"\n'),
        ("ClientScheme.res", '// colours\n"Scheme"\n{\n"Colors"\n{\n"White" "255 255 255 255"\n}\n}\n'),
        ("preset.json", '{"name": "Actor", "content": "You are an actor.", "post_history": ""}'),
        ("settings.json", '{"prompts": [{"name": "Main", "content": "Write a reply."}], "bias": [{"text": "x"}]}'),
        ("commit.json", '{"log_url": "x", "commits": [{"author": "Ann", "message": "Fix the door"}]}'),
    ],
)
def test_what_lies_beside_dialogue_is_not_taken_for_it(tmp_path: Path, name: str, text: str) -> None:
    assert "known here" in (why := refused(tmp_path, name, text)) or "speaker and text" in why


def test_a_name_with_a_content_is_speech_in_what_is_called_a_talk(tmp_path: Path) -> None:
    talk = {"title": "quay", "messages": [{"name": "Mara", "content": "Evening."}]}
    assert said(lines_of(tmp_path, "log.json", json.dumps(talk)), "message") == [("Mara", "Evening.")]
    flat = [{"name": "Mara", "content": "Evening."}]
    assert said(lines_of(tmp_path, "flat.json", json.dumps(flat))) == [("Mara", "Evening.")]


def test_a_talk_inside_a_fence_of_plain_text_is_read(tmp_path: Path) -> None:
    page = "# The quay\n\n```\nMara: Evening.\nTobin: Evening, all.\n```\n\n```json\n{}\n```\n"
    assert said(lines_of(tmp_path, "quay.md", page)) == [("Mara", "Evening."), ("Tobin", "Evening, all.")]


def test_a_list_of_a_games_things_is_not_a_list_of_texts(tmp_path: Path) -> None:
    things = [{"type": "spell", "id": str(n), "effects": [{"message": "It burns."}]} for n in range(5)]
    things.append({"type": "spell", "id": "arm", "name": "Arm", "message": "You arm it."})
    assert "speaker and text" in refused(tmp_path, "spells.json", json.dumps(things))


def test_a_list_of_scenes_is_read(tmp_path: Path) -> None:
    scenes = [{"scene": "quay", "lines": ["Evening.", "Mind the step."]}, {"scene": "pier", "lines": ["Late again."]}]
    assert [line.text for line in lines_of(tmp_path, "a.json", json.dumps(scenes))] == [
        "Evening.", "Mind the step.", "Late again.",
    ]  # fmt: skip


def test_a_name_of_a_list_of_lines_is_no_line(tmp_path: Path) -> None:
    topic = {"type": "talk_topic", "id": "TALK_A", "dynamic_line": ["<end_talking>", "Go on, <name_g>."]}
    topic["responses"] = [{"text": "<done_section>", "topic": "TALK_DONE"}, {"text": "Bye.", "topic": "TALK_DONE"}]
    lines = lines_of(tmp_path, "talk.json", json.dumps([topic]))
    assert [(line.kind, line.text) for line in lines] == [("dialogue", "Go on, <name_g>."), ("choice", "Bye.")]


# Twine


PASSAGES = """<tw-storydata name="Quay"><tw-passagedata pid="1" name="Start" tags="">The lamp is {lamp.state}.
[[Light it-&gt;Lit]]</tw-passagedata></tw-storydata>"""


def page(program: str, story: str) -> str:
    return f"<!DOCTYPE html>\n<html><head><script>{program}</script></head><body>{story}</body></html>"


def test_a_story_behind_a_long_program_is_found(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "quay.html", page("play();\n" * 50_000, PASSAGES))
    assert said(lines, "narration") == [(None, "The lamp is {lamp.state}.")]
    assert said(lines, "choice") == [(None, "Light it")]


def test_a_page_without_a_story_is_none(tmp_path: Path) -> None:
    assert "known here" in refused(tmp_path, "quay.html", page("play();\n" * 20_000, "<p>Hello: there.</p>"))


def test_a_story_of_the_first_twine_is_read(tmp_path: Path) -> None:
    store = (
        '<div id="storeArea"><div tiddler="Start" tags="" modifier="x">Fog.\\nThe [[lamp|Lamp]] is out.</div>'
        '<div tiddler="Code" tags="script">never(said)</div></div>'
    )
    assert [line.text for line in lines_of(tmp_path, "quay.html", page("play();", store))] == [
        "Fog.", "The lamp is out.", "lamp",
    ]  # fmt: skip


def test_a_chapbook_program_is_not_prose(tmp_path: Path) -> None:
    story = ":: StoryData\n{}\n\n:: Start\nFog.\n[JavaScript]\nsay('never');\n[continue]\nYou have {oil}.\n"
    assert [line.text for line in lines_of(tmp_path, "quay.twee", story)] == ["Fog.", "You have {oil}."]


def test_what_a_model_thought_is_not_what_it_said(tmp_path: Path) -> None:
    rows = [
        {"user_name": "Ann", "character_name": "Mara", "chat_metadata": {}},
        {"name": "Mara", "is_user": False, "mes": "<think>She\nasks.</think> *Nods.* Evening, {{user}}.<!-- hp: 3 -->"},
        {"name": "Mara", "is_user": False, "mes": "<think>never closed"},
    ]
    lines = lines_of(tmp_path, "chat.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert said(lines) == [("Mara", "Nods. Evening, Ann.")]


def test_a_mods_own_words_before_a_key_do_not_make_it_speech(tmp_path: Path) -> None:
    texts = {
        "quaymod.subtitle.creak": "Door creaks", "quaymod.gui.title": "The Quay", "description.quaymod.lamp": "A lamp",
        "block.quaymod.lamp": "Lamp", "villager.quaymod.hello": "Evening, %1$s.", "dialogue.quaymod.tide": "High tide.",
    }  # fmt: skip
    (tmp_path / "lang").mkdir()
    lines = lines_of(tmp_path / "lang", "en_us.json", json.dumps(texts))
    assert said(lines) == [("villager", "Evening, %1$s."), (None, "High tide.")]


def test_a_key_that_has_no_translation_is_no_words(tmp_path: Path) -> None:
    pairs = [("", "Language: de\\n"), ("quay.line_1", ""), ("quay.line_2", "Nebel."), ("Fog.", "")]
    pot = "".join(f'msgid "{key}"\nmsgstr "{text}"\n\n' for key, text in pairs)
    assert [line.text for line in lines_of(tmp_path, "quay.po", pot)] == ["Nebel.", "Fog."]


# Skyrim's translations


def translations() -> str:
    return json.dumps(
        [
            {"original": "Evening.", "string": "Abend.", "form_id": "020145DC|a.esm", "type": "INFO NAM1", "index": 1},
            {"original": "Ask", "string": "Fragen", "form_id": "020145DD|a.esm", "type": "DIAL FULL"},
        ]
    )


def test_a_translation_is_in_the_language_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "german").mkdir()
    lines = lines_of(tmp_path / "german", "a.esm.json", translations())
    assert [(line.text, line.lang) for line in lines if line.kind == "dialogue"] == [
        ("Evening.", None), ("Abend.", "german"),
    ]  # fmt: skip


def test_a_translation_that_breaks_off_gives_what_is_whole(tmp_path: Path) -> None:
    reading = Reading([text_file(tmp_path, "a.esm.json", translations()[:-30])])
    assert [line.text for line in reading] == ["Evening.", "Abend."]
    assert "breaks off" in str(reading.failed[0])


def test_a_plugin_that_breaks_off_gives_the_answers_before(tmp_path: Path) -> None:
    plugin = [
        {"type": "Header", "file_type": "Esp"},
        {"type": "Npc", "id": "mara_q", "name": "Mara"},
        {"type": "Dialogue", "id": "fog", "dialogue_type": "Topic"},
        {"type": "DialogueInfo", "id": "1", "prev_id": "", "text": "Thick tonight.", "speaker_id": "mara_q"},
        {"type": "DialogueInfo", "id": "2", "prev_id": "1", "text": "Never read.", "speaker_id": "mara_q"},
    ]
    reading = Reading([text_file(tmp_path, "a.json", json.dumps(plugin)[:-20])])
    assert said(list(reading)) == [("Mara", "Thick tonight.")]
    assert len(reading.failed) == 1
    assert "breaks off" in str(reading.failed[0])


HOSTILE = {
    "styles.xml": ARTICY.format(padding="").replace("<span>", "<style" * 100_000 + "<span>"),
    "divs.html": "<html>" + '<div tiddler="a"' * 100_000 + '<div id="storeArea">',
    "passages.html": '<html><div id="storeArea">' + '<div tiddler="a">x\n\n\n</div>\n\n' * 30_000,
    "modifiers.twee": ":: StoryData\n{}\n:: Start\n" + "[note]\n" * 100_000,
    "thoughts.jsonl": '{"is_user": false, "name": "A", "mes": "' + "<think>" * 100_000 + '"}',
    "fences.md": "Mara: Hi.\nTobin: Hi.\n" + "```yaml\n" * 100_000,
    "names_english.txt": '"lang"\n{\n"Tokens"\n{\n' + '"a.b" "A A A A A A A A A A A A A"\n' * 30_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_cost_time_in_proportion(tmp_path: Path, name: str) -> None:
    path = text_file(tmp_path, name, HOSTILE[name])
    begun = time.process_time()
    for line in Reading([path]):
        assert line.text
    assert time.process_time() - begun < 20  # squared it would be minutes


# JSON that games write for themselves


def test_what_is_answered_to_a_choice_is_said_by_who_offers_it(tmp_path: Path) -> None:
    node = {"speaker": "Mara", "text": "What brings you?", "options": [{"text": "Oil.", "response": "Two coins."}]}
    lines = lines_of(tmp_path, "a.json", json.dumps({"nodes": [node]}))
    assert [(line.kind, line.speaker, line.text) for line in lines] == [
        ("dialogue", "Mara", "What brings you?"), ("choice", None, "Oil."), ("dialogue", "Mara", "Two coins."),
    ]  # fmt: skip


def test_what_is_called_dialogue_is_so_without_a_speaker(tmp_path: Path) -> None:
    tree = {"dialogue_trees": {"mara": {"hello": {"npc_text": "Evening.", "options": [{"text": "Bye."}]}}}}
    lines = lines_of(tmp_path, "a.json", json.dumps(tree))
    assert [(line.kind, line.speaker, line.text) for line in lines] == [
        ("dialogue", None, "Evening."), ("choice", None, "Bye."),
    ]  # fmt: skip
    named = {"quay": {"npc_name": "Mara", "text": "Mind the step."}}
    assert said(lines_of(tmp_path, "b.json", json.dumps(named))) == [("Mara", "Mind the step.")]
