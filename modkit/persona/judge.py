"""A model as a judge: yes or no, a score, is this to the point, is this said there. Probabilities, not words.

    judge = Judge(engine)
    recalled = await judge.recall(npc.persona, words)       # looked up, and each line weighed
    reply = npc.say(words, memories=recalled.memories)
    supported = await judge.supported(reply.text, recalled.memories)

Policies over the memory are small functions on top, as corrective and self-reflective retrieval have them: is it
needed, is it to the point, is it supported. Each answer is an `Answer`: poll it, await it, or `result()` it in a
script. Belongs to the thread that ticks. How much a policy helps depends on the model: `modkit persona eval --model`
measures it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from modkit.engine.pending import Answer
from modkit.errors import OptionError
from modkit.persona.prompt import one_line

if TYPE_CHECKING:
    from modkit.engine.pending import Pending
    from modkit.engine.protocol import AnyEngine, Message
    from modkit.persona.memory import Memory
    from modkit.persona.persona import Persona

__all__ = ["Judge", "Recalled"]

T = TypeVar("T")
_SYSTEM = "You judge what is put before you. Answer with one word."
_RELEVANT = "Question: {words}\nNote: {text}\nDoes the note help to answer the question?"
_SUPPORTED = "Notes: {text}\nReply: {words}\nIs everything in the reply said in the notes?"
_NEEDED = "Somebody says: {words}\nMust one know facts about people, places or events to answer?"
_MOST = 16  # lines weighed for one question


@dataclass(frozen=True)
class Recalled:
    """What came to mind, weighed. verdict: "right" (something is surely to the point), "unsure", "nothing" (all of it
    was beside the point, and is left out) or "not needed"."""

    memories: tuple[Memory, ...]
    scores: tuple[float, ...]
    verdict: str


class Judge:
    """Asks `engine` constrained questions.

    yes, no: the two words it answers with. least: from which probability on a line counts as to the point. priority: as
    for generate(). A model leans to one of its words; `lean` (-5 to 5, in logits towards yes) is taken off each answer,
    and `calibrate()` measures it.
    """

    def __init__(
        self, engine: AnyEngine, yes: str = "Yes", no: str = "No", *, least: float = 0.5, priority: str = "near"
    ) -> None:
        if not 0 < least < 1:
            raise OptionError(f"least={least!r}: give a probability between 0 and 1")
        self.engine = engine
        self.least = least
        self.lean = 0.0
        self._words = [yes, no]
        self._options = {"priority": priority}

    def yes(self, question: str) -> Answer[float]:
        """How likely it is yes, 0 to 1."""
        return _then(self._ask(lambda: question), self._share)

    def score(self, question: str, low: int = 1, high: int = 5) -> Answer[float]:
        """What it says on a scale of whole numbers (2 to 10 of them), as their expected value."""
        if not 2 <= high - low + 1 <= 10 or not 0 <= low <= high <= 99:
            raise OptionError(f"a score is on 2 to 10 whole numbers from 0 on, not {low!r} to {high!r}")
        scale = [str(value) for value in range(low, high + 1)]
        messages = _messages(f"{question}\nAnswer with a number from {low} to {high}.")
        answer = self.engine.ask(messages, scale, **self._options)
        return _then(answer, lambda shares: math.fsum(int(value) * share for value, share in shares.items()))

    def relevant(self, words: str, texts: Sequence[str]) -> Answer[list[float]]:
        """For each text how likely it helps to answer `words`."""
        asked = [self._ask(_filled(_RELEVANT, words, text)) for text in list(texts)[:_MOST]]
        return _gathered(self.engine, asked, lambda found: [self._share(shares) for shares in found])

    def supported(self, reply: str, memories: Sequence[Memory]) -> Answer[float]:
        """How likely all of `reply` is said in these memories."""
        notes = " / ".join(one_line(memory.text, 200) for memory in memories) or "(none)"
        return _then(self._ask(_filled(_SUPPORTED, reply, notes, 2000)), self._share)

    def needed(self, words: str) -> Answer[float]:
        """How likely an answer to `words` needs the memory at all."""
        return _then(self._ask(_filled(_NEEDED, words, "")), self._share)

    def calibrate(self) -> Answer[float]:
        """Measure the lean with a question that has no content, and take it off from then on."""

        def lean(shares: dict[str, float]) -> float:
            yes, no = (max(shares[word], 1e-6) for word in self._words)
            self.lean = max(-5.0, min(5.0, math.log(yes / no)))
            return self.lean

        return _then(self._ask(_filled(_RELEVANT, "...", "...")), lean)

    def recall(
        self, persona: Persona, words: str, k: int = 3, *, among: int = 8, check_need: bool = False, **options: Any
    ) -> Answer[Recalled]:
        """Look up `among` (1 to 16) lines and keep the at most `k` that are to the point, best first.

        The lookup runs off the frame. `check_need` asks first whether anything must be known at all, and looks up
        nothing where not. `options` are those of `Persona.ask`. Raises OptionError.
        """
        if not 1 <= k <= among <= _MOST:
            raise OptionError(f"recall() takes 1 to {_MOST} lines, and keeps as many or fewer, not {k!r} of {among!r}")
        answer: Answer[Recalled] = Answer(self.engine, 0)
        if check_need:
            self._chain(
                answer, self.needed(words), lambda need: self._weigh(answer, persona, words, k, among, options, need)
            )
        else:
            self._weigh(answer, persona, words, k, among, options, 1.0)
        return answer

    # ---- inside ----

    def _weigh(
        self,
        answer: Answer[Recalled],
        persona: Persona,
        words: str,
        k: int,
        among: int,
        options: dict[str, Any],
        need: float,
    ) -> None:
        if need < self.least:
            _end(answer, Recalled((), (), "not needed"))
            return
        found: list[Memory] = []

        def first() -> str:  # on the helper thread: the lookup, and the question about what it found first
            found.extend(persona.ask(words, among, **options))
            return _fill(_RELEVANT, words, found[0].text if found else "...")

        def rest(shares: dict[str, float]) -> None:
            others = self.relevant(words, [memory.text for memory in found[1:]])
            self._chain(
                answer, others, lambda scores: _end(answer, self._kept(found, [self._share(shares), *scores], k))
            )

        self._chain(answer, self._ask(first), rest)

    def _kept(self, found: list[Memory], scores: list[float], k: int) -> Recalled:
        ranked = sorted(zip(scores, range(len(found))), key=lambda pair: (-pair[0], pair[1]))
        kept = [(found[place], score) for score, place in ranked if score >= self.least][:k]
        verdict = "nothing" if not kept else "right" if kept[0][1] >= (1 + self.least) / 2 else "unsure"
        return Recalled(tuple(m for m, _ in kept), tuple(s for _, s in kept), verdict)

    def _ask(self, question: Callable[[], str]) -> Answer[dict[str, float]]:
        return self.engine.ask(lambda: _messages(question()), self._words, **self._options)

    def _share(self, shares: dict[str, float]) -> float:
        yes, no = (max(shares[word], 1e-9) for word in self._words)
        return 1 / (1 + math.exp(min(50.0, self.lean - math.log(yes / no))))

    def _chain(self, answer: Answer[Any], step: Pending[Any], then: Callable[[Any], None]) -> None:
        """Goes on with `then` when a step is over; its end is the answer's when it failed or was cancelled."""

        def over(done: Pending[Any]) -> None:
            if done.finish != "stop":
                answer._end(str(done.finish), done.error)
            elif not answer.done:
                then(done._value())

        step.on_done(over)


