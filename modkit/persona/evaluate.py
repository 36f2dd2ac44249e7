"""How well a persona remembers and stays herself, measured: `modkit persona eval`.

Questions come from her own dump: what somebody asked her there, and her answer as the line to be found. So that
finding it is no matter of looking it up, those questions are taken out of a copy of the file first: held out. A
user's own questions can be given instead. Runs on the calling thread, for minutes with a model; a tool, not a frame.
"""

from __future__ import annotations

import json
import math
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from modkit.errors import OptionError, PersonaError
from modkit.native.replacing import replacing
from modkit.persona import vectors
from modkit.persona.guard import Guard
from modkit.persona.judge import Judge
from modkit.persona.memory import STOP_WORDS, index_words, is_question, stem
from modkit.persona.npc import NPC
from modkit.persona.persona import Persona
from modkit.persona.style import Style
from modkit.persona.vectors import Embedder

if TYPE_CHECKING:
    from modkit.engine.protocol import AnyEngine

__all__ = ["EvalReport", "Question", "evaluate", "hold_out", "read_questions", "recall_figures"]

_AT = (1, 3, 5, 10)
_JUDGED = 8  # lines weighed for a question
_LEAST_WORDS = 3  # telling words of an answer that can be recognised


@dataclass(frozen=True)
class Question:
    """A question and the beginning of the line that answers it."""

    text: str
    answer: str


