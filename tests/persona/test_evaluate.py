"""The measures are right on a character whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modkit.cli import main
from modkit.errors import OptionError, PersonaError
from modkit.persona import Persona, build
from modkit.persona.evaluate import Question, evaluate, hold_out, read_questions
from modkit.persona.style import Style
from modkit.testing import FakeEngine, FakeRequest
from tests.persona.support import text_file
from tests.persona.test_recall import Thesaurus

THINGS = ("boat", "lamp", "rope", "anchor", "barrel", "mast", "net", "oar", "bell", "gull", "crate", "ladder", "sail")
TALK = "".join(
    f"Tobin: Where is {thing} number {n}?\nMara: The {thing} lies beneath plank {n} yonder, where thou hast left it.\n"
    for n, thing in enumerate(THINGS * 3)
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval")
    build([text_file(folder, "talk.txt", TALK)], "Mara", folder / "m.persona", embedder=Thesaurus())
    return folder / "m.persona"


def test_held_out_questions_are_in_the_copy_no_more(path: Path, tmp_path: Path) -> None:
    asked = hold_out(path, tmp_path / "copy.persona", 10, seed=1, embedder=Thesaurus())
    assert len(asked) == 10
    before = path.read_bytes()
    with Persona.open(tmp_path / "copy.persona") as copy, Persona.open(path) as whole:
        for question in asked:
            (found,) = whole.ask(question.text, 1)
            assert found.cue == question.text
            cues = [memory.cue for memory in copy.ask(question.text, 20)]
            assert question.text not in cues
    assert path.read_bytes() == before


def test_recall_and_rank_are_counted(path: Path) -> None:
    questions = [
        Question("Where is the boat of plank 0?", "The boat lies beneath plank 0 "),
        Question("What is for supper?", "The boat"),
    ]
    report = evaluate(path, questions=questions, embedder=Thesaurus())
    assert set(report.retrieval) == {"bm25", "dense", "fused"}
    assert report.retrieval["fused"]["recall@5"] == report.retrieval["bm25"]["recall@5"] == 0.5
    assert 0 < report.retrieval["bm25"]["mrr"] <= 0.5
    assert evaluate(path, questions=questions).reason == "no embedder was given"


def test_replies_are_judged(path: Path) -> None:
    def reply(request: FakeRequest) -> str:
        if request.text.startswith(("Question: ", "Somebody says: ")):  # the judge's
            return "Yes"
        if "lamp" in request.text.split("\n")[-1]:
            return "As an AI, I cannot know."
        memory = next(row for row in reversed(request.text.split("\n")) if row.startswith("* "))
        return memory.removeprefix("* ")

    report = evaluate(path, FakeEngine(reply), count=39, replies=39)
    lamps = 3 / 39
    assert report.breaks == pytest.approx(lamps)
    assert report.uses_fact == pytest.approx(1 - lamps)
    assert report.another_voice is not None and report.another_voice <= 2 * lamps
    assert report.broken[0]["reason"].startswith("an assistant speaks")
    assert "break character" in report.table() and "recall@1 on" in report.table()
    assert report.judged["right lines kept"] == report.judged["memory needed"] == 1.0
    assert report.judged["recall@1 off"] <= report.judged["recall@1 on"]


def test_the_voice_of_another_is_told_from_hers(path: Path) -> None:
    with Persona.open(path) as persona:
        style = Style.of(persona)
    assert style is not None
    assert style.other("The gull lies yonder, where thou hast left it.") is False
    assert style.other("Where is number 7?") is True
    assert style.other("Hm.") is None
    assert Style.of(Persona.open(path)) is not None


def test_a_users_own_questions_are_read(tmp_path: Path) -> None:
    file = text_file(tmp_path, "q.txt", '# mine\nWho?\tThe boat\n{"question": "Why?", "answer": "Hm"}\n')
    assert read_questions(file) == [Question("Who?", "The boat"), Question("Why?", "Hm")]
    with pytest.raises(OptionError, match="line 1"):
        read_questions(text_file(tmp_path, "bad.txt", "no tab\n"))
    with pytest.raises(OptionError, match="cannot be read"):
        read_questions(tmp_path / "none.txt")


def test_a_persona_without_questions_says_so(tmp_path: Path) -> None:
    build([text_file(tmp_path, "t.txt", "Mara: Hm.\n")], "Mara", tmp_path / "m.persona")
    with pytest.raises(PersonaError, match="give your own"):
        evaluate(tmp_path / "m.persona")


def test_the_command_prints_a_table_or_json(path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["persona", "eval", str(path), "--embedder", "none", "-n", "5"]) == 0
    assert "recall@5" in capsys.readouterr().out
    command = ["persona", "eval", str(path), "--embedder", "none", "--model", str(tiny), "--replies", "2", "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["replies"], report["model"]) == (2, "test model")