def _messages(question: str) -> list[Message]:
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": question}]


def _fill(form: str, words: str, text: str, longest: int = 400) -> str:
    return form.format(words=one_line(words, longest), text=one_line(text, longest))


def _filled(form: str, words: str, text: str, longest: int = 400) -> Callable[[], str]:
    return lambda: _fill(form, words, text, longest)


def _end(answer: Answer[T], value: T) -> None:
    answer._make = lambda: value
    answer._end("stop")


def _then(step: Answer[Any], make: Callable[[Any], T]) -> Answer[T]:
    """The answer with its value made into another."""
    return _gathered(step._engine, [step], lambda values: make(values[0]))


def _gathered(engine: AnyEngine, steps: Sequence[Answer[Any]], make: Callable[[list[Any]], T]) -> Answer[T]:
    """One answer out of several, when all are there; the first that fails is its end."""
    answer = _Together(engine, steps, make)
    if not steps:
        _end(answer, make([]))
    for step in steps:
        step.on_done(answer._one_over)
    return answer


class _Together(Answer[T]):
    def __init__(self, engine: AnyEngine, steps: Sequence[Answer[Any]], make: Callable[[list[Any]], T]) -> None:
        super().__init__(engine, steps[0].id if steps else 0)
        self._steps = steps
        self._join = make

    def cancel(self) -> None:
        """Stops all of it."""
        for step in self._steps:
            step.cancel()

    def _one_over(self, step: Pending[Any]) -> None:
        if self.done:
            return
        if step.finish != "stop":
            self._end(str(step.finish), step.error)
        elif all(one.finish == "stop" for one in self._steps):
            _end(self, self._join([one._value() for one in self._steps]))
