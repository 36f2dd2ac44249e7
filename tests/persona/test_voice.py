"""How somebody talks: what is found, what it rests on, what an editor changed, and the page a writer reads."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from modkit.cli import main
from modkit.errors import PersonaError
from modkit.persona import Persona, build
from modkit.persona.voice import Said, card_text, describe, merge_card, write_card_file
from modkit.persona.voice.said import log_odds, sample_lines, words_of

ROOT = Path(__file__).resolve().parents[2]

DUMP = """
Tom: Where does the boat go?
Ina: The boat goes nowhere, captain. Nowhere at all...
Tom: And the nets?
Ina: Hello, captain. The nets are bloody wet, as nets are.
Ina: Nets, nets, nets... I mend them until my fingers ask for mercy, captain.
Rolf: You should not shout like that in the morning, people sleep.
Ina: I never shout. I mend nets, and I count herring...
Tom: Good.
Ina: Goodbye, captain. Mind the nets on the stair.
Rolf: The stair is wet as well.
Ina: Wet nets on a wet stair... what else would be there, captain?
TOM_01: Is anybody there?
Ina: <script>alert("nets")</script> is what the parrot says, captain.
""" + "".join(f"Rolf: In the morning people go to the market number {n} and buy bread and cheese.\n" for n in range(30))


@pytest.fixture
def persona(tmp_path: Path) -> Persona:
    (tmp_path / "dump.txt").write_text(DUMP, encoding="utf-8")
    build([tmp_path / "dump.txt"], "Ina", tmp_path / "ina.persona", card_file=tmp_path / "ina.txt")
    return Persona.open(tmp_path / "ina.persona")


def test_every_statement_rests_on_lines_that_show_it(persona: Persona) -> None:
    with persona:
        found = {statement.key: statement for statement in persona.voice()}
        lines = {line.id: line for line, _ in persona.said()}
    assert found["swearing"].text == "Ina swears: bloody (1), in 7 lines."
    assert [lines[n].text for n in found["swearing"].lines] == ["Hello, captain. The nets are bloody wet, as nets are."]
    assert "captain" in found["calls:captain"].text and len(found["calls:captain"].lines) >= 4
    assert all("captain" in lines[n].text for n in found["calls:captain"].lines)
    assert "nets" in found["words"].text
    assert all(re.search(r"\.\.\.", lines[n].text) for n in found["trails off"].lines)
    greeting = next(s for key, s in found.items() if key.startswith("greeting:"))
    assert greeting.kind == "quote" and lines[greeting.lines[0]].text in greeting.text
    assert any(key.startswith("farewell:") for key in found)
    for statement in found.values():
        assert statement.kind in ("quote", "inference") and statement.lines and set(statement.lines) <= set(lines)
        if statement.kind == "quote":
            assert lines[statement.lines[0]].text in statement.text


def test_words_that_everybody_says_are_nobodys(persona: Persona) -> None:
    persona.close()
    mine = Counter({"the": 100, "lamp": 30, "wick": 4, "sea": 6})
    theirs = Counter({"the": 1000, "lamp": 3, "sea": 70, "fish": 90})
    scores = log_odds(mine, theirs)
    assert scores["lamp"] > 4 and scores["wick"] > 2 and abs(scores["sea"]) < 1.5
    assert scores["lamp"] > scores["wick"] > scores["the"]
    assert abs(log_odds(Counter({"a": 1}), Counter())["a"]) < 0.1


def test_samples_are_spread() -> None:
    lines = [Said(n, f"the lamp burns oil tonight number {n % 2}") for n in range(8)]
    lines += [Said(20, "nobody whistles on my stairs while there is frost")]
    lines += [Said(21, "bread and tea before the second trim")]
    chosen = sample_lines(lines, {"lamp": 3.0, "oil": 3.0, "stairs": 2.0, "tea": 2.0}, 3)
    assert {20, 21} < {line.id for line in chosen}
    assert sample_lines([], {}, 3) == []


def test_languages_without_blanks_have_words() -> None:
    assert words_of("灯台守です") == ["灯台", "台守", "守で", "です"]
    assert words_of("Déjà-vu [player_name], C’est ça {b}") == ["déjà", "vu", "c'est", "ça"]
    assert words_of("") == []


def test_a_rebuild_keeps_what_was_edited_added_and_deleted(tmp_path: Path, persona: Persona) -> None:
    persona.close()
    path = tmp_path / "ina.txt"
    first = path.read_text(encoding="utf-8")
    assert persona.card == card_text(first) and "#" not in persona.card and "[inference" not in persona.card
    rows = first.splitlines()
    swears = next(n for n, row in enumerate(rows) if "swears" in row)
    rows[swears] = rows[swears].replace("swears: bloody (1), in 7 lines", "never swears before noon")
    gone = next(n for n, row in enumerate(rows) if "calls:captain" in row)
    del rows[gone]
    rows.insert(3, "Ina has one green eye.")
    path.write_text("\n".join(rows), encoding="utf-8")
    more = "Ina: Captain, captain! The herring and the herring and the herring, I count herring all day...\n"
    (tmp_path / "dump.txt").write_text(DUMP + more, encoding="utf-8")
    build([tmp_path / "dump.txt"], "Ina", tmp_path / "ina.persona", card_file=path)
    second = path.read_text(encoding="utf-8")
    assert "never swears before noon" in second and "swears: bloody" not in second
    assert "Ina has one green eye." in second
    assert "[inference calls:captain" not in second
    assert "herring and the herring" in second  # what is new came in
    length = next(row for row in second.splitlines() if "[inference length" in row)
    assert length in second and length not in first  # what nobody touched follows the dump
    build([tmp_path / "dump.txt"], "Ina", tmp_path / "ina.persona", card_file=path)
    assert path.read_text(encoding="utf-8") == second
    with Persona.open(tmp_path / "ina.persona") as again:
        assert "one green eye" in again.card and "captain” (" not in again.card


def test_a_card_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "card.txt"
    path.write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(PersonaError, match="not UTF-8"):
        write_card_file(path, "Ina", [])
    with pytest.raises(PersonaError, match="cannot be written"):
        write_card_file(tmp_path / "no" / "card.txt", "Ina", [])
    assert merge_card("Ina", [], "only mine\n").startswith("only mine\n")


def test_few_lines_say_nothing() -> None:
    assert describe("Ina", [Said(1, "Hm."), Said(2, "No.")], Counter()) == []


class _Outside(HTMLParser):
    """Everything on the page that would run or be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag in ("script", "link", "iframe", "img", "object", "form"):
            self.found.append(tag)
        self.found += [name for name, _ in attrs if name in ("src", "href") or name.startswith("on")]


