"""The command line: exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modkit.cli import main
from modkit.persona import Save

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "persona" / "data"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches what modkit keeps for the user who runs it."""
    monkeypatch.setenv("MODKIT_HOME", str(tmp_path / "home"))


@pytest.fixture
def persona(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "mara.persona"
    assert main(["persona", "build", str(DATA / "script.txt"), "--speaker", "mara", "-o", str(path)]) == 0
    capsys.readouterr()
    return path


def test_build_says_what_it_did_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.persona"
    assert main(["persona", "build", str(DATA / "script.txt"), "--speaker", "Mara", "-o", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "3 lines of Mara" in said.err
    assert out.exists()


def test_build_takes_a_card_aliases_and_players(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card, aliases, dump = tmp_path / "card.txt", tmp_path / "alias.txt", tmp_path / "d.txt"
    card.write_text("You are Judy.", encoding="utf-8")
    aliases.write_text("# spellings\njudy=Judy,JUDY_01\n", encoding="utf-8")
    dump.write_text("Judy: One.\nJUDY_01: Two.\nV: Three.\n", encoding="utf-8")
    out = str(tmp_path / "j.persona")
    build = ["persona", "build", str(dump), "--speaker", "Judy", "--card", str(card), "--player", "V", "-o", out]
    assert main([*build, "--alias", str(aliases)]) == 0
    assert "2 lines of judy" in capsys.readouterr().err
    assert main([*build, "--alias", "judy=Judy,JUDY_01"]) == 0
    assert main(["persona", "ask", out, "one", "--json"]) == 0


def test_lines_as_json_are_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["persona", "lines", str(DATA / "rpy"), str(DATA / "talk.jsonl"), "--json"]) == 0
    rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    mara = next(row for row in rows if row["text"] == "Good.")
    assert mara["speaker"] == "Mara"
    assert mara["kind"] == "dialogue"
    assert mara["source"]["file"].endswith("scene.rpy")
    assert any(row["speaker"] is None and row["kind"] == "choice" for row in rows)


def test_lines_goes_on_after_a_bad_file_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "scene.rpyc"
    bad.write_bytes(b"RENPY RPC2\0\0")
    assert main(["persona", "lines", str(bad), str(DATA / "chat.log"), "--json"]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 4
    assert "unrpyc" in said.err
    assert "1 file was not read" in said.err


def test_the_pictures_of_a_games_folder_are_one_sentence_and_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talk.txt").write_text("Mara: Hello.\nTobin: Yes.\n", encoding="utf-8")
    for number in range(9):
        (tmp_path / f"face{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert main(["persona", "lines", str(tmp_path)]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("9 files without dialogue") and "face0.png" in said
    (tmp_path / "game.rpa").write_bytes(b"RPA-3.0 000000\n\0\0")
    assert main(["persona", "lines", str(tmp_path)]) == 1
    assert "1 file was not read" in capsys.readouterr().err


def test_ask_shows_the_source(persona: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["persona", "ask", str(persona), "When does the tide turn?", "-k", "1"]) == 0
    assert "Mara: The tide turns at nine." in (said := capsys.readouterr().out)
    assert "script.txt, line 3" in said


def test_ask_as_json_is_one_document(persona: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["persona", "ask", str(persona), "When does the tide turn?", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[0]["text"] == "The tide turns at nine."
    assert found[0]["source"]["place"] == "line 3"
    assert main(["persona", "ask", str(persona), "zebra", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["persona", "ask", "missing.persona", "hello"],
        ["persona", "lines", "missing.txt"],
        ["persona", "build", "missing.txt", "--speaker", "Mara", "-o", "x.persona"],
        ["persona", "build", str(DATA / "script.txt"), "--speaker", "Nobody", "-o", "x.persona"],
    ],
)
def test_a_failure_is_one_line_and_exit_1(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("modkit: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["persona"],
        ["persona", "build", "a.txt"],
        ["persona", "ask", "a.persona"],
        ["persona", "ask", "a.persona", "q", "-k", "many"],
        ["persona", "lines", "a.txt", "--alias", "nonsense=,"],
        ["persona", "build", "a.txt", "--speaker", "A", "-o", "b", "--card", "missing.txt"],
    ],
)
def test_wrong_usage_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().out == ""


def test_k_out_of_range_is_wrong_usage(persona: Path) -> None:
    assert main(["persona", "ask", str(persona), "tide", "-k", "0"]) == 2


def test_a_closed_pipe_ends_quietly() -> None:
    command = f"'{sys.executable}' -m modkit persona lines '{DATA / 'rpy'}' | head -1"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_help_imports_no_room() -> None:
    heavy = "{'apsw', 'msgpack', 'cffi', 'numpy', 'asyncio'}"
    code = f"import sys, modkit.cli; modkit.cli.main(['--help']); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.rstrip().endswith("[]")


def test_a_terminal_that_cannot_show_a_letter_gets_a_question_mark(persona: Path, tmp_path: Path) -> None:
    dump = tmp_path / "d.txt"
    dump.write_text("Мара: Привет.\nМара: Да.\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "modkit", "persona", "lines", str(dump)],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0
    assert b"????: ??????." in done.stdout


def test_export_writes_a_card_that_build_takes_in_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = tmp_path / "dump.txt"
    dump.write_text("Tom: Who are you?\nIna: I am Ina, and I mend nets for the whole bay.\n", encoding="utf-8")
    persona, picture = str(tmp_path / "ina.persona"), str(tmp_path / "ina.png")
    assert main(["persona", "build", str(dump), "--speaker", "Ina", "-o", persona]) == 0
    assert main(["persona", "export", persona, picture]) == 0
    assert "Ina" in capsys.readouterr().err
    assert main(["persona", "build", str(dump), "--speaker", "Ina", "-o", persona, "--card", picture]) == 0
    gates = tmp_path / "gates.toml"
    gates.write_text('[[lines]]\nspeaker = "Ina"\nwhen = "flag.met"\n', encoding="utf-8")
    assert main(["persona", "build", str(dump), "--speaker", "Ina", "-o", persona, "--knowledge", str(gates)]) == 0
    assert main(["persona", "export", persona, picture]) == 0
    assert "behind gates: 1 (--gated" in capsys.readouterr().err
    assert main(["persona", "export", persona, picture, "--gated"]) == 0
    assert "left out" not in capsys.readouterr().err
    assert main(["persona", "export", persona, str(tmp_path / "ina.webp")]) == 1
    assert ".json, .png or .charx" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="sends the signal that Ctrl-C is")
def test_ctrl_c_is_one_sentence_and_130_and_keeps_what_was_said(tmp_path: Path) -> None:
    persona, kept, demo = tmp_path / "sable.persona", tmp_path / "talk.save", ROOT / "examples" / "npc_character"
    build = ["persona", "build", str(demo / "dump"), "--speaker", "Sable", "--player", "Stranger", "-o", str(persona)]
    assert main(build) == 0
    command = [sys.executable, "-m", "modkit", "chat", str(persona), "--model", str(demo / "sable.gguf")]
    chat = subprocess.Popen(
        [*command, "--save", str(kept)], cwd=ROOT, text=True, bufsize=0,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's "&" has it ignored
    )  # fmt: skip
    assert chat.stdin is not None and chat.stdout is not None
    with chat:
        chat.stdin.write("Who are you?\n")
        said = ""
        while not said.endswith("\nPlayer: "):  # the second time that it asks
            letter = chat.stdout.read(1)
            assert letter, said
            said += letter
        chat.send_signal(signal.SIGINT)
        _, complaint = chat.communicate(timeout=60)
    assert complaint == "modkit: stopped by Ctrl-C\n"
    assert chat.returncode == 130
    with Save.open(kept) as save:
        assert [turn.words for turn in save.turns("Sable")] == ["Who are you?"]


def test_help_is_shown_on_a_terminal_without_our_letters() -> None:
    for words in (["persona", "build"], ["check"], ["persona", "lines"]):
        done = subprocess.run(
            [sys.executable, "-m", "modkit", *words, "--help"], cwd=ROOT, capture_output=True, timeout=60,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )  # fmt: skip
        assert done.returncode == 0 and done.stderr == b"" and b"usage: modkit" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", [["persona", "lines", str(DATA / "script.txt")], ["--help"]])
def test_a_full_disk_behind_stdout_is_one_sentence(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "modkit", *words], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr.decode() == "modkit: stdout cannot be written or read: No space left on device\n"


def test_chat_says_that_a_model_is_no_good_before_anybody_types(
    persona: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.gguf"
    model.write_text("This is a text.", encoding="utf-8")
    assert main(["chat", str(persona), "--model", str(model)]) == 1
    said = capsys.readouterr()
    assert "it is not a GGUF file" in said.err and said.out == ""


def test_a_terminal_without_a_locale_may_be_typed_into_in_any_language(tmp_path: Path) -> None:
    demo, persona, kept = ROOT / "examples" / "npc_character", tmp_path / "sable.persona", tmp_path / "talk.save"
    assert main(["persona", "build", str(demo / "dump"), "--speaker", "Sable", "-o", str(persona)]) == 0
    command = [sys.executable, "-m", "modkit", "chat", str(persona), "--model", str(demo / "sable.gguf")]
    done = subprocess.run(
        [*command, "--save", str(kept)], cwd=ROOT, input="Ж灯?\n".encode() + b"\xff!\n", capture_output=True,
        timeout=120,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    with Save.open(kept) as save:
        assert [turn.words for turn in save.turns("Sable")] == ["Ж灯?", "\ufffd!"]


def test_a_folder_that_is_not_there_is_what_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "mara.persona"
    assert main(["persona", "build", str(DATA / "script.txt"), "--speaker", "Mara", "-o", str(out)]) == 1
    assert "its folder does not exist; make it first" in capsys.readouterr().err
