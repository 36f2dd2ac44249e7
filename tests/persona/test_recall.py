"""By words and by meaning: what is found, what is filtered out, and what must not be known yet."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from modkit.errors import OptionError, PersonaError
from modkit.persona import NPC, Embedder, EngineEmbedder, Knowledge, Lore, Persona, Rule, build, store, vectors
from modkit.testing import FakeEngine
from tests.make_bert import make_bert
from tests.persona.support import text_file

TALK = """# The pier
Player: Who keeps the lighthouse?
Mara: Old Ferris does, since the flood.
Tobin: The boat sails at dawn.
Mara: Then I shall not sleep.

# The crypt
Player: What lies in the crypt?
Mara: Tobin sold the crown to a smuggler.
"""
MEANINGS = {"boat": "ship", "ferry": "ship", "vessel": "ship", "sails": "leaves", "departs": "leaves"}


class Thesaurus:
    """An embedder that knows a few synonyms: bags of words in 96 dimensions, what means the same falls together."""

    name = "thesaurus"
    dimensions = 96

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> memoryview[float]:
        self.asked += texts
        rows = array("f")
        for text in texts:
            row = [0.001] * self.dimensions
            for word in text.lower().replace(".", "").replace("?", "").split():
                row[zlib.crc32(MEANINGS.get(word, word).encode()) % self.dimensions] += 1.0
            length = sum(x * x for x in row) ** 0.5
            rows.extend(x / length for x in row)
        return memoryview(rows).cast("B").cast("f", shape=[len(texts), self.dimensions])


def made(folder: Path, talk: str = TALK, **options: Any) -> Persona:
    build([text_file(folder, "talk.txt", talk)], "Mara", folder / "m.persona", **options)
    return Persona.open(folder / "m.persona")


def connected(folder: Path) -> apsw.Connection:
    connection = store.open_readonly(folder / "m.persona")
    assert vectors.load_functions(connection) is None
    return connection


def texts(persona: Persona, question: str, k: int = 5, **options: Any) -> list[str]:
    return [memory.text for memory in persona.ask(question, k, **options)]


# By meaning.


def test_a_line_that_shares_no_word_with_the_question_is_found_by_meaning(tmp_path: Path) -> None:
    embedder = Thesaurus()
    persona = made(tmp_path, embedder=embedder)
    assert isinstance(embedder, Embedder)
    assert texts(persona, "When departs my vessel?") == []
    found = persona.search("When departs my vessel?", embedder=embedder)
    assert found.memories[0].text == "The boat sails at dawn."
    assert (found.method, found.reason, found.by_words) == ("hybrid", "", 0)


def test_words_and_meaning_together_put_first_what_both_find(tmp_path: Path) -> None:
    embedder = Thesaurus()
    persona = made(tmp_path, embedder=embedder)
    assert texts(persona, "Who keeps the lighthouse?", 1, embedder=embedder) == ["Old Ferris does, since the flood."]


def test_without_vectors_it_says_why(tmp_path: Path) -> None:
    plain = made(tmp_path)
    assert plain.search("boat").reason == "no embedder was given"
    assert "built without" in plain.search("boat", embedder=Thesaurus()).reason
    other = Thesaurus()
    other.name = "another"
    persona = made(tmp_path, embedder=Thesaurus())
    found = persona.search("boat", embedder=other)
    assert (found.method, found.memories[0].text) == ("bm25", "The boat sails at dawn.")
    assert "by thesaurus, not by another" in found.reason


def test_a_rebuild_embeds_only_what_is_new(tmp_path: Path) -> None:
    embedder = Thesaurus()
    made(tmp_path, embedder=embedder)
    embedder.asked.clear()
    dump = text_file(tmp_path, "talk.txt", TALK + "\n# The tower\nMara: The tower leans.\n")
    report = build([dump], "Mara", tmp_path / "m.persona", embedder=embedder)
    assert [text for text in embedder.asked if "tower" in text] == ["The tower leans."]
    assert (report.embedded, report.reused) == (1, 4)
    assert texts(Persona.open(tmp_path / "m.persona"), "vessel", embedder=embedder)[0] == "The boat sails at dawn."


def test_a_line_of_many_sentences_is_as_near_as_the_nearest_of_them(tmp_path: Path) -> None:
    embedder = Thesaurus()
    talk = """Mara: The boat sails at dawn. Then Ferris counts his money twice. Nobody in town may ever ask him why.
