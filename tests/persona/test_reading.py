"""A set of files: which reader gets which, what is dropped, what is reported, and that nothing brings it down."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modkit.errors import DumpError, OptionError
from modkit.persona import DumpFile, Join, Line, Reading, reader
from modkit.persona.lines import Names, fold, parse_alias, tidy
from modkit.persona.readers import all_readers, registry
from tests.persona.forced import force
from tests.persona.support import DATA, mutate, read, said, text_file


def test_content_decides_before_the_extension(tmp_path: Path) -> None:
    rows = (DATA / "talk.jsonl").read_bytes()
    assert said(list(Reading([text_file(tmp_path, "talk.txt", rows)]))) == said(read("talk.jsonl"))
    script = (DATA / "rpy" / "scene.rpy").read_bytes()
    reading = Reading([text_file(tmp_path, "scene.txt", script)])
    assert ("m", "Good.") in said(list(reading))


def test_a_folder_is_read_in_order_of_names_without_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    text_file(tmp_path / "b", "1.txt", "Mara: Second.\nMara: Third.\n")
    text_file(tmp_path, "a.txt", "Mara: First.\nTobin: Yes.\n")
    text_file(tmp_path, ".notes.txt", "Mara: Hidden.\nTobin: Yes.\n")
    texts = [line.text for line in Reading([tmp_path])]
    assert texts == ["First.", "Yes.", "Second.", "Third."]


def test_a_link_to_a_parent_folder_is_not_a_folder_without_end(tmp_path: Path) -> None:
    text_file(tmp_path, "a.txt", "Mara: First.\nTobin: Yes.\n")
    os.symlink(tmp_path, tmp_path / "loop")
    assert len(list(Reading([tmp_path]))) == 2


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("scene.rpyc", b"RENPY RPC2" + b"\0" * 40, "unrpyc"),
        ("game.rpa", b"RPA-3.0 000000\n\0\0", "rpatool"),
        ("talk.zip", b"PK\x03\x04\x14\0\0\0", "unpack"),
        ("sable.persona", b"SQLite format 3\0" + b"\0" * 40, "SQLite"),
        ("face.png", b"\x89PNG\r\n\x1a\n\0\0", "picture"),
        ("dump.bin", bytes(range(256)), "binary"),
        ("empty.txt", b"", "empty"),
        ("spaces.txt", b" \n\n ", "empty"),
        ("scene.json", b'{"Header": {"WKitJsonVersion": "0.0.8"}}', "WolvenKit"),
    ],
)
def test_a_file_that_is_not_understood_is_named_with_a_reason(
    tmp_path: Path, name: str, content: bytes, hint: str
) -> None:
    text_file(tmp_path, name, content)
    text_file(tmp_path, "good.txt", "Mara: Hello.\nTobin: Yes.\n")
    reading = Reading([tmp_path])
    assert said(list(reading)) == [("Mara", "Hello."), ("Tobin", "Yes.")]  # the rest goes on
    (problem,) = reading.failed
    assert name in str(problem)
    assert hint in str(problem)


def test_pictures_and_compiled_scripts_beside_the_dialogue_are_expected(tmp_path: Path) -> None:
    text_file(tmp_path, "scene.txt", "Mara: Hello.\nTobin: Yes.\n")
    text_file(tmp_path, "talk.rpy", 'label start:\n    "Mara" "Hello there."\n')
    text_file(tmp_path, "talk.rpyc", b"RENPY RPC2" + b"\0" * 40)
    text_file(tmp_path, "face.png", b"\x89PNG\r\n\x1a\n\0\0")
    text_file(tmp_path, "letters.ttf", b"\0\x01\0\0\0\x0c\0\x80")
    text_file(tmp_path, "lost.rpyc", b"RENPY RPC2" + b"\0" * 40)  # its script is not here: what it says is missing
    reading = Reading([tmp_path])
    list(reading)
    assert len(reading.failed) == 4  # each is named, with its reason
    assert [Path(problem.file).name for problem in reading.failed if not problem.expected] == ["lost.rpyc"]
    named = Reading([tmp_path / "face.png", tmp_path / "scene.txt"])
    list(named)
    assert [problem.expected for problem in named.failed] == [False]  # somebody meant this one to be read


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match="does not exist"):
        list(Reading([tmp_path / "nothing.txt"]))
    with pytest.raises(DumpError, match="no dump was given"):
        list(Reading([]))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    reading = Reading([tmp_path / "pipe.txt"])
    assert list(reading) == []
    assert "not a regular file" in str(reading.failed[0])


def test_spellings_of_a_name_are_one_speaker() -> None:
    names = Names({"Judy": ["JUDY_01", "Judy A."]})
    assert names.join("judy_01") == "Judy"
    assert names.join("judy  a.") == "Judy"
    assert names.join("Mara") == "Mara"
    assert names.join("MARA") == "Mara"
    assert names.join(None) is None


def test_an_alias_is_written_name_is_spellings() -> None:
    assert parse_alias("judy=Judy, JUDY_01") == ("judy", ["Judy", "JUDY_01"])
    for wrong in ("judy", "=Judy", "judy=", "judy= , "):
        with pytest.raises(OptionError, match="NAME=SPELLING"):
            parse_alias(wrong)


def test_the_same_dump_in_two_files_gives_its_lines_once(tmp_path: Path) -> None:
    text_file(tmp_path, "a.jsonl", '{"speaker": "Mara", "text": "Hello."}\n')
    text_file(tmp_path, "b.csv", "speaker,text\nMARA,Hello.\nMara,Bye.\n")
    reading = Reading([tmp_path])
    assert [line.text for line in reading] == ["Hello.", "Bye."]
    assert reading.duplicates == 1


def test_a_script_may_say_the_same_twice(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.txt", "Mara: Hm.\nTobin: What?\nMara: Hm.\n")
    assert len(list(Reading([path]))) == 3


def test_the_same_words_under_two_ids_are_two_lines(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.csv", "id,speaker,text\n1,Mara,Hm.\n2,Mara,Hm.\n2,Mara,Hm.\n")
    assert [line.id for line in Reading([path])] == ["1", "2"]


def test_one_bad_byte_does_not_spoil_the_other_accents(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.txt", "Mara: Café.\n".encode() + b"Tobin: Caf\xe9 too.\n" + "Mara: Où?\n".encode())
    assert [line.text for line in Reading([path])] == ["Café.", "Café too.", "Où?"]


def test_progress_goes_up_to_one(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.txt", "Mara: Hello there.\nTobin: Yes.\n" * 5000)
    shares: list[float] = []
    list(Reading([path], progress=shares.append))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert 20 < len(shares) < 300


def test_tidy_keeps_one_line_of_printable_text() -> None:
    assert tidy("  a\n\tb\0\x07c \u2028 d ") == "a bc d"
    assert tidy("half \ud83d of a pair") == "half \ufffd of a pair"
    assert len(tidy("x" * 100_000)) == 20_000
    assert fold("  JUDY\u00a0Alvarez ") == "judy alvarez"


def test_a_format_of_ones_own_is_one_function(tmp_path: Path) -> None:
    def starts(file: DumpFile) -> float:
        return 1.0 if file.head.startswith("#shouts") else 0.0

    @reader("shouts", "a test's own", sniff=starts)
    def read_shouts(file: DumpFile, join: Join) -> Iterator[Line | None]:
        for number, text in file.lines():
            name, found, words = text.partition("!")
            if found:
                yield file.line(number, words, name)

    try:
        reading = Reading([text_file(tmp_path, "a.shout", "#shouts\nMara!Ahoy.\nTobin!Yes.\n")])
        assert said(list(reading)) == [("Mara", "Ahoy."), ("Tobin", "Yes.")]
        assert reading.files[0][1:] == ("shouts", 2)
    finally:
        registry._readers.pop("shouts")


def test_the_readers_are_known_by_name() -> None:
    assert {each.name for each in all_readers()} >= {"json", "rpy", "table", "transcript"}


SAMPLES = [
    "rpy/scene.rpy",
    "rpy/cast.rpy",
    "talk.jsonl",
    "nested.json",
    "excel_cp1252.csv",
    "excel_utf16.tsv",
    "script.txt",
]


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_of_any_kind_is_read_or_refused(tmp_path: Path, name: str) -> None:
    raw = (DATA / name).read_bytes()
    damaged = [mutate(raw, seed) for seed in range(1000)] + [raw[: len(raw) * n // 50] for n in range(50)]
    for data in damaged:
        reading = Reading([text_file(tmp_path, Path(name).name, data)])
        for line in reading:  # anything that is raised here fails the test
            line.text.encode("utf-8")
            assert line.text
        assert len(reading.files) + len(reading.failed) >= 1


@pytest.mark.parametrize("name", SAMPLES)
def test_no_reader_breaks_on_the_files_of_another(tmp_path: Path, name: str) -> None:
    for each in all_readers():
        force(each, DATA / name)


@pytest.mark.parametrize(
    "content",
    [
        "(" * 400_000,
        "label start:\n" + "    (\n" * 60_000,
        '"' * 400_001,
        "label a:\n" + '    e "' * 30_000,
        "label a:\n" + "    e " + "word " * 100_000,
        "define e = Character(" * 20_000,
        "label a:\n    e " + "{" * 300_000 + "\n",
        'label a:\n    e "' + "{a" * 150_000 + '"\n',
        'label a:\n    e "' + "[a" * 150_000 + '"\n',
        "Mara: " + "(" * 300_000,
        "Mara" + " " * 300_000 + ": x\nTobin: y\nMara: z\n",
        "#" * 300_000,
        "# " + "- " * 150_000,
        "*" * 300_000 + "\nMara: x\nMara: y\n",
        "Mara: " + "*a " * 100_000 + "\nTobin: y\n",
        "a" * 300_000 + ":\n" * 10,
        "speaker,text\n" + '"' * 300_000,
        "speaker,text" + ",x" * 30_000 + "\n" + "," * 60_000,
        "{" + "\n" * 300_000 + "x",
        "\n" * 400_000 + "Mara: x",
        "[" + '{"speaker": "a", "text": "b"},' * 30_000,
    ],
    ids=range(21),
)
@pytest.mark.parametrize("suffix", [".rpy", ".txt"])
def test_hostile_text_costs_time_in_proportion(tmp_path: Path, content: str, suffix: str) -> None:
    path = text_file(tmp_path, f"x{suffix}", content)
    start = time.process_time()
    for _ in Reading([path]):
        pass
    assert time.process_time() - start < 5.0  # a quadratic walk over any of these takes minutes