@dataclass
class EvalReport:
    """What was measured. Shares are 0 to 1; `retrieval` by method: recall@k, mrr."""

    persona: str = ""
    questions: int = 0
    held_out: bool = True
    retrieval: dict[str, dict[str, float]] = field(default_factory=dict)
    reason: str = ""
    model: str = ""
    replies: int = 0
    judged: dict[str, float] = field(default_factory=dict)
    uses_fact: float = 0.0
    breaks: float = 0.0
    another_voice: float | None = None
    broken: list[dict[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def table(self) -> str:
        """For people."""
        rows = [f"{self.persona}: {self.questions} questions{', held out of her dump' if self.held_out else ''}", ""]
        rows.append("retrieval   " + "  ".join(f"recall@{k:<2}" for k in _AT) + "  MRR")
        for method, figures in self.retrieval.items():
            rows.append(
                f"{method:<10}  " + "  ".join(f"{figures[f'recall@{k}']:8.1%} " for k in _AT) + f" {figures['mrr']:.3f}"
            )
        if self.reason:
            rows.append(f"(no meaning: {self.reason})")
        if self.judged:
            told = ", ".join(f"{name} {value:.1%}" for name, value in self.judged.items())
            rows.append(f"judged by the model (on {self.replies} questions): {told}")
        if self.replies:
            rows += ["", f"{self.replies} replies of {self.model or 'the model'}"]
            rows.append(f"use the fact they were given    {self.uses_fact:6.1%}")
            rows.append(f"break character                 {self.breaks:6.1%}")
            if self.another_voice is not None:
                rows.append(f"sound like somebody else        {self.another_voice:6.1%}")
            rows += [f"  {one['reason']}: {one['reply'][:100]}" for one in self.broken[:5]]
        return "\n".join(rows)


def evaluate(
    persona: str | Path,
    engine: AnyEngine | None = None,
    *,
    embedder: Embedder | None = None,
    questions: Sequence[Question] | None = None,
    count: int = 100,
    replies: int = 30,
    guard: Guard | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> EvalReport:
    """Measure the persona file. `count` questions are held out of the dump unless `questions` are given; with an
    `engine`, `replies` of them are asked. `guard` says what breaks character. Raises PersonaError."""
    with tempfile.TemporaryDirectory(prefix="modkit-eval-") as folder:
        copy = Path(folder) / "held-out.persona"
        given = list(questions) if questions is not None else []
        asked = hold_out(persona, copy, count, seed, embedder) if questions is None else given
        if not asked:
            raise PersonaError(
                f"{persona} has no questions with answers to hold out: give your own with --questions FILE"
            )
        with Persona.open(copy if questions is None else persona) as opened:
            report = EvalReport(opened.name, len(asked), questions is None)
            report.retrieval, report.reason = recall_figures(opened, asked, embedder)
            if engine is not None:
                chosen = random.Random(seed).sample(asked, min(replies, len(asked)))
                _replies(report, opened, engine, embedder, chosen, guard or Guard(), progress)
                report.judged = judged_figures(opened, engine, chosen, embedder)
    return report


def read_questions(path: str | Path) -> list[Question]:
    """A user's own: JSON lines with `question` and `answer`, or two columns with a tab between. Raises OptionError."""
    try:
        rows = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} cannot be read: {error}") from error
    found = []
    for number, row in enumerate(rows, 1):
        if not row.strip() or row.startswith("#"):
            continue
        try:
            pair = zip(("question", "answer"), row.split("\t"))
            value = json.loads(row) if row.lstrip().startswith("{") else dict(pair)
            found.append(Question(str(value["question"]), str(value["answer"]).strip()))
        except (ValueError, KeyError):
            raise OptionError(f"{path}, line {number}: give a question, a tab, and how the answer begins") from None
    return found


def hold_out(
    persona: str | Path, copy: Path, count: int, seed: int = 0, embedder: Embedder | None = None
) -> list[Question]:
    """Write a copy of the persona in which `count` answers stand without the questions they answered; returns those."""
    with Persona.open(persona) as opened:  # says what is wrong with it, if something is
        has_vectors = bool(opened.embedder) and embedder is not None
    source = apsw.Connection(os.fspath(persona), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        with replacing(copy) as temporary:
            source.execute("VACUUM INTO ?", (os.fspath(temporary),))
    finally:
        source.close()
    target = apsw.Connection(os.fspath(copy))
    try:
        rows: Any = target.execute(
            "SELECT l.id, l.text, c.text, c.speaker, c.kind, l.scene FROM lines AS l JOIN lines AS c ON c.id = l.cue "
            "WHERE l.own = 1 AND l.gate IS NULL AND l.text NOT LIKE '%?' ORDER BY l.id"
        ).fetchall()
        able = [
            row for row in rows
            if is_question(row[2], row[3], row[4]) and "?" in row[2] and len(_telling(row[1])) >= _LEAST_WORDS
        ]  # fmt: skip
        chosen = random.Random(seed).sample(able, min(count, len(able)))
        with target:
            _without_cues(target, chosen, embedder if has_vectors else None)
    finally:
        target.close()
    return [Question(row[2], row[1]) for row in chosen]


def _without_cues(connection: apsw.Connection, rows: Sequence[Any], embedder: Embedder | None) -> None:
    for number, text, _cue, _speaker, _kind, scene in rows:
        said = index_words(text)
        connection.execute("UPDATE lines SET cue = NULL, terms = ? WHERE id = ?", (said, number))
        connection.execute("DELETE FROM words WHERE rowid = ?", (number,))
        connection.execute(
            "INSERT INTO words (rowid, text, cue, near, scene) VALUES (?, ?, '', '', ?)",
            (number, said, index_words((scene or "").replace("_", " "))),
        )
    if embedder is not None and rows and vectors.load_functions(connection) is None:
        made = embedder.embed([row[1] for row in rows])
        connection.executemany("DELETE FROM bits WHERE id = ?", [(row[0],) for row in rows])
        connection.executemany("DELETE FROM vectors WHERE id = ?", [(row[0],) for row in rows])
        size = len(made.cast("B")) // 4 // len(rows)
        vectors.store_vectors(connection, [row[0] for row in rows], vectors.row_bytes(made, size))


def recall_figures(
    persona: Persona, questions: Sequence[Question], embedder: Embedder | None = None
) -> tuple[dict[str, dict[str, float]], str]:
    """recall@k and MRR by words, by meaning and fused; and why there is no meaning, if there is none."""
    methods: dict[str, dict[str, Any]] = {"bm25": {}}
    reason = "no embedder was given" if embedder is None else persona.search("?", embedder=embedder).reason
    if not reason:
        methods |= {"dense": {"embedder": embedder, "words_weight": 0.0}, "fused": {"embedder": embedder}}
    figures = {}
    for method, options in methods.items():
        ranks = []
        for question in questions:
            found = [memory.text for memory in persona.ask(question.text, max(_AT), **options)]
            ranks.append(next((n for n, text in enumerate(found, 1) if text.startswith(question.answer)), 0))
        figures[method] = {f"recall@{k}": _share(0 < rank <= k for rank in ranks) for k in _AT}
        figures[method]["mrr"] = math.fsum(1.0 / rank for rank in ranks if rank) / max(1, len(ranks))
    return figures, reason


def judged_figures(
    persona: Persona, engine: AnyEngine, questions: Sequence[Question], embedder: Embedder | None = None
) -> dict[str, float]:
    """The policies over the memory, off and on: the right line first as looked up and as weighed by the model, how
    often the right line is kept and another dropped, and how often a memory is thought to be needed."""
    judge = Judge(engine)
    judge.calibrate().result()
    first, weighed, kept, dropped, needed = [], [], [], [], []
    for question in questions:
        found = persona.ask(question.text, _JUDGED, embedder=embedder)
        right = [memory.text.startswith(question.answer) for memory in found]
        scores = judge.relevant(question.text, [memory.text for memory in found]).result()
        first.append(bool(right) and right[0])
        weighed.append(any(good and score == max(scores) for good, score in zip(right, scores)))
        kept += [score >= judge.least for good, score in zip(right, scores) if good]
        dropped += [score < judge.least for good, score in zip(right, scores) if not good]
        needed.append(judge.needed(question.text).result() >= judge.least)
    return {
        "recall@1 off": _share(first),
        "recall@1 on": _share(weighed),
        "right lines kept": _share(kept),
        "others dropped": _share(dropped),
        "memory needed": _share(needed),
    }


def _replies(
    report: EvalReport, persona: Persona, engine: AnyEngine, embedder: Embedder | None,
    questions: Sequence[Question], guard: Guard, progress: Callable[[float], None] | None,
) -> None:  # fmt: skip
    style = Style.of(persona)
    uses, breaks, others = [], [], []
    for number, question in enumerate(questions, 1):
        npc = NPC(persona, engine, embedder=embedder, recollections=0, summaries=False)
        reply = npc.say(question.text, seed=number).result()
        given = {stem(word) for memory in npc.last_memories for word in _telling(memory.text)}
        given -= {stem(word) for word in index_words(question.text).split()}
        if given:
            uses.append(len(given & {stem(word) for word in _telling(reply)}) >= min(2, len(given)))
        reason = guard.broken(reply, [npc.player])
        other = style.other(reply) if style is not None else None
        breaks.append(reason is not None)
        if other is not None:
            others.append(other)
        if reason:
            report.broken.append({"question": question.text, "reply": reply, "reason": reason})
        npc.close()
        if progress is not None:
            progress(number / len(questions))
    report.model, report.replies = str(getattr(engine, "name", "")), len(questions)
    report.uses_fact, report.breaks = _share(uses), _share(breaks)
    report.another_voice = _share(others) if style is not None else None


def _telling(text: str) -> list[str]:
    return [word for word in index_words(text).split() if word not in STOP_WORDS]


def _share(hits: Iterable[bool]) -> float:
    counted = list(hits)
    return sum(counted) / len(counted) if counted else 0.0