Mara: My boat, my dear old boat.
"""
    persona = made(tmp_path, talk, embedder=embedder)
    assert "The boat sails at dawn." in embedder.asked
    whole, part = (embedder.embed([text]).tolist() for text in (talk.splitlines()[0][6:], "The boat sails at dawn."))
    asked = embedder.embed(["The vessel departs at dawn"]).tolist()
    found = vectors.near(connected(tmp_path), bytes(embedder.embed(["The vessel departs at dawn"]).cast("B")), 2)
    assert found[0][1] == pytest.approx(sum(a * b for a, b in zip(asked[0], part[0])), abs=0.02)
    assert found[0][1] > sum(a * b for a, b in zip(asked[0], whole[0])) + 0.1
    assert texts(persona, "When departs the vessel?", 1, embedder=embedder, words_weight=0.0)[0].startswith("The boat")


def test_an_answer_counts_with_its_question_and_alone(tmp_path: Path) -> None:
    embedder = Thesaurus()
    made(tmp_path, embedder=embedder).close()
    assert "Who keeps the lighthouse? Old Ferris does, since the flood." in embedder.asked
    assert "Old Ferris does, since the flood." in embedder.asked


def test_a_persona_of_before_there_were_parts_is_searched_as_it_is_and_made_whole_by_a_build(tmp_path: Path) -> None:
    embedder = Thesaurus()
    made(tmp_path, embedder=embedder).close()
    connection = apsw.Connection(str(tmp_path / "m.persona"))
    kept: Any = connection.execute("SELECT line, part, v FROM parts ORDER BY 1, 2").fetchall()
    connection.execute("DROP TABLE parts")
    connection.close()
    with Persona.open(tmp_path / "m.persona") as persona:
        assert texts(persona, "When departs my vessel?", 1, embedder=embedder) == ["The boat sails at dawn."]
    embedder.asked.clear()
    build([tmp_path / "talk.txt"], "Mara", tmp_path / "m.persona", embedder=embedder)
    assert connected(tmp_path).execute("SELECT line, part, v FROM parts ORDER BY 1, 2").fetchall() == kept
    embedder.asked.clear()
    build([tmp_path / "talk.txt"], "Mara", tmp_path / "m.persona", embedder=embedder)
    assert embedder.asked == ["lamp"]  # all was taken from the file before
    assert connected(tmp_path).execute("SELECT line, part, v FROM parts ORDER BY 1, 2").fetchall() == kept


def test_the_parts_of_a_line_are_its_sentences(tmp_path: Path) -> None:
    assert vectors.parts_of("The boat sails at dawn.") == []
    assert vectors.parts_of("No. The boat sails at dawn.") == ["The boat sails at dawn."]  # "No." says nothing alone
    assert vectors.parts_of("No.", alone=False) == ["No."]
    assert vectors.parts_of("船は夜明けに出る。灯台の火が消えた！") == ["船は夜明けに出る。", "灯台の火が消えた！"]
    long = vectors.parts_of(" ".join(f"Sentence number {n}." for n in range(1000)))
    assert len(long) == 16
    assert long[-1].endswith("Sentence number 999.")
    assert vectors.parts_of("." * 20_000) == []


def test_a_real_embedding_model_serves(tmp_path: Path) -> None:
    with EngineEmbedder(make_bert(tmp_path / "bert.gguf")) as embedder:
        persona = made(tmp_path, embedder=embedder)
        found = persona.search("Who keeps the lighthouse?", embedder=embedder)
        assert (found.method, embedder.dimensions, persona.embedder) == ("hybrid", 32, "test encoder")
        assert found.memories[0].text == "Old Ferris does, since the flood."
    assert "was closed" in persona.search("boat", embedder=embedder).reason


def test_damaged_vectors_are_an_error_by_name(tmp_path: Path) -> None:
    embedder = Thesaurus()
    made(tmp_path, embedder=embedder).close()
    connection = apsw.Connection(str(tmp_path / "m.persona"))
    connection.execute("UPDATE bits SET b = x'00'; UPDATE vectors SET v = x'010203'")
    connection.close()
    with Persona.open(tmp_path / "m.persona") as persona, pytest.raises(PersonaError, match="is damaged"):
        persona.ask("boat", embedder=embedder)


# Gates, lore and filters.


def knowing(*rules: Rule, lore: tuple[Lore, ...] = ()) -> Knowledge:
    return Knowledge(list(rules), list(lore))


@pytest.mark.parametrize("embedder", [None, Thesaurus()], ids=["words", "meaning"])
def test_what_has_not_happened_does_not_come_to_mind(tmp_path: Path, embedder: Thesaurus | None) -> None:
    secret = "Tobin sold the crown to a smuggler."
    rule = Rule({"scene": "the crypt"}, when="quest.crypt >= 2")
    persona = made(tmp_path, knowledge=knowing(rule), embedder=embedder)
    for state in (None, {}, {"quest": {"crypt": 1}}, {"quest.crypt": "no"}):
        for question in ("Who sold the crown?", "smuggler", "What lies in the crypt?"):
            found = persona.search(question, 50, state=state, embedder=embedder)
            assert secret not in [memory.text for memory in found.memories]
            assert secret not in [memory.cue for memory in found.memories]
            assert found.closed_gates == 1
    assert texts(persona, "Who sold the crown?", 1, state={"quest": {"crypt": 2}}, embedder=embedder) == [secret]


def test_a_cue_that_may_not_be_known_yet_stays_away_from_its_answer(tmp_path: Path) -> None:
    talk = "Tobin: The king was poisoned with honey.\nMara: Then nobody shall eat honey in my house.\n"
    rule = Rule({"text": "*poisoned*"}, when="flag.murder")
    persona = made(tmp_path, talk, knowledge=knowing(rule))
    (early,) = persona.ask("Who may eat honey in the house?")
    late = persona.ask("Who may eat honey in the house?", state={"flag.murder": True})[0]
    assert (early.cue, late.cue) == (None, "The king was poisoned with honey.")


def test_a_gated_line_is_no_sample_on_the_card(tmp_path: Path) -> None:
    persona = made(tmp_path, knowledge=knowing(Rule({"scene": "the crypt"}, when="flag.x")))
    assert "Old Ferris" in persona.card
    assert "crown" not in persona.card


def test_a_gate_that_cannot_be_read_stays_closed(tmp_path: Path) -> None:
    made(tmp_path, knowledge=knowing(Rule({"text": "*crown*"}, when="flag.x"))).close()
    connection = apsw.Connection(str(tmp_path / "m.persona"))
    connection.execute("UPDATE gates SET expression = 'flag.x or ('")
    connection.close()
    with Persona.open(tmp_path / "m.persona") as persona:
        assert texts(persona, "crown", state={"flag.x": True}) == []


def test_an_npc_asks_the_games_state_of_this_moment(tmp_path: Path) -> None:
    persona = made(tmp_path, knowledge=knowing(Rule({"scene": "the crypt"}, when="quest.crypt >= 2")))
    engine = FakeEngine()
    npc = NPC(persona, engine, state={"quest": {"crypt": 1}})
    for state, known in ((None, False), ({"quest.crypt": 2}, True), (None, False)):
        npc.say("Who sold the crown?", state=state).result()
        assert ("smuggler" in engine.requests[-1].text) is known
    npc.state["quest"]["crypt"] = 5
    npc.say("Who sold the crown?").result()
    assert "smuggler" in engine.requests[-1].text
    assert npc.last_retrieval is not None and npc.last_retrieval.method == "bm25"


def test_lore_is_known_by_its_text_and_its_keys_behind_its_gate(tmp_path: Path) -> None:
    lore = (Lore("The old king drowned in the bay.", ("monarch",)), Lore("The bell is cracked.", when="flag.bell"))
    persona = made(tmp_path, knowledge=knowing(lore=lore))
    (memory,) = persona.ask("Tell me of the monarch", 1)
    assert (memory.text, memory.kind, memory.speaker) == ("The old king drowned in the bay.", "lore", None)
    assert texts(persona, "bell cracked") == []
    assert texts(persona, "bell cracked", state={"flag": {"bell": True}}) == ["The bell is cracked."]
    assert "lore" not in {line.kind for line in persona.lines(heard=True)}


@pytest.mark.parametrize("embedder", [None, Thesaurus()], ids=["words", "meaning"])
def test_filters_keep_to_what_was_asked_for(tmp_path: Path, embedder: Thesaurus | None) -> None:
    rule = Rule({"scene": "the crypt"}, quest="q1")
    persona = made(tmp_path, knowledge=knowing(rule), embedder=embedder)
    question = "boat dawn crown smuggler Ferris flood sleep"
    assert "Tobin sold the crown to a smuggler." in texts(persona, question, 50, embedder=embedder)
    assert texts(persona, question, 50, embedder=embedder, speakers=["tobin"]) == ["The boat sails at dawn."]
    assert texts(persona, question, 50, embedder=embedder, quests=["q1"]) == ["Tobin sold the crown to a smuggler."]
    scenes = [memory.scene for memory in persona.ask(question, 50, embedder=embedder, scenes=["The pier"])]
    assert scenes and set(scenes) == {"The pier"}
    assert texts(persona, question, 50, embedder=embedder, kinds=["journal"]) == []
    assert persona.ask(question, 1, quests=["q1"])[0].quest == "q1"
    with pytest.raises(OptionError, match="scenes is a list"):
        persona.ask(question, scenes="The pier")


def test_a_budget_bounds_what_comes_to_mind(tmp_path: Path) -> None:
    persona = made(tmp_path, "".join(f"Mara: The ferry number {n} sails from pier {n}.\n" for n in range(30)))
    assert len(persona.ask("ferry", 20)) == 20
    assert 1 <= len(persona.ask("ferry", 20, budget=60)) <= 5
    assert len(persona.ask("ferry", 20, budget=1)) == 1


def test_knowledge_is_read_from_toml(tmp_path: Path) -> None:
    text_file(
        tmp_path,
        "k.toml",
        '[[lines]]\nscene = "The c*"\nwhen = "flag.crypt"\nquest = "q1"\n'
        '[[lines]]\ntext = "*crown*"\nwhen = "flag.crown"\n'
        '[[lore]]\ntext = "The bay is deep."\nkeys = ["depth"]\n',
    )
    persona = made(tmp_path, knowledge=tmp_path / "k.toml")
    assert persona.gate_names == {"flag.crypt", "flag.crown"}
    assert texts(persona, "depth") == ["The bay is deep."]
    assert texts(persona, "crown", state={"flag.crypt": 1}) == []
    assert texts(persona, "crown", state={"flag.crypt": 1, "flag.crown": 1}) != []


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        ("lines = 3", "is a list of tables"),
        ("[[lines]]\nscene = 'x'\nwhen = 'a >'", "is missing"),
        ("[[lines]]\nwhen = 'a'", "names no field"),
        ("[[lines]]\nplanet = 'x'", "no field of a line"),
        ("[[lore]]\nkeys = ['x']", "needs a text"),
        ("[[lore]]\ntext = 'x'\nwhen = 3", "when is a text"),
        ("= 3", "is no TOML"),
        (b"\xff\xfe\x00", "is no TOML"),
    ],
)
def test_knowledge_that_is_wrong_is_named_with_its_file(tmp_path: Path, toml: str | bytes, reason: str) -> None:
    path = text_file(tmp_path, "k.toml", toml)
    with pytest.raises(PersonaError, match=f"k.toml.*{reason}"):
        Knowledge.read(path)
    with pytest.raises(PersonaError, match="cannot be read"):
        Knowledge.read(tmp_path / "none.toml")


def test_other_scripts_are_found(tmp_path: Path) -> None:
    rows = ("Où est le château?", "灯台はフェリスが守っている。", "Маяк стоит на скале.", "등대는 북쪽에 있다.")
    persona = made(tmp_path, "".join(f"Mara: {row}\n" for row in rows))
    questions = ("CHATEAU", "灯台を守る", "маяк", "등대")
    assert tuple(texts(persona, question, 1)[0] for question in questions) == rows


def test_the_budget_is_for_whole_exchanges(tmp_path: Path) -> None:
    talk = """# one
Player: What did the harbour master want from the keeper of the lamp last winter?
Mara: He wanted my oil for his own stove.

# two
Player: Did the harbour master ever pay for the oil that he took from you?
Mara: He did not.
"""
    persona = made(tmp_path, talk)
    question = "What of the harbour master and the oil?"

    def exchanges(budget: int) -> dict[str, bool]:
        return {memory.text: bool(memory.cue) for memory in persona.ask(question, budget=budget)}

    assert exchanges(200) == {"He did not.": True, "He wanted my oil for his own stove.": True}
    assert exchanges(50) == {"He did not.": True, "He wanted my oil for his own stove.": False}
    assert exchanges(5) == dict.fromkeys(list(exchanges(200))[:1], False)
