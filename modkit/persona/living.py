"""What an NPC takes with it from turn to turn: `remember`, `forget`, `undo`, what it overhears, how it feels, and the
summaries its model makes of old turns when nobody speaks.

`Living` is the part of `NPC` that has to do with its `Mind`. Methods without an underscore belong to the game's
thread and return at once; what touches the save runs on the engine's helper thread, in order with the turns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modkit.errors import ModkitError, OptionError, SaveError
from modkit.persona import prompt
from modkit.persona.lines import is_player
from modkit.persona.memory import Memory, is_question
from modkit.persona.mind import Experience, Mind, importance_of
from modkit.persona.save import Save

if TYPE_CHECKING:
    from modkit.engine.protocol import AnyEngine
    from modkit.engine.stream import Stream
    from modkit.persona.persona import Persona
    from modkit.persona.turn import Turn
    from modkit.persona.vectors import Embedder

__all__ = ["Living"]

_log = logging.getLogger("modkit.persona")

_SURE = 0.6  # the score from which what was lived through stands nearer than the dump
_FOLD_FROM = 4  # turns that have left the prompt before they are folded
_FOLD_AT_MOST = 24
_SUMMARY_TOKENS = 110
_MODEL_THAT_SUMS_UP = 300_000_000  # parameters; smaller models make things up where they should sum up
_HEARD_AT_MOST = 8  # lines overheard since the last turn that go into the next prompt


class Living:
    """The side of `NPC` that remembers; see there for how it is made."""

    engine: AnyEngine
    persona: Persona
    save: Save | None
    id: str
    _turns: list[Turn]
    _unsaved: list[Turn]
    _first: int

    mind: Mind
    """what was lived through; its methods touch the disk"""
    time: float
    """game time in hours, kept up to date by the mod; memories fade by it"""
    mood: str
    """one word for how the NPC feels, "" for nothing special"""
    feelings: dict[str, float]
    """towards whom: from -1 (hatred) over 0 to 1 (love)"""
    language: str
    """the language to answer in, "" for the card's"""

    def _awaken(self, embedder: Embedder | None, recollections: int, summaries: bool | str) -> None:
        if summaries not in (True, False, "auto"):
            raise OptionError(f"summaries={summaries!r}: give True, False or 'auto'")
        self._private = None if self.save is not None else Save.in_memory()
        self.mind = Mind(self._store(), self.id, embedder)
        self.recollections = recollections
        self.summaries = summaries
        self.language = ""
        kept = self.mind.get("self", {})
        kept = kept if isinstance(kept, dict) else {}
        self.time = float(kept.get("time", 0.0))
        self.mood = str(kept.get("mood", ""))
        feelings = kept.get("feelings", {})
        self.feelings = {str(who): float(value) for who, value in dict(feelings).items()}
        self._overheard: list[str] = []
        self._folded = int(self.mind.get("folded", 0) or 0)  # the number of the last turn in a summary
        self._reflection: Stream | None = None

    def _store(self) -> Save:
        store = self.save or self._private
        assert store is not None
        return store

    # ---- for mods ----

    def remember(
        self, text: str, *, importance: float = 0.7, present: Iterable[str] = (), speaker: str | None = None
    ) -> None:
        """Let the NPC know `text` from now on: something that was seen, done or heard. `importance` is 0 to 1.

        `present` are who else was there, `speaker` who told it (None: nobody). Returns at once; what was asked before
        does not know of it. Raises OptionError.
        """
        if not isinstance(text, str) or not text.strip():
            raise OptionError("remember() takes a sentence")
        one = Experience(text, "told", speaker, None, importance, self.time, tuple(present))
        self._in_order(lambda: self.mind.add([one]))

    def forget(self, what: int | str) -> None:
        """Forget the memory of this number (`Memory.id`), or all whose text has these words in it.

        Only what was lived through in this game: her dump is never changed. Returns at once. Raises OptionError.
        """
        if isinstance(what, bool) or not isinstance(what, (int, str)) or what == "":
            raise OptionError("forget() takes a part of a text, or the number of a memory")
        self._in_order(lambda: self.mind.forget(what))

    def undo(self) -> Turn | None:
        """Take back the last turn, as if it had not been said, in the save as well; returns it, None when there is
        none in the transcript. A reply under way is stopped. Returns at once; the save follows on the helper thread."""
        self.interrupt()
        if not self._turns:
            return None
        turn = self._turns.pop()
        self._next = turn.place
        self._in_order(lambda: self._take_back(turn))
        return turn

    def hear(self, speaker: str, words: str, *, present: Iterable[str] = ()) -> None:
        """Somebody said something in the NPC's presence, not to it: it is remembered, and noticed at the next turn.

        `present` are who else was there. Returns at once; words that are empty are no news.
        """
        who, what = prompt.one_line(speaker, 40), prompt.one_line(words, prompt.MAX_FACT)
        if not what:
            return
        self._overheard.append(f"{who} says: {what}")
        del self._overheard[:-_HEARD_AT_MOST]
        weight = 0.8 * importance_of(what)
        one = Experience(what, "heard", who, None, weight, self.time, tuple(present))
        self._in_order(lambda: self.mind.add([one]))

    def greet(self, facts: Iterable[str] = (), **options: Any) -> Stream:
        """The NPC speaks first, to the player who comes up. `facts`, `options` and errors as `say`. Returns at once."""
        again = " again" if self.turn_count else ""
        player = options.get("speaker") or self.player
        return self.say("...", [f"{player} comes up to you{again}.", *facts], **options)

    def reflect(self, **options: Any) -> Stream | None:
        """Sum up what has left the prompt, when there is enough of it and the NPC is silent; else None.

        A mod may call this in a quiet moment; with `summaries` it is done after a reply. The next `say` stops it, and
        it is done another time. `options` are those of `Engine.chat`. Returns at once; raises what the engine does.
        """
        gone = (turn for turn in self._turns if turn.place < self._first)
        due = [turn for turn in gone if turn.number > self._folded and turn.finish is not None]
        if self.speaking or self._reflection is not None or len(due) < _FOLD_FROM:
            return None
        due = due[:_FOLD_AT_MOST]
        asked = {"max_tokens": _SUMMARY_TOKENS, "temperature": 0.3, "stop": ("\n\n",), **options}
        stream = self.engine.chat(prompt.summary_messages(self.persona.name, self.persona.card, due), **asked)
        self._reflection = stream
        stream.on_done(lambda done: self._reflected(done, due))
        return stream

    # ---- for NPC, on the game's thread ----

    def _stop_reflecting(self) -> None:
        if self._reflection is not None:
            stream, self._reflection = self._reflection, None
            stream.cancel()

    def _reflect_by_itself(self) -> None:
        if self.summaries is False:
            return
        info = getattr(self.engine, "info", {})
        able = self.summaries is True or int(info.get("parameters", 0) or 0) >= _MODEL_THAT_SUMS_UP
        if not able:
            return
        try:
            try:
                self.reflect(priority="ambient")
            except OptionError:  # an engine without priorities
                self.reflect()
        except ModkitError as error:  # a full queue: another time
            _log.debug("%s: no summary now: %s", self.persona.name, error)

    def _reflected(self, stream: Stream, turns: Sequence[Turn]) -> None:
        if self._reflection is stream:
            self._reflection = None
        text = prompt.one_line(stream.text, 600)
        if stream.finish not in ("stop", "length") or not text:
            return
        numbers = [turn.number for turn in turns]
        self._folded = numbers[-1]
        present = tuple(dict.fromkeys(who for turn in turns for who in (turn.player, *turn.present)))
        one = Experience(text, "summary", None, None, 0.8, turns[-1].time, present, numbers[-1])

        def fold() -> None:
            self.mind.fold(one, numbers)
            self.mind.put("folded", numbers[-1])

        self._in_order(fold)

    def _notices(self) -> tuple[str, ...]:
        """What was overheard since the last turn; it is noticed once."""
        heard, self._overheard = tuple(self._overheard), []
        return heard

    def _self(self) -> dict[str, Any]:
        """What is kept of the NPC's inner state with every turn."""
        feelings = {str(who): float(value) for who, value in self.feelings.items()}
        return {"time": float(self.time), "mood": str(self.mood), "feelings": feelings}

    def _in_order(self, work: Callable[[], object]) -> None:
        """Run `work` on the helper thread after what was asked before; the save's errors are logged."""

        def run() -> None:
            self.mind.save = self._store()
            try:
                work()
            except SaveError as error:
                self.save_error = error
                _log.error("%s: %s", self.persona.name, error)

        try:
            self.engine.background(run)
        except ModkitError:  # the engine is gone
            run()

    # ---- on the helper thread ----

    def _visible(self, earlier: Sequence[Turn]) -> list[Turn]:
        """Those of the earlier turns that are still in the prompt."""
        return [past for past in earlier if past.place >= self._first]

    def _experiences(self, turn: Turn) -> list[Experience]:
        """What is kept of a turn beside the turn itself: what she was told, and what she answered."""
        kept = []
        present = (turn.player, *turn.present)
        telling = turn.words.strip(" .") and not is_question(turn.words, None, "dialogue")
        if telling:
            weight = importance_of(turn.words)
            kept.append(Experience(turn.words, "heard", turn.player, None, weight, turn.time, present))
        if turn.reply.strip():
            weight = 0.7 * importance_of(turn.reply)
            cue = turn.words if not is_player(turn.player, "choice") or turn.words.strip(" .") else None
            kept.append(Experience(turn.reply, "said", self.persona.name, cue, weight, turn.time, present))
        return kept

    def _with_experiences(
        self, question: str, turn: Turn, earlier: Sequence[Turn], found: tuple[Memory, ...], vector: bytes | None
    ) -> tuple[Memory, ...]:
        """The dump's memories and those of this game together, best first."""
        visible = self._visible(earlier)
        numbers = [past.number for past in visible if past.number]
        self.mind.save = self._store()
        try:
            lived = self.mind.recall(question, self.recollections, now=turn.time, besides=numbers, vector=vector)
            summary = self.mind.last_summary() if self._first else None
        except SaveError as error:
            _log.error("%s: %s", self.persona.name, error)
            return found
        shown = {memory.id for past in visible for memory in past.memories if memory.kind == "summary"}
        known = {memory.text.casefold() for memory in found}
        lived = [memory for memory in lived if memory.text.casefold() not in known]
        near = [memory for memory in lived if memory.score >= _SURE]
        far = [memory for memory in lived if memory.score < _SURE]
        both = [*near, *found, *far]
        if summary is not None and summary.id not in shown and all(memory.id != summary.id for memory in lived):
            both.append(summary.as_memory(0.1))  # the window has moved: what it lost is told once
        return tuple(both)

    def _inner_facts(self, turn: Turn, earlier: Sequence[Turn]) -> tuple[str, ...]:
        """Mood and feelings, where they are not what the visible turns told last."""
        told: dict[str, str] = {}
        for past in self._visible(earlier):
            told.update(past.told)
        around = {turn.player, *turn.present}
        now = prompt.inner_facts(turn.inner, around)
        turn.told = {subject: sentence for subject, sentence in now.items() if told.get(subject) != sentence}
        return tuple(turn.told.values())

    def _take_back(self, turn: Turn) -> None:
        with self._saving:
            if turn in self._unsaved:
                self._unsaved.remove(turn)
                return
        self._first = min(self._first, turn.place)
        self.mind.undo(turn.number)
        last = self.mind.last_summary()
        self._folded = last.turn if last is not None else 0
        self.mind.put("folded", self._folded)

    def _numbered(self, experiences: Iterable[Any], number: int) -> list[Any]:
        return [(replace(one, turn=number), vector) for one, vector in experiences]

    # what NPC has
    save_error: SaveError | None
    player: str
    _saving: Any

    _next: int

    @property
    def speaking(self) -> bool:
        raise NotImplementedError

    @property
    def turn_count(self) -> int:
        raise NotImplementedError

    def interrupt(self) -> None:
        raise NotImplementedError

    def say(self, text: str, facts: Iterable[str] = (), *, state: Mapping[str, Any] | None = None, **o: Any) -> Stream:
        raise NotImplementedError
