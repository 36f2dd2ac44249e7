"""Files of games: who speaks in them, what joins with what, and that damage is read or refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from modkit.persona import Line, Reading
from modkit.persona.readers import all_readers
from tests.persona.forced import force
from tests.persona.support import DATA, mutate, said, text_file

GAMES = DATA / "games"


def lines_of(*names: str) -> list[Line]:
    """Every line of these data files; problems that end no file are allowed."""
    reading = Reading([GAMES / name for name in names])
    lines = list(reading)
    assert reading.failed == []
    return lines


def everything(lines: list[Line]) -> list[tuple[str | None, str, str]]:
    return [(line.speaker, line.kind, line.text) for line in lines]


# Cyberpunk 2077


def test_a_scene_says_who_speaks_and_holds_its_own_english() -> None:
    lines = [line for line in lines_of("cp/q001_pier.scene.json") if line.kind == "dialogue"]
    assert everything(lines) == [("mara", "dialogue", "Stop her!"), ("V", "dialogue", "Why would I?")]
    assert (lines[0].id, lines[0].addressee, lines[0].scene) == ("18446744073709551614", "V", "q001_pier")


def test_a_scene_takes_from_subtitles_what_it_does_not_hold() -> None:
    lines = lines_of("cp/q001_pier.scene.json", "cp/localization/en-us")
    assert ("tobin", "So. High tide! Run.") in said(lines)
    assert len([line for line in lines if line.id == "15"]) == 1


def test_lines_without_an_actor_and_drafts_are_nobodys_words() -> None:
    texts = [line.text for line in lines_of("cp")]
    assert not any("nobody says" in text or "waves her arms" in text for text in texts)


def test_options_are_the_players_and_another_language_says_so() -> None:
    lines = lines_of("cp")
    assert (None, "choice", "Ask about the tide.") in everything(lines)
    (japanese,) = [line for line in lines if line.lang == "jp-jp"]
    assert (japanese.speaker, japanese.scene) == ("V", "q001_pier")


def test_the_name_of_a_voice_file_says_whose_subtitle_it_is() -> None:
    lines = lines_of("cp/voices.txt", "cp/localization/en-us")
    assert ("jackie", "Nobody, choom.") in said(lines)
    assert (None, "Who said this?") in said(lines)


def test_a_listing_of_voice_files_alone_asks_for_the_subtitles() -> None:
    reading = Reading([GAMES / "cp/voices.txt"])
    assert list(reading) == []
    assert "give the subtitles" in str(reading.failed[0])


def test_a_journal_finds_its_texts_and_names_in_the_onscreens() -> None:
    lines = lines_of("cp/contacts.journal.json", "cp/onscreens.json.json")
    assert ("Mara Quill", "message", "The tide is in.") in everything(lines)
    assert ("V", "message", "On my way.") in everything(lines)
    assert (None, "choice", "Coming.") in everything(lines)
    assert (None, "journal", "Find the lantern.") in everything(lines)
    assert ("Edda Voss", "message", "It is due.") in everything(lines)
    assert not any("LocKey" in line.text for line in lines)
    assert sum(line.text == "The tide is in." for line in lines) == 1


def test_onscreens_alone_are_texts_without_a_speaker_in_the_old_shape() -> None:
    lines = lines_of("cp/onscreens.json.json")
    assert [line.text for line in lines] == ["Mara Quill", "The tide is in.", "Coming.", "No swimming"]
    assert {(line.speaker, line.kind) for line in lines} == {(None, "narration")}


# Bethesda


def test_a_dialogue_export_is_cp1252_and_in_the_order_of_responses() -> None:
    assert everything(lines_of("tes/dialogueExportPier.txt")) == [
        (None, "choice", "Who are you?"),
        ("MaraRef", "dialogue", 'Café "keeper" [Town], dear.'),
        ("MaraRef", "dialogue", "And old."),
        (None, "dialogue", "For the pier!"),
    ]


def test_a_scene_exported_once_per_voice_counts_once_in_the_order_of_its_phases() -> None:
    lines = lines_of("tes/SceneDialogue_PierMaleOld.txt", "tes/SceneDialogue_PierFemaleOld.txt")
    assert said(lines) == [("Mara", "Look."), ("Tobin", "Put it down."), ("Mara", "Never.")]
    assert lines[1].addressee == "Mara"


def test_a_translation_has_the_speakers_of_the_table_beside_it() -> None:
    lines = lines_of("tes/pier_english_german.xml", "tes/speakers.csv")
    assert ("Mara Quill", "Mind the step & the cat.") in said(lines)
    assert [line.lang for line in lines if line.speaker == "Mara Quill"] == ["english", "german"]
    assert (None, "Hm.") in said(lines)
    assert (None, "choice", "Where is it?") in everything(lines)
    assert not any("Sword" in line.text for line in lines)


def test_a_translation_alone_names_nobody() -> None:
    lines = lines_of("tes/pier_english_german.xml", "tes/dsd.json")
    assert {line.speaker for line in lines} == {None}
    assert (None, "So it begins.") in said(lines)
    assert not any("Hood" in line.text for line in lines)


# RPG Maker


def test_speakers_come_from_the_box_the_prefix_the_face_and_the_event() -> None:
    lines = lines_of("rm")
    assert said(lines) == [
        ("Old Edda", "Mind the step, Harold. It is [variable 7] feet deep."),
        ("Mara", "You are welcome."),
        ("Harold", "I am here too."),
        ("Tobin", "Me too."),
        (None, "It is empty."),
        (None, "Good day."),
    ]
    assert {line.scene for line in lines} == {"The Pier"}
    assert said(lines, "choice") == [(None, "Thanks."), (None, "Who are you?")]
    assert not any("never run" in line.text for line in lines)


# Stardew Valley


def test_a_content_pack_speaks_the_texts_of_its_keys_box_by_box() -> None:
    lines = lines_of("stardew")
    assert [text for speaker, text in said(lines) if speaker == "Mara"] == [
        "Oh, hello.",
        "You are new here...",
        "It rains.",
        "It pours.",
        "Plain // not a comment.",
        "Hi [player], the [noun]?",
        "Do you fish?",
        "Look, a boat!",
    ]
    assert said(lines, "choice") == [(None, "I do."), (None, "Never.")]
    assert said(lines, "narration") == [(None, "Mara looks away."), (None, "A gull cries.")]
    assert said(lines, "message") == [(None, "Dear [player], Come soon. -Mara")]
    assert not any("Tides" in line.text for line in lines)


def test_keys_whose_file_is_missing_are_reported_and_never_spoken() -> None:
    reading = Reading([GAMES / "stardew/assets/mara.json"])
    assert not any("i18n" in line.text for line in reading)
    assert "i18n file that was not given" in str(reading.problems[0])


# WeiDU


def test_a_dialogue_speaks_the_lines_of_its_tra() -> None:
    lines = lines_of("weidu")
    assert said(lines) == [
        ("BMARA", "Good evening, <CHARNAME>."),
        ("BMARA", "Sit down."),
        ("BMARA", "Literal, <CHARNAME>."),
        ("BMARA", "Tobin // look."),
        ("BTOBIN", "I see it."),
        ("BMARA", "Good."),
    ]
    assert said(lines, "choice") == [(None, "I will ~stand~."), (None, "No."), (None, "Off I go.")]
    assert said(lines, "journal") == [(None, "Mara sent me off.")]
    assert {line.lang for line in lines if line.id} == {"english"}


def test_a_tra_alone_names_nobody() -> None:
    lines = lines_of("weidu/tra")
    assert {line.speaker for line in lines} == {None}
    assert len(lines) == 7


def test_an_installer_says_which_texts_a_dialogue_of_another_name_has(tmp_path: Path) -> None:
    (tmp_path / "tra" / "english").mkdir(parents=True)
    text_file(tmp_path, "mara.tp2", "COMPILE EVAL ~mod/dlg/mara_ee.d~ USING ~mod/tra/%LANGUAGE%/mara.tra~\n")
    text_file(tmp_path, "mara_ee.d", 'CHAIN\nIF ~InParty("Tobin")~\nTHEN ~%game%MARA~ a\n@0\n== ~TOBIN~ @1\nEXIT\n')
    text_file(tmp_path / "tra" / "english", "mara.tra", "@0 = ~Rain again.~\n@1 = ~It is the coast.~\n@2 = ~No.~\n")
    lines = list(Reading(tmp_path))
    assert said(lines) == [("MARA", "Rain again."), ("TOBIN", "It is the coast.")]


@pytest.mark.parametrize(
    ("language", "page", "text"),
    [
        ("polish", "cp1250", "Źle się czuję, łotrze."),
        ("russian", "cp1251", "Я здесь, путник."),
        ("schinese", "gb18030", "我在这里。"),
        ("french", "cp1252", "Ça suffit, été."),
    ],
)
def test_an_old_code_page_is_known_by_the_folder_of_its_language(
    tmp_path: Path, language: str, page: str, text: str
) -> None:
    folder = tmp_path / "tra" / language
    folder.mkdir(parents=True)
    text_file(folder, "mara.tra", f"@1 = ~{text}~\n".encode(page))
    assert [(line.lang, line.text) for line in Reading(tmp_path)] == [(language, text)]


# Larian, Witcher 3


def test_a_larian_dialogue_has_its_names_from_templates_and_its_texts_from_loca() -> None:
    assert everything(lines_of("bg3")) == [
        (None, "narration", "The gulls fall silent."),
        ("Mara", "dialogue", "Mind the step, [Player]."),
        (None, "choice", "Who are you? Speak."),
    ]


def test_witcher_strings_keep_bars_in_their_texts_and_state_their_language() -> None:
    lines = lines_of("witcher.csv")
    assert said(lines) == [(None, "Mind the step. It is wet."), (None, "One | two.")]
    assert {line.lang for line in lines} == {"en"}


# Hostile and damaged files

BOMB = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
)


@pytest.mark.parametrize("root", ["contentList", "SSTXMLRessources"])
def test_entities_are_refused_and_never_expanded(tmp_path: Path, root: str) -> None:
    content = f'{BOMB}]><{root}><content contentuid="h1">&j;</content></{root}>'
    reading = Reading([text_file(tmp_path, "bomb.xml", content)])
    assert list(reading) == []
    assert "entities" in str(reading.problems[0])


def test_an_external_entity_is_not_fetched(tmp_path: Path) -> None:
    secret = text_file(tmp_path, "secret.txt", "Mara: the secret.\n")
    entity = f'<!DOCTYPE x [<!ENTITY a SYSTEM "{secret.as_uri()}">]>'
    bomb = f'{entity}<contentList><content contentuid="h">&a;</content></contentList>'
    reading = Reading([text_file(tmp_path, "bomb.xml", bomb)])
    assert list(reading) == []


def test_what_stands_before_the_damage_is_read(tmp_path: Path) -> None:
    raw = (GAMES / "tes/pier_english_german.xml").read_bytes()
    reading = Reading([text_file(tmp_path, "a.xml", raw[: raw.index(b"QUST:CNAM")])])
    assert "Hm." in [line.text for line in reading]
    assert "damaged at line" in str(reading.failed[0])


def test_a_byte_of_an_old_code_page_in_xml_is_that_letter(tmp_path: Path) -> None:
    content = b'<contentList><content contentuid="h1">Caf\xe9</content></contentList>'
    assert [line.text for line in Reading([text_file(tmp_path, "a.xml", content)])] == ["Café"]


WKIT = '{"Header": {"WKitJsonVersion": "0.0.9"}, "Data": '
HOSTILE = {
    "wolvenkit nested": ("a.json", WKIT + '{"Data":' * 200_000),
    "wolvenkit lists": ("a.json", WKIT + "[" * 200_000),
    "kiroshi": (
        "a.json",
        WKIT + '{"$type": "localizationPersistenceSubtitleEntries", "entries": [{"stringId": "1", '
        '"femaleVariant": "' + "<kiroshi b=" * 30_000 + '"}]}}',
    ),
    "xml nested": ("a.xml", "<contentList>" + "<content>" * 200_000),
    "xml tag": ("a.xml", "<contentList><content a='" + "x" * 6_000_000),
    "lsx nested": ("a.lsx", '<save><region id="dialog">' + "<node><children>" * 100_000),
    "tra tildes": ("a.tra", "@1 = ~a~\n" + "~" * 200_001),
    "tra comments": ("a.tra", "@1 = ~a~\n" + "/*" * 200_000),
    "d percent": ("a.d", "BEGIN A SAY ~a~\n" + "% " * 100_001),
    "d words": ("a.d", "BEGIN A SAY ~a~\n" + "CHAIN " * 60_000),
    "stardew tokens": (
        "a.json",
        '{"Changes": [{"Action": "EditData", "Target": "Characters/Dialogue/A", "Entries": '
        '{"a": "' + "{{i18n:" * 50_000 + '"}}]}',
    ),
    "stardew quotes": ("a.json", '{"Changes": [{"Action": "EditData", "Target": "b' + '\\"' * 200_000),
    "stardew comments": ("a.json", '{"Changes": [{"Action": "EditData"}]' + "/*" * 200_000),
    "rpg codes": (
        "a.json",
        '[{"list": [{"code": 101, "indent": 0, "parameters": []}, {"code": 401, "indent": 0, '
        '"parameters": ["' + "\\\\n<" * 60_000 + '"]}]}]',
    ),
    "export": ("a.txt", "SPEAKER\tTOPICINFO\tRESPONSE TEXT\n" + "\t" * 400_000),
    "witcher": ("a.csv", ";meta[language=en]\n1|0||" + "<" * 400_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_games_cost_time_in_proportion(tmp_path: Path, name: str) -> None:
    path = text_file(tmp_path, *HOSTILE[name])
    start = time.process_time()
    for line in Reading([path]):
        assert line.text
    assert time.process_time() - start < 5.0


SAMPLES = [
    ("cp/q001_pier.scene.json",),
    ("cp/localization/en-us/pier.json.json", "cp/voices.txt"),
    ("cp/contacts.journal.json", "cp/onscreens.json.json"),
    ("tes/dialogueExportPier.txt",),
    ("tes/SceneDialogue_PierMaleOld.txt",),
    ("tes/pier_english_german.xml", "tes/speakers.csv"),
    ("tes/dsd.json",),
    ("rm/Map002.json", "rm/Actors.json", "rm/MapInfos.json"),
    ("stardew/assets/mara.json", "stardew/i18n/default.json"),
    ("weidu/mara.d", "weidu/tra/english/mara.tra"),
    ("bg3/pier.lsx", "bg3/Localization/English/english.xml"),
    ("bg3/narrated.lsj", "bg3/templates.lsx"),
    ("witcher.csv",),
]


@pytest.mark.parametrize("names", SAMPLES, ids=lambda names: names[0])
def test_damaged_files_of_games_are_read_or_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    raws = [(GAMES / name).read_bytes() for name in names]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    damages = [[mutate(raw, seed) for raw in raws] for seed in range(1000)]
    damages += [[raw[: len(raw) * n // 50] for raw in raws] for n in range(50)]
    for damaged in damages:
        for path, raw in zip(paths, damaged):
            path.write_bytes(raw)
        reading = Reading(paths)
        for line in reading:  # anything that is raised here fails the test
            line.text.encode("utf-8")
            assert line.text
        assert len(reading.files) + len(reading.failed) >= len(names)


@pytest.mark.parametrize("name", [name for names in SAMPLES for name in names])
def test_no_reader_breaks_on_the_file_of_another_game(name: str) -> None:
    for each in all_readers():
        force(each, GAMES / name)


def test_the_rest_of_an_rpg_maker_folder_is_silent_and_no_failure(tmp_path: Path) -> None:
    weapon = '{"id":1,"animationId":6,"description":"A dull oar.","iconIndex":97,"name":"Oar","note":"","price":3}'
    (tmp_path / "Weapons.json").write_text(f"[\nnull,\n{weapon}\n]", encoding="utf-8")
    (tmp_path / "System.json").write_text('{"airship":{"bgm":{}},"armorTypes":["","Hat"]}', encoding="utf-8")
    reading = Reading([tmp_path])
    assert list(reading) == [] and reading.problems == []
    (tmp_path / "Weapons.json").write_text('{"swords": 3}', encoding="utf-8")  # by its name alone nothing is believed
    again = Reading([tmp_path])
    assert list(again) == [] and [Path(problem.file).name for problem in again.failed] == ["Weapons.json"]


def test_where_somebody_goes_is_not_what_they_say(tmp_path: Path) -> None:
    pack = """{"Changes": [
      {"Action": "EditData", "Target": "Characters/schedules/Mara", "Entries": {"Mon": "800 Town 8 5 0/900 Pier 2 1"}},
      {"Action": "EditData", "Target": "Strings/schedules/Mara", "Entries": {"Mon.000": "The tide waits for nobody."}},
      {"Action": "EditData", "Target": "Data/Mail", "Entries": {"vote": "{{Someone.Mod/Result}}"}}]}"""
    text_file(tmp_path, "content.json", pack)
    assert [(line.speaker, line.text) for line in Reading(tmp_path)] == [("Mara", "The tide waits for nobody.")]


def test_the_creation_kits_mark_for_nobody_is_no_speaker(tmp_path: Path) -> None:
    names = ["SPEAKER", "TOPIC", "TOPICINFO", "PROMPT", "FILENAME", "RESPONSE INDEX", "TOPIC TEXT", "RESPONSE TEXT"]
    row = "\t".join(["--", "Greet", "1", "", "greet_1", "0", "", "Well met."])
    text_file(tmp_path, "dialogueExportGreet.txt", "\t".join(names) + "\n" + row + "\n")
    assert [(line.speaker, line.text) for line in Reading(tmp_path)] == [(None, "Well met.")]


def test_settings_are_not_a_talk(tmp_path: Path) -> None:
    text_file(tmp_path, "mod.archive.xl", "onscreens:\n  en-us: texts.json\nquest:\n  en-us: more.json\n")
    reading = Reading(tmp_path)
    assert list(reading) == []
    assert len(reading.failed) == 1


def test_what_somebody_says_at_the_cinema_is_theirs(tmp_path: Path) -> None:
    text_file(
        tmp_path,
        "movies.json",
        """{"Changes": [{"Action": "EditData", "Target": "Data/MoviesReactions", "Entries": {"Mara": {"NPCName": "Mara",
        "Reactions": [{"Tag": "spring", "SpecialResponses": {"BeforeMovie": {"Text": "A seat?$h#$b#By me."},
        "DuringMovie": null, "AfterMovie": {"Script": "", "Text": ""}}}, 3]}}}]}""",
    )
    assert said(list(Reading(tmp_path))) == [("Mara", "A seat?"), ("Mara", "By me.")]
