"""Character cards: every version and carrier in and out, nothing lost, nothing run, nothing fetched."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from modkit.errors import CardError
from modkit.persona import Knowledge, Persona, Rule, build
from modkit.persona.cards import Card, Lorebook, fill_macros, persona_card, read_card, read_lorebook, write_card

V1 = {
    "name": "Odile",
    "description": "{{char}} mends clocks in Varn.",
    "personality": "exact",
    "scenario": "{{user}} brings a watch.",
    "first_mes": "Put it down, {{user}}.",
    "mes_example": "<START>\n{{user}}: Hello\n{{char}}: Late.\n<start>\n{{user}}: Bye\n{{char}}: At last.",
    "avatar": "none",
    "talkativeness": "0.5",
}
BOOK: dict[str, Any] = {
    "name": "Varn",
    "scan_depth": 2,
    "token_budget": 40,
    "recursive_scanning": True,
    "extensions": {"theirs": [1, 2]},
    "unheard_of": {"kept": True},
    "entries": [
        {
            "keys": ["Varn", "the city"],
            "content": "@@depth 4\n@@unknown_thing\nVarn has one clock tower.",
            "extensions": {"depth": 4, "odd": None},
            "enabled": True,
            "insertion_order": 20,
            "id": "a-string",
            "use_regex": False,
            "position": "before_char",
            "mine": 1,
        },
        {"keys": ["tower"], "content": "The tower leans.", "extensions": {}, "enabled": True, "insertion_order": 10},
        {"keys": ["/cl[ou]ck/i"], "content": "Clocks stop at noon.", "insertion_order": 5, "extensions": {}},
        {"keys": [], "content": "Always.", "constant": True, "extensions": {}, "enabled": True, "insertion_order": 1},
        {"keys": ["Varn"], "content": "Off.", "extensions": {}, "enabled": False, "insertion_order": 2},
    ],
}
V2 = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "create_date": "long ago",
    "data": {
        **{key: V1[key] for key in ("name", "description", "personality", "scenario", "first_mes", "mes_example")},
        "creator_notes": "not for the prompt",
        "system_prompt": "Speak as {{char}}. {{original}}",
        "post_history_instructions": "",
        "alternate_greetings": ["You again.", ""],
        "character_book": BOOK,
        "tags": ["clocks"],
        "creator": "someone",
        "character_version": "7",
        "extensions": {"depth_prompt": {"prompt": "tick", "depth": 4}, "fav": False},
        "field_of_tomorrow": [{"deep": [1, {"er": "x"}]}],
    },
}
V3 = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": {
        **V2["data"],  # type: ignore[dict-item]
        "nickname": "Odi",
        "group_only_greetings": ["All of you?"],
        "assets": [{"type": "icon", "uri": "embeded://assets/icon/images/a.png", "name": "main", "ext": "png"}],
        "creator_notes_multilingual": {"de": "nicht"},
        "source": ["id-1"],
        "creation_date": 1,
    },
}


def png(*texts: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\1\2\3")
    chunks = [(b"IHDR", head), *texts, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks)


def packed(value: Any) -> bytes:
    return base64.b64encode(json.dumps(value).encode())


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize(("value", "version"), [(V1, 1), (V2, 2), (V3, 3)])
def test_a_card_of_each_version_comes_back_as_it_was(tmp_path: Path, value: dict[str, Any], version: int) -> None:
    card = read_card(written(tmp_path / "in.json", value))
    assert card.version == version and card.name == "Odile" and not card.warnings
    write_card(card, tmp_path / "out.json")
    again = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    if version == 1:
        assert again == value
        return
    assert {key: item for key, item in again.items() if key != "data"} == {
        key: item for key, item in value.items() if key != "data"
    }
    for key, item in value["data"].items():
        if key != "character_book":
            assert again["data"][key] == item, key
    book = again["data"]["character_book"]
    assert book["unheard_of"] == {"kept": True} and book["extensions"] == {"theirs": [1, 2]}
    for theirs, ours in zip(BOOK["entries"], book["entries"], strict=True):
        assert {key: ours[key] for key in theirs} == theirs
    if version == 3:
        assert all(isinstance(entry["use_regex"], bool) for entry in book["entries"])


def test_a_card_survives_a_change_of_version_there_and_back(tmp_path: Path) -> None:
    card = read_card(written(tmp_path / "v1.json", V1))
    write_card(card, tmp_path / "v3.json", version=3)
    newer = read_card(tmp_path / "v3.json")
    assert newer.version == 3 and newer.description == V1["description"]
    assert newer.extensions["modkit"]["v1"]["talkativeness"] == "0.5"
    write_card(newer, tmp_path / "v2.json", version=2)
    assert read_card(tmp_path / "v2.json").as_json(1)["first_mes"] == V1["first_mes"]


def test_a_png_carries_both_versions_and_keeps_its_pixels(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(png((b"tEXt", b"Comment\0hello"), (b"tEXt", b"Chara\0" + packed(V2))))
    card = read_card(source)
    assert card.version == 2 and card.book is not None and len(card.book.entries) == 5
    card.description = "changed"
    write_card(card, tmp_path / "out.png")
    data = (tmp_path / "out.png").read_bytes()
    assert data.count(b"tEXtchara\0") == 1 and data.count(b"tEXtccv3\0") == 1 and b"Comment\0hello" in data
    assert b"Chara\0" not in data and zlib.compress(b"\0\1\2\3") in data
    again = read_card(tmp_path / "out.png")
    assert again.version == 3 and again.description == "changed" and again.alternate_greetings == ["You again.", ""]


def test_the_newer_chunk_wins_and_a_broken_one_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png((b"tEXt", b"chara\0" + packed(V2)), (b"tEXt", b"ccv3\0" + packed(V3))))
    assert read_card(path).nickname == "Odi"
    path.write_bytes(png((b"tEXt", b"chara\0" + packed(V2)), (b"tEXt", b"ccv3\0" + b"!!!")))
    card = read_card(path)
    assert card.version == 2 and "ccv3" in card.warnings[0]
    path.write_bytes(png((b"zTXt", b"chara\0\0" + zlib.compress(packed(V2)))))
    assert read_card(path).name == "Odile"
    path.write_bytes(png((b"iTXt", b"chara\0\1\0\0\0" + zlib.compress(packed(V2)))))
    assert read_card(path).name == "Odile"


def test_a_charx_keeps_the_files_beside_the_card(tmp_path: Path) -> None:
    path = tmp_path / "in.charx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("card.json", json.dumps(V3))
        archive.writestr("assets/icon/images/a.png", b"pixels")
        archive.writestr("../escape.txt", b"stays in the archive")
    card = read_card(path)
    write_card(card, tmp_path / "out.charx")
    with zipfile.ZipFile(tmp_path / "out.charx") as archive:
        assert archive.read("assets/icon/images/a.png") == b"pixels"
        assert json.loads(archive.read("card.json"))["data"]["assets"] == V3["data"]["assets"]  # type: ignore[index]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.charx", "out.charx"]


def test_macros_are_filled_and_a_players_name_cannot_make_one() -> None:
    card = Card.parse(V3)
    assert card.text("Ann").startswith("Speak as Odi.") and "Odi mends clocks in Varn." in card.text("Ann")
    assert "not for the prompt" not in card.text("Ann")
    assert card.greetings("{{char}}") == ["Put it down, {{char}}.", "You again."]
    assert card.examples("Ann") == ["Ann: Hello\nOdi: Late.", "Ann: Bye\nOdi: At last."]
    filled = fill_macros("<BOT> {{USER}} {{// gone}}{{reverse: abc}} {{roll:d1}} {{nothing}}", char="A", user="B")
    assert filled == "A B cba 1 {{nothing}}"
    one = fill_macros("{{random: x, y\\,z}} {{pick::a::b}}", char="A", seed=4)
    assert one == fill_macros("{{random: x, y\\,z}} {{pick::a::b}}", char="A", seed=4)
    assert one.split(" ")[0] in ("x", "y,z") and one.split(" ")[1] in ("a", "b")


def test_a_lorebook_wakes_what_its_keys_say() -> None:
    book = Lorebook.parse(BOOK)
    assert [entry.said() for entry in book.active(["I come from VARN."])] == [
        "Always.",
        "Clocks stop at noon.",
        "The tower leans.",
        "Varn has one clock tower.",
    ]
    small = book.active(["nothing", "to see", "Varn?"], tokens=6)
    assert [entry.said() for entry in small] == ["Always.", "The tower leans."]
    assert [entry.said() for entry in book.active(["Varn", "long", "ago"])] == ["Always."]  # scan_depth 2
    assert "Clocks stop at noon." in [entry.said() for entry in book.active(["a CLUCK"])]


def test_world_info_of_sillytavern_is_a_lorebook(tmp_path: Path) -> None:
    row = {
        "uid": 3,
        "key": ["lamp"],
        "keysecondary": ["oil", "wick"],
        "selective": True,
        "selectiveLogic": 3,
        "content": "The lamp drinks oil.",
        "order": 7,
        "position": 0,
        "disable": False,
        "excludeRecursion": True,
        "matchWholeWords": True,
        "somebodys": {"own": "field"},
    }
    book = read_lorebook(written(tmp_path / "world.json", {"entries": {"0": row}, "theirs": 1}))
    assert not book.active(["the lamp and the oil"]) and not book.active(["lamps, oil and wick"])
    assert book.active(["lamp, oil, wick"])[0].order == 7
    entry = book.as_json()["entries"][0]
    assert entry["keys"] == ["lamp"] and entry["id"] == 3 and entry["position"] == "before_char"
    assert entry["extensions"]["exclude_recursion"] is True and entry["extensions"]["somebodys"] == {"own": "field"}
    assert book.as_json()["theirs"] == 1
    assert read_lorebook(written(tmp_path / "card.json", V2)).name == "Varn"


def test_a_hostile_pattern_matches_nothing_and_costs_nothing() -> None:
    entries = [
        {"keys": [pattern], "content": "x", "use_regex": True, "enabled": True, "insertion_order": 0, "extensions": {}}
        for pattern in ("(a+)+$", "(a|a)*b", "a*a*a*a*a*b", "(", "\\1", "(?P<x>a)(?P=x)", "x{9999999999}")
    ]
    assert Lorebook.parse({"entries": entries}).active(["a" * 8000]) == []


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.json", b"", "not valid JSON"),
        ("a.json", b"[1]", "not an object"),
        ("a.json", b'{"name": "x"}', "no character card"),
        ("a.json", b"\xff\xfe\xfa", "not UTF-8"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.png", png(), "without a card"),
        ("a.png", png((b"tEXt", b"chara\0" + packed(V2)))[:60], "cut short"),
        ("a.png", png((b"tEXt", b"chara\0" + packed([1]))), "cannot be read"),
        ("a.jpg", b"\xff\xd8\xff\xe0rest", "JPEG"),
        ("a.charx", b"PK\3\4broken", "damaged"),
    ],
)
def test_what_is_no_card_is_refused_with_a_reason(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(CardError, match=reason):
        read_card(path)
    with pytest.raises(CardError, match="cannot be read"):
        read_card(tmp_path / "missing.json")


def test_bombs_and_wrong_types_stay_small(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.charx"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(6):
            archive.writestr(f"{number}.bin", bytes(100 << 20))
        archive.writestr("card.json", "{}")
    with pytest.raises(CardError, match="unpacks to more"):
        read_card(bomb)
    data: dict[str, Any] = {"name": "N", "tags": "a, b", "extensions": [], "assets": 3}
    data |= {"character_book": {"entries": 4}, "alternate_greetings": [1, None, "hi"], "description": {"no": "text"}}
    card = Card.parse({"spec": "chara_card_v9", "spec_version": "9.5", "data": data})
    assert card.alternate_greetings == ["1", "hi"] and card.book is None and len(card.warnings) == 4
    json.dumps(card.as_json(3))


def test_damaged_cards_never_raise_anything_else(tmp_path: Path) -> None:
    rng = random.Random(5)
    charx = io.BytesIO()
    with zipfile.ZipFile(charx, "w") as archive:
        archive.writestr("card.json", json.dumps(V3))
    path = tmp_path / "card"
    outcomes = set()
    for good in (json.dumps(V3).encode(), png((b"tEXt", b"ccv3\0" + packed(V3))), charx.getvalue()):
        for _ in range(300):
            data = bytearray(good)
            for _ in range(rng.choice((1, 3, 20))):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(data[: rng.randrange(1, len(data) + 1)] if rng.random() < 0.4 else data)
            try:
                card = read_card(path)
                card.text()
                json.dumps(card.as_json(3))
                if card.book:
                    card.book.active(["Varn clock"])
                outcomes.add("read")
            except CardError:
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_built_persona_opens_as_a_card_elsewhere(tmp_path: Path) -> None:
    dump = tmp_path / "dump.txt"
    exchange = "Tom: Do you know Marla, {n}?\nIna: I know Marla well, and {{{{user}}}} does not, number {n}.\n"
    dump.write_text("".join(exchange.format(n=n) for n in range(12)), encoding="utf-8")
    build([dump], "Ina", tmp_path / "ina.persona", card="Ina sells nets.")
    with Persona.open(tmp_path / "ina.persona") as persona:
        card = persona_card(persona)
    write_card(card, tmp_path / "ina.png")
    again = read_card(tmp_path / "ina.png")
    assert again.version == 3 and again.text() == "Ina sells nets." and "<START>" in again.mes_example
    assert again.book is not None and [entry.keys for entry in again.book.active(["Where is Marla?"])] == [["Marla"]]
    assert "does not" in again.examples("Ann")[0] and "Ann does not" not in again.examples("Ann")[0]
    data = again.as_json(3)["data"]
    texts = "name description creator character_version mes_example system_prompt post_history_instructions first_mes"
    required: dict[str, type] = dict.fromkeys([*texts.split(), "personality", "scenario", "creator_notes"], str)
    required |= {"tags": list, "extensions": dict, "alternate_greetings": list, "group_only_greetings": list}
    assert {key: type(data[key]) for key in required} == required


def test_an_exported_card_tells_nothing_that_has_not_happened(tmp_path: Path) -> None:
    dump = tmp_path / "dump.jsonl"
    said = [
        ("start", "Tom", "Hello, do you know the old ferry?"),
        ("start", "Ina", "Hello, I know the Meridian and her captain well."),
        ("start", "Ina", "The Meridian is older than all of us together."),
        ("end", "Tom", "Who set the Meridian on fire that night?"),
        ("end", "Ina", "Hello, Tom. Corvin burnt the Meridian for her gold."),
        ("end", "Ina", "And Corvin will do it again, if nobody stops him."),
        ("after", "Tom", "So it was Corvin who lit it, and you saw him."),
        ("after", "Ina", "I would rather mend my nets than speak about it."),
    ]
    rows = (json.dumps({"speaker": who, "text": text, "scene": scene}) for scene, who, text in said)
    dump.write_text("\n".join(rows) + "\n", encoding="utf-8")
    rules = [Rule({"scene": "end"}, when="flag.fire"), Rule({"text": "so it was*"}, when="flag.fire")]
    build([dump], "Ina", tmp_path / "ina.persona", knowledge=Knowledge(rules), card_file=tmp_path / "ina.card")
    with Persona.open(tmp_path / "ina.persona") as persona:
        assert "Corvin" not in persona.card, "the card is in every prompt"
        assert "Corvin" not in str(persona.said()), "a card quotes a line with what it answered"
        kept, whole = (json.dumps(persona_card(persona, gated=gated).as_json(3)) for gated in (False, True))
        left_out = persona_card(persona).extensions["modkit"]["left_out"]
    assert "Meridian" in kept and "rather mend" not in kept, "an answer whose question is hidden is no example"
    assert "Corvin" not in kept and "fire" not in kept and left_out == 2
    assert "Corvin" in whole and "rather mend" in whole
