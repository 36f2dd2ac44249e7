"""The .persona file: built whole, opened read-only, asked without fear of what is typed."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import apsw
import pytest

from modkit.errors import DumpError, OptionError, PersonaError
from modkit.persona import Persona, build
from modkit.persona.store import APPLICATION_ID, FORMAT
from modkit.persona.voice import Census
from tests.persona.support import DATA, built, text_file

TALK = """# The pier
Player: Who keeps the lighthouse?
Mara: Old Ferris does, since the flood.
Tobin: The ferry leaves at dawn.
Mara: Then I shall not sleep.

# The inn
Player: Is the café open?
Mara: The café is closed. Señor Gómez is at sea.
Player: And why?
Mara: Herring. It is always herring.

# A room without her
Tobin: The treasure is under the third plank.
Edda: Nobody must know about the treasure.
"""


@pytest.fixture
def mara(tmp_path: Path) -> Persona:
    return built(tmp_path, TALK)


def best(persona: Persona, question: str) -> str:
    return persona.ask(question, 1)[0].text


def test_the_answer_is_found_by_its_words_and_by_the_question_it_answered(mara: Persona) -> None:
    assert best(mara, "Tell me about Ferris") == "Old Ferris does, since the flood."
    assert best(mara, "Who is it that keeps the lighthouse?") == "Old Ferris does, since the flood."
    assert best(mara, "why?").startswith("Herring")


def test_a_memory_says_where_it_is_from(mara: Persona) -> None:
    (memory,) = mara.ask("Who keeps the lighthouse?", 1)
    assert (memory.speaker, memory.kind, memory.scene) == ("Mara", "dialogue", "The pier")
    assert memory.cue == "Who keeps the lighthouse?"
    assert memory.source.file.endswith("talk.txt")
    assert memory.source.place == "line 3"
    assert memory.score > 0


def test_case_accents_and_endings_do_not_count(mara: Persona) -> None:
    assert best(mara, "CAFE").startswith("The café")
    assert best(mara, "senor gomez").startswith("The café")
    assert best(mara, "who slept?").startswith("Then I shall not sleep")


def test_only_what_she_said_or_heard_comes_back(mara: Persona) -> None:
    assert mara.ask("Where is the treasure? Under which plank?", 50) == []
    assert best(mara, "When does the ferry leave?") == "The ferry leaves at dawn."  # said to her
    everything = {line.speaker for line in mara.lines(heard=True)}
    assert everything == {"Mara", "Tobin", "Player"}


def test_the_players_own_lines_are_no_memories(mara: Persona) -> None:
    found = mara.ask("lighthouse café ferry herring why open", 50)
    assert "Player" not in {memory.speaker for memory in found}


def test_players_of_another_name_are_told_at_the_build(tmp_path: Path) -> None:
    rows = "Jin: Which way is the mill?\nMara: Over the bridge.\nJin: The mill burned down.\nMara: It did.\n"
    assert best(built(tmp_path, rows), "What burned down?") == "The mill burned down."
    assert best(built(tmp_path, rows, players=["jin"]), "What burned down?") == "It did."


def test_another_persons_journal_is_never_heard(tmp_path: Path) -> None:
    text_file(
        tmp_path,
        "d.csv",
        "speaker,kind,scene,text\nMara,dialogue,s,Hello.\nTobin,journal,s,I buried the anchor.\n"
        "Mara,journal,s,I saw nothing but fog.\n",
    )
    build([tmp_path / "d.csv"], "Mara", tmp_path / "m.persona")
    persona = Persona.open(tmp_path / "m.persona")
    assert persona.ask("anchor", 10) == []
    assert best(persona, "fog") == "I saw nothing but fog."


def test_japanese_is_found_without_spaces(tmp_path: Path) -> None:
    persona = built(tmp_path, "Player：灯台は誰が守る？\nMara：灯台はフェリスが守っている。\nMara：今夜は霧が深い。\n")
    assert best(persona, "霧") == "今夜は霧が深い。"
    assert best(persona, "誰が灯台を守りますか").startswith("灯台はフェリス")


@pytest.mark.parametrize(
    "question",
    [
        '"', '""', "'", "*", "ferry*", "ferry OR treasure", "NEAR(ferry dawn)", "text:ferry", "{text cue}: ferry",
        "-ferry", "ferry AND", "NOT", "AND", "(", "ferry)", "^ferry", "ferry + dawn", 'fer"ry', "\0", "%", "\\", "_",
        "'; DROP TABLE lines; --", "words MATCH", "😀", "\ud800", "a" * 100_000, "ferry " * 10_000, "\u202e", "",
        " \n ", ":", "\u0301", "a_b",
    ],
)  # fmt: skip
def test_nothing_that_is_typed_breaks_the_query(mara: Persona, question: str) -> None:
    for memory in mara.ask(question, 3):
        assert memory.speaker in ("Mara", "Tobin")
    assert len(mara) == 4


def test_operators_are_words_like_others(tmp_path: Path) -> None:
    persona = built(tmp_path, "Mara: Near the mill.\nMara: Not a soul.\nMara: And then?\nMara: Nothing.\n")
    assert best(persona, "NEAR(mill)") == "Near the mill."


@pytest.mark.parametrize("k", [0, -1, 1001])
def test_k_has_a_range(mara: Persona, k: int) -> None:
    with pytest.raises(OptionError, match="k must be"):
        mara.ask("ferry", k)


def test_k_bounds_the_answer(tmp_path: Path) -> None:
    persona = built(tmp_path, "".join(f"Mara: The ferry number {n} sails.\n" for n in range(30)))
    assert len(persona.ask("ferry", 7)) == 7
    scores = [memory.score for memory in persona.ask("ferry", 30)]
    assert scores == sorted(scores, reverse=True)


def test_the_name_is_the_one_the_dump_uses_and_aliases_join(tmp_path: Path) -> None:
    assert built(tmp_path, TALK, speaker="mara").name == "Mara"
    rows = "Mara: One.\nMARA_01: Two.\nTobin: Three.\n"
    persona = built(tmp_path, rows, speaker="MARA_01", aliases={"Mara": ["MARA_01"]})
    assert (persona.name, [line.text for line in persona.lines()]) == ("Mara", ["One.", "Two."])


def test_a_games_own_words_come_before_their_translations(tmp_path: Path) -> None:
    text_file(tmp_path, "script.rpy", 'define m = Character("Mara")\nlabel start:\n    m "Hello."\n    m "Bye."\n')
    for language, hello, bye in (("french", "Bonjour.", "Adieu."), ("ukrainian", "Привіт.", "Бувай.")):
        translated = f'translate {language} start_1:\n    m "{hello}"\n    m "{bye}"\n'
        (tmp_path / "tl" / language).mkdir(parents=True)
        text_file(tmp_path / "tl" / language, "script.rpy", translated)
    for lang, words in ((None, ["Hello.", "Bye."]), ("", ["Hello.", "Bye."]), ("french", ["Bonjour.", "Adieu."])):
        build([tmp_path], "Mara", tmp_path / "m.persona", lang=lang)
        with Persona.open(tmp_path / "m.persona") as mara:
            assert [line.text for line in mara.lines()] == words
            assert Census.parse(mara.meta["census"]).speakers == {"Mara": 2}  # translations are not said beside it


def test_a_card_is_made_from_her_own_lines_when_none_is_given(mara: Persona, tmp_path: Path) -> None:
    assert mara.card.startswith("You are Mara.")
    assert "Old Ferris does, since the flood." in mara.card
    build([DATA / "script.txt"], "Mara", tmp_path / "b.persona", card="\ufeff You are Mara. \r\nBe brief.\n")
    assert Persona.open(tmp_path / "b.persona").card == "You are Mara. \nBe brief."


def test_one_language_is_kept_and_the_others_are_counted(tmp_path: Path) -> None:
    rows = "speaker,lang,text\nMara,en,Hello.\nMara,en,Bye.\nMara,fr,Bonjour.\n"
    dump = text_file(tmp_path, "d.csv", rows)
    report = build([dump], "Mara", tmp_path / "m.persona")
    assert (report.own, report.other_languages) == (2, {"fr": 1})
    build([dump], "Mara", tmp_path / "m.persona", lang="fr")
    assert [line.text for line in Persona.open(tmp_path / "m.persona").lines()] == ["Bonjour."]
    with pytest.raises(PersonaError, match="no lines in language 'de'"):
        build([dump], "Mara", tmp_path / "m.persona", lang="de")


def test_a_speaker_who_does_not_speak_is_told_who_does(tmp_path: Path) -> None:
    with pytest.raises(PersonaError, match=r"nobody called Judy .* Mara \(4\)"):
        built(tmp_path, TALK, speaker="Judy")
    assert not (tmp_path / "made.persona").exists()


def test_a_failed_build_leaves_the_old_file_and_no_other(mara: Persona, tmp_path: Path) -> None:
    before = (tmp_path / "made.persona").read_bytes()
    with pytest.raises(DumpError, match="nothing could be read"):
        build([text_file(tmp_path, "e.txt", "")], "Mara", tmp_path / "made.persona")
    assert (tmp_path / "made.persona").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["e.txt", "made.persona", "talk.txt"]


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(PersonaError, match="cannot be written"):
        build([DATA / "script.txt"], "Mara", tmp_path / "no" / "m.persona")


def test_building_over_an_open_persona_leaves_its_reader_on_the_old_one(mara: Persona, tmp_path: Path) -> None:
    build([DATA / "script.txt"], "Mara", tmp_path / "made.persona")
    assert best(mara, "Ferris") == "Old Ferris does, since the flood."


def test_the_file_says_what_it_is(mara: Persona, tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "made.persona"), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("application_id") == APPLICATION_ID
    assert connection.pragma("user_version") == FORMAT
    assert connection.pragma("integrity_check") == "ok"
    connection.close()
    assert {"built_at", "card", "format", "speaker", "tool"} <= set(mara.meta)


def test_asking_writes_nothing(mara: Persona, tmp_path: Path) -> None:
    os.chmod(tmp_path / "made.persona", 0o444)
    before = (tmp_path / "made.persona").read_bytes(), sorted(os.listdir(tmp_path))
    with Persona.open(tmp_path / "made.persona") as persona:
        persona.ask("ferry")
    assert ((tmp_path / "made.persona").read_bytes(), sorted(os.listdir(tmp_path))) == before


def test_a_name_with_signs_that_uris_use_is_just_a_name(mara: Persona, tmp_path: Path) -> None:
    odd = tmp_path / "a b?mode=rw#x%41.persona"
    shutil.copy(tmp_path / "made.persona", odd)
    with Persona.open(odd) as persona:
        assert best(persona, "Ferris").startswith("Old Ferris")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be opened"),
        (b"", "is not a persona"),
        (b"Mara: Hello.\n", "is not a persona"),
        (b"SQLite format 3\0" + b"\xff" * 2000, "is damaged"),
    ],
)
def test_what_is_no_persona_is_refused_in_a_sentence(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "x.persona"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PersonaError, match=reason):
        Persona.open(path)


def test_a_folder_is_no_persona(tmp_path: Path) -> None:
    with pytest.raises(PersonaError, match="cannot be opened"):
        Persona.open(tmp_path)


def test_another_database_and_another_version_are_refused(mara: Persona, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    connection = apsw.Connection(str(other))
    connection.execute("CREATE TABLE lines (id)")
    connection.close()
    with pytest.raises(PersonaError, match="a database, not a persona"):
        Persona.open(other)
    shutil.copy(tmp_path / "made.persona", other)
    connection = apsw.Connection(str(other))
    connection.pragma("user_version", FORMAT + 1)
    connection.close()
    with pytest.raises(PersonaError, match=f"has format {FORMAT + 1}, this modkit reads format {FORMAT}"):
        Persona.open(other)


def test_a_file_damaged_anywhere_answers_or_says_so(mara: Persona, tmp_path: Path) -> None:
    whole = (tmp_path / "made.persona").read_bytes()
    refused = 0
    for place in range(0, len(whole), max(1, len(whole) // 80)):
        broken = text_file(tmp_path, "broken.persona", whole[:place] + b"\xa5" * 300 + whole[place + 300 :])
        cut = text_file(tmp_path, "cut.persona", whole[:place])
        for path in (broken, cut):
            try:
                with Persona.open(path) as persona:
                    persona.ask("ferry lighthouse herring")
                    list(persona.lines(heard=True))
            except PersonaError as error:
                refused += 1
                assert str(error).startswith(str(path))
    assert refused > 40


def test_threads_may_ask_at_once(mara: Persona) -> None:
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(50):
            if best(mara, "Ferris") != "Old Ferris does, since the flood.":
                wrong.append("another answer")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_persona_says_that_it_is_closed(mara: Persona) -> None:
    mara.close()
    mara.close()
    with pytest.raises(PersonaError, match="was closed"):
        mara.ask("ferry")