def test_the_page_holds_everything_and_nothing_from_outside(tmp_path: Path, persona: Persona) -> None:
    persona.close()
    page = tmp_path / "report.html"
    assert main(["persona", "report", str(tmp_path / "ina.persona"), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    parser = _Outside()
    parser.feed(text)
    assert parser.found == [] and parser.tags["svg"] == 3 and parser.tags["h2"] == 9
    assert "&lt;script&gt;alert(" in text
    assert "Tom (" in text and "TOM_01" in text and "--alias" in text  # one person under two names
    assert "No journal entries" in text
    assert "dump.txt" in text  # where a line is from
    assert main(["persona", "report", str(tmp_path / "ina.persona"), "-o", str(tmp_path / "no" / "a.html")]) == 1


def test_the_demos_dump_gives_a_voice(tmp_path: Path) -> None:
    build(ROOT / "examples/npc_character/dump", "Sable", tmp_path / "sable.persona", players=["Stranger"])
    with Persona.open(tmp_path / "sable.persona") as sable:
        found = {statement.key: statement for statement in sable.voice()}
    assert "does not swear" in found["swearing"].text and "calls:bram" in found
    assert sum(statement.kind == "quote" for statement in found.values()) >= 12


def test_a_word_that_begins_sentences_is_nobodys_name(tmp_path: Path) -> None:
    talk = ("Alors, on y va ?", "Alors, tu viens ? Il est tard, Marc.", "Bonne nuit, Marc.", "Non.", "Peut-être.")
    (tmp_path / "dump.txt").write_text("".join(f"Ina: {words}\nTom: Oui.\n" for words in talk), encoding="utf-8")
    build([tmp_path / "dump.txt"], "Ina", tmp_path / "ina.persona")
    with Persona.open(tmp_path / "ina.persona") as ina:
        called = {one.key for one in ina.voice() if one.key.startswith("calls:")}
    assert called == {"calls:marc"}


def test_the_page_names_places_without_the_folder_of_the_one_who_made_it(tmp_path: Path) -> None:
    home = tmp_path / "home" / "ina"
    (home / "b").mkdir(parents=True)
    (home / "dump.txt").write_text(DUMP, encoding="utf-8")
    (home / "b" / "more.txt").write_text("Tom: Is it late?\nIna: As late as yesterday, captain.\n", encoding="utf-8")
    build([home], "Ina", tmp_path / "ina.persona")
    assert main(["persona", "report", str(tmp_path / "ina.persona"), "-o", str(tmp_path / "ina.html")]) == 0
    page = (tmp_path / "ina.html").read_text(encoding="utf-8")
    assert " dump.txt line 3<" in page and str(home) not in page
