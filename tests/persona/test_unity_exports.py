"""The Dialogue System for Unity in its other clothes: the asset, Chat Mapper XML, CSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from modkit.persona import Line, Reading
from tests.persona.support import mutate, text_file


def lines_of(folder: Path, name: str, text: str) -> list[Line]:
    return list(Reading([text_file(folder, name, text)]))


ASSET = r"""%YAML 1.1
%TAG !u! tag:unity3d.com,2011:
--- !u!114 &11400000
MonoBehaviour:
  m_ObjectHideFlags: 0
  m_Name: Dialogue Database
  version:
  emphasisSettings:
  - color: {r: 1, g: 1, b: 1, a: 1}
    bold: 0
  actors:
  - id: 1
    fields:
    - title: Name
      value: Player
      type: 0
    - title: IsPlayer
      value: True
      type: 2
    portrait: {fileID: 0}
  - id: 2
    fields:
    - title: Name
      value: "M\xE1ra \u6210"
      type: 0
  items:
  - id: 1
    fields:
    - title: Dialogue Text
      value: never said
  conversations:
  - id: 4
    fields:
    - title: Title
      value: The Quay
    dialogueEntries:
    - id: 0
      fields:
      - title: Title
        value: START
      - title: Dialogue Text
        value:
      conversationID: 4
      isRoot: 1
      isGroup: 0
    - id: 1
      fields:
      - title: Actor
        value: 2
        type: 5
        typeString: CustomFieldType_Actor
      - title: Conversant
        value: 1
      - title: Dialogue Text
        value: 'It''s late, and the words of this line do not fit
          into one of the file''s.'
      - title: de
        value: "Es ist sp\xE4t, \"ja\".\
          \ Zweite Zeile."
        type: 4
        typeString: CustomFieldType_Localization
      conversationID: 4
      outgoingLinks:
      - originConversationID: 4
        destinationDialogueID: 2
      conditionsString: Variable["x"] == true
    - id: 2
      fields:
      - title: Actor
        value: 1
      - title: Dialogue Text
        value: So it is, and it stays
          so.
    - id: 3
      isGroup: 1
      fields:
      - title: Dialogue Text
        value: a group
      isGroup: 1
"""

CHAT_MAPPER = """<?xml version="1.0" encoding="utf-8"?>
<ChatMapperProject Title="x"><Assets><Actors>
<Actor ID="1"><Fields><Field Type="Text"><Title>Name</Title><Value>Player</Value></Field>
<Field Type="Boolean"><Title>IsPlayer</Title><Value>True</Value></Field></Fields></Actor>
<Actor ID="2"><Fields><Field Type="Text"><Title>Name</Title><Value>Mara</Value></Field></Fields></Actor></Actors>
<Conversations><Conversation ID="4"><Fields><Field><Title>Title</Title><Value>The Quay</Value></Field></Fields>
<DialogEntries><DialogEntry ID="1" IsRoot="false" IsGroup="false"><Fields>
<Field Type="Actor"><Title>Actor</Title><Value>2</Value></Field>
<Field Type="Actor"><Title>Conversant</Title><Value>1</Value></Field>
<Field Type="Text"><Title>Dialogue Text</Title><Value>It's [em1]late[/em1]\\..</Value></Field>
<Field Type="Localization"><Title>de</Title><Value>Es ist spät.</Value></Field></Fields></DialogEntry>
<DialogEntry ID="2"><Fields><Field><Title>Actor</Title><Value>1</Value></Field>
<Field><Title>Dialogue Text</Title><Value>So it is.</Value></Field></Fields></DialogEntry>
</DialogEntries></Conversation></Conversations></Assets></ChatMapperProject>"""

TABLES = """\ufeffDatabase
Name,Version,Author,Description,Emphasis1
Quay,,,,#ffffff ---
Global User Script

Actors
ID,Portrait,Name,IsPlayer
Number,Special,Text,Boolean
1,,Player,True
2,,Mara,False
Items
ID,Name
Number,Text
1,a lamp
Conversations
ID,Title,Actor
Number,Text,Actor
4,The Quay,1
DialogueEntries
entrytag,ConvID,ID,Actor,Conversant,Title,MenuText,DialogueText,IsGroup,de,canvasRect
Text,Number,Number,Number,Number,Text,Text,Text,Boolean,Localization,Text
4_0,4,0,1,2,START,,,False,{{omit}},0;0
4_1,4,1,2,1,,,"It's late, ""ja"".",False,Es ist spät.,0;0
4_2,4,2,1,2,,,So it is.\\nTwice.,False,{{omit}},0;0
OutgoingLinks
OriginConvID,OriginID,DestConvID,DestID,ConditionPriority
Number,Number,Number,Number,Special
4,0,4,1,Normal
"""


def test_a_database_kept_as_an_asset_is_read(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "Dialogue Database.asset", ASSET)
    assert [(line.kind, line.speaker, line.text, line.lang) for line in lines] == [
        ("dialogue", "Mára 成", "It's late, and the words of this line do not fit into one of the file's.", None),
        ("dialogue", "Mára 成", 'Es ist spät, "ja". Zweite Zeile.', "de"),
        ("choice", "Player", "So it is, and it stays so.", None),
    ]
    assert {line.scene for line in lines} == {"The Quay"}
    assert lines[0].addressee == "Player"


def test_a_chat_mapper_project_is_read(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "quay.xml", CHAT_MAPPER)
    assert [(line.kind, line.speaker, line.text, line.lang) for line in lines] == [
        ("dialogue", "Mara", "It's late.", None),
        ("dialogue", "Mara", "Es ist spät.", "de"),
        ("choice", "Player", "So it is.", None),
    ]
    assert (lines[0].addressee, lines[0].scene) == ("Player", "The Quay")


def test_tables_of_a_database_in_one_file_are_told_apart(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "quay.csv", TABLES)
    assert [(line.kind, line.speaker, line.text, line.lang) for line in lines] == [
        ("dialogue", "Mara", 'It\'s late, "ja".', None),
        ("dialogue", "Mara", "Es ist spät.", "de"),
        ("choice", "Player", "So it is. Twice.", None),
    ]
    assert {line.scene for line in lines} == {"The Quay"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.asset", ASSET), ("a.xml", CHAT_MAPPER), ("a.csv", TABLES)],
    ids=["asset", "chat mapper", "tables"],
)
def test_damage_to_these_is_read_or_refused(tmp_path: Path, name: str, text: str) -> None:
    raw = text.encode("utf-8")
    for seed in range(1000):
        path = text_file(tmp_path, name, mutate(raw, seed))
        for line in Reading([path]):
            assert line.text
    for cut in range(0, len(raw), max(1, len(raw) // 50)):
        assert all(line.text for line in Reading([text_file(tmp_path, name, raw[:cut])]))


def test_a_quotation_that_never_ends_costs_what_it_is_long(tmp_path: Path) -> None:
    head = ASSET[: ASSET.index("  - id: 4")]
    long = head + "  - id: 4\n    fields:\n    - title: Title\n      value: \"never\n" + "  closed: no\n" * 300_000
    assert lines_of(tmp_path, "a.asset", long) == []


def test_colons_cost_what_they_are_long(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, "a.asset", ASSET + "    a a a a a a a" * 50_000)
    assert [line.speaker for line in lines[:3]] == ["Mára 成", "Mára 成", "Player"]
