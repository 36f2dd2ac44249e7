"""`NPC`: a persona that speaks through an engine, remembers what was said, and keeps it in a save.

Owned by the game's thread, which calls every method here. What is slow (looking up memories, building
the prompt, committing a turn) is handed to the engine's helper thread, which runs such work one after
another; so each turn's content is there before the next turn's prompt is built from it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from modkit.engine.marks import Call
from modkit.errors import ContextOverflow, EngineError, ModkitError, OptionError, SaveError
from modkit.persona import prompt
from modkit.persona.actions import Actions
from modkit.persona.choices import PlayerChoices, ask_choices
from modkit.persona.gates import state_of
from modkit.persona.guard import Guard, WatchedStream
from modkit.persona.lines import whole
from modkit.persona.living import Living
from modkit.persona.memory import STOP_WORDS, Memory, tokens
from modkit.persona.persona import Persona
from modkit.persona.recall import Retrieval
from modkit.persona.save import Save
from modkit.persona.turn import Turn, complete, marked, restored, to_save
from modkit.persona.vectors import Embedder

if TYPE_CHECKING:
    from modkit.engine.protocol import AnyEngine, Message
    from modkit.engine.stream import Stream

__all__ = ["NPC", "Turn"]

_log = logging.getLogger("modkit.persona")

DEFAULTS: dict[str, Any] = {"max_tokens": 120, "temperature": 0.7}
_PER_MESSAGE = 8  # tokens a chat template puts around a message
_BYTES_PER_TOKEN = 3.0  # of text, until this model's own figure is known
_KEPT = 256  # turns that have left the prompt and stay in memory: for summaries, undo() and who looks back
_SILENCE = "..."  # the reply of a turn that was interrupted before its first word


class NPC(Living):
    """A speaking character.

    `persona` is a `Persona` or the path of one. `engine` is any engine. `save` is a `Save`, the path of one, or
    None; with a save the NPC goes on where the save ends. `player` is the player's name in the prompt (default
    "Player"), `memories` how many come to mind at a turn (default 3, 0 for none). `id` is the key in the save
    (default: the persona's name). `embedder` is the one the persona was built with; it finds memories by meaning
    too, is asked on the helper thread, and is the caller's to close. Without it they are found by words.

    `state` is a dict that the mod keeps up to date with the game's state: lines and lore behind a gate come to
    mind only while `state` opens it. `last_retrieval` says how the last memories were found.

    `moods` and `gestures` are the names that `<mood:...>` and `<gesture:...>` in a reply may have; they come as events
    of the stream. `actions` is what she can do in the game.
    What is said becomes memory too (`npc.mind`): at most `recollections` of it come to mind at a turn. `summaries` says
    whether old turns are summed up after a reply: True, False, or "auto" (when the model is large enough to). `guard`
    is looked at before a sentence is shown (see `Guard`); None lets every reply through as it comes.

    Making one reads the persona and the save from the disk (about a millisecond); do it while loading.
    Raises PersonaError, SaveError. Everything here belongs to the thread that ticks the engine, and returns at once
    but close().
    """

    def __init__(
        self,
        persona: Persona | str | Path,
        engine: AnyEngine,
        save: Save | str | Path | None = None,
        player: str = "Player",
        memories: int = 3,
        *,
        id: str | None = None,
        embedder: Embedder | None = None,
        state: dict[str, Any] | None = None,
        moods: Collection[str] = (),
        gestures: Collection[str] = (),
        recollections: int = 2,
        summaries: bool | str = "auto",
        guard: Guard | None = None,
    ) -> None:
        self._owns_persona = not isinstance(persona, Persona)
        self.persona = persona if isinstance(persona, Persona) else Persona.open(persona)
        self._owns_save = save is not None and not isinstance(save, Save)
        try:
            self.save = save if save is None or isinstance(save, Save) else Save.open(save)
            self.id = id or self.persona.name
            self._turns = self._restore()
            self._awaken(embedder, recollections, summaries)
        except SaveError:
            if self._owns_persona:
                self.persona.close()
            raise
        self.engine = engine
        self.player = prompt.one_line(player, 40).replace(":", "") or "Player"
        self.memories = memories
        self.embedder = embedder
        self.guard = guard
        self.state: dict[str, Any] = {} if state is None else state
        self.last_retrieval: Retrieval | None = None
        self._said_why = ""
        self.moods, self.gestures = frozenset(moods), frozenset(gestures)
        self.actions = Actions(self)
        for turn in self._turns[-1:]:
            self.actions._put_back(deed.fact for deed in turn.deeds if deed.fact)
        self.save_error: SaveError | None = None
        self._bytes_per_token = _BYTES_PER_TOKEN
        for turn in self._turns[-1:]:
            self._learn(turn)
        # The place of the first turn that is still in the prompt; the helper thread's after the first say.
        self._first = self._next
        self._speaking: tuple[Stream, Turn] | None = None
        self._unsaved: list[Turn] = []
        self._saving = threading.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        """The character's name."""
        return self.persona.name

    @property
    def transcript(self) -> tuple[Turn, ...]:
        """The turns in memory, oldest first: those still in the prompt, and the last few hundred before them. The last
        one may still be spoken. Older ones are in the save: `npc.save.turns(npc.id)`, off the frame."""
        return tuple(self._turns)

    @property
    def turn_count(self) -> int:
        """How many turns were ever said to her, those included that are in the save alone."""
        return self._turns[-1].place + 1 if self._turns else self._next

    @property
    def last_memories(self) -> tuple[Memory, ...]:
        """What came to her mind at the last `say`, best first; empty until the prompt was built, off the frame."""
        return self._turns[-1].memories if self._turns else ()

    @property
    def speaking(self) -> bool:
        """Whether a reply is still coming."""
        return self._speaking is not None and not self._speaking[0].done

    def say(
        self,
        text: str,
        facts: Iterable[str] = (),
        *,
        state: Mapping[str, Any] | None = None,
        actions: Iterable[str] | None = None,
        speaker: str | None = None,
        present: Iterable[str] = (),
        memories: Sequence[Memory] | None = None,
        **options: Any,
    ) -> Stream:
        """Say `text` to her; returns a Stream of her reply at once.

        `facts` are what she notices at this moment, one sentence each. `state` is the game's for this turn alone,
        beside `npc.state`. `speaker` is who speaks (default: the player), `present` who else is there. `actions` are
        the names of those of her actions that she may take in this turn (None: all that are possible now; (): none).
        `memories` are what comes to her mind, best first, in place of a lookup (see `Judge.recall`). `options` are
        those of `Engine.chat`; the defaults are max_tokens=120, temperature=0.7 and a stop where the model would speak
        for the player.
        When she still speaks she is interrupted, and what she has said so far stands as her reply. Raises
        OptionError, and what the engine raises when it cannot take a request.
        """
        if self._closed:
            raise EngineError(f"the NPC {self.name} was closed: make a new one")
        if not isinstance(text, str):
            raise OptionError(f"say() takes the player's words as a str, not {type(text).__name__}")
        if isinstance(facts, str):
            raise OptionError("facts are a list of sentences: write say(text, facts=[...])")
        self.interrupt()
        self._stop_reflecting()
        offer = self.actions.offered(actions)
        noticed = self.actions._noticed()
        who = self.player if speaker is None else prompt.one_line(speaker, 40).replace(":", "") or self.player
        others = tuple(prompt.one_line(name, 40).replace(":", "") for name in present)
        heard = self._notices()
        text, told = whole(text), [whole(str(fact)) for fact in facts]
        turn = Turn(who, text, (*told, *heard, *noticed), present=others, time=self.time)
        turn.offer, turn.noticed, turn.heard, turn.inner = offer, len(noticed), heard, self._self()
        turn.tools = self.actions._tools() if offer.tools else []
        turn.chosen = None if memories is None else tuple(memories)
        names = self.persona.gate_names
        turn.state = state_of(self.state, names) | (state_of(state, names) if state else {})
        turn.place = self.turn_count
        earlier = list(self._turns)
        if offer:
            options.setdefault("grammar", offer)
        stops = tuple(f"\n{name}:" for name in dict.fromkeys((self.player, who, *others)) if name)
        options = {**DEFAULTS, "stop": stops[:8], **options}
        room = int(options["max_tokens"] or 0)
        try:
            stream = self._ask(turn, earlier, room, options)
        except ModkitError:
            self.actions._put_back(noticed)
            self._overheard[:0] = heard
            raise
        stream.expect(self.moods, self.gestures, calls=True, tools=offer.tools)
        stream._listen(lambda event: self._happened(event, turn))
        self._turns.append(turn)
        self._speaking = (stream, turn)
        stream.on_done(lambda done: self._finished(done, turn))
        return stream

    def _ask(self, turn: Turn, earlier: list[Turn], room: int, options: dict[str, Any]) -> Stream:
        if self.guard is None:
            return self.engine.chat(lambda: self._messages(turn, earlier, room), **options)
        made: list[Message] = []  # the prompt of all attempts

        def messages() -> list[Message]:
            made[:] = made or self._messages(turn, earlier, room)
            return made

        def ask(**changed: Any) -> Stream:
            return self.engine.chat(messages, **{**options, **changed})

        names = dict.fromkeys((self.player, turn.player, *turn.present))
        return WatchedStream(self.engine, ask, self.guard, names, options.get("seed"))

    def choices(self, n: int = 3, hint: str = "", **options: Any) -> PlayerChoices:
        """Short replies that the player could say next: at most `n` (1 to 8), different ones, for a dialogue wheel.

        Returns at once; `result()`, `await` or `on_done` give the list when it is there. `hint` is a sentence of your
        game's ("The player is angry."). `options` as in `say`. Nothing is said, and nothing is kept. Raises
        OptionError, and what the engine raises when it cannot take a request.
        """
        return ask_choices(self, n, hint, options)

    def interrupt(self) -> None:
        """Stop her where she is; what was said so far is kept as her reply. Nothing happens when she is silent.

        Returns at once; the stream is done within a few ticks.
        """
        if self._speaking is None:
            return
        stream, turn = self._speaking
        stream.cancel()
        if turn.finish is None:  # decided now: words that are still on their way were never heard
            turn.reply, turn.finish, turn.raw = stream.text, "cancelled", marked(stream)
            self._keep(turn)
        self._speaking = None

    def close(self) -> None:
        """Interrupt her, commit what is not yet in the save, close what was opened here. May be called twice.

        Waits for the disk. A commit that fails is in `save_error`. The engine stays the game's.
        """
        if self._closed:
            return
        self.interrupt()
        self._stop_reflecting()
        self._closed = True
        self._commit()
        if self._owns_save and self.save:
            self.save.close()
        if self._owns_persona:
            try:
                self.engine.background(self.persona.close)  # the helper thread may still be asking
            except ModkitError:
                self.persona.close()

    def __enter__(self) -> NPC:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # On the game's thread, inside engine.tick().

    def _finished(self, stream: Stream, turn: Turn) -> None:
        if self._speaking is not None and self._speaking[1] is turn:
            self._speaking = None
        self._first = max(self._first, turn.first + stream.stats.dropped_turns)
        if turn.finish is not None:  # interrupted, and kept then
            return
        if stream.finish == "error" and not stream.text and not turn.deeds:
            self._turns.remove(turn)  # nothing was said; the player can say it again
            self.actions._put_back(turn.facts[-turn.noticed :] if turn.noticed else ())
            self._overheard[:0] = turn.heard
            if isinstance(stream.error, ContextOverflow):
                self._first = max(self._first, (self._first + turn.place + 1) // 2)
            return
        turn.reply, turn.finish, turn.raw = stream.text, stream.finish, marked(stream)
        turn.model = str(getattr(self.engine, "name", ""))
        turn.tokens, turn.prompt_tokens = tuple(stream.tokens), stream.stats.prompt_tokens
        turn.cost = turn.prompt_tokens + stream.stats.generated_tokens
        self._learn(turn)
        self._keep(turn)
        self._reflect_by_itself()
        self._let_go()

    def _happened(self, event: object, turn: Turn) -> None:
        if isinstance(event, Call) and turn.finish is None and turn.offer is not None:
            self.actions._called(event, turn.offer, turn.deeds)

    def _keep(self, turn: Turn) -> None:
        self._unsaved.append(turn)  # without the lock: a commit under way holds it as long as the disk takes
        try:
            self.engine.background(self._commit)
        except ModkitError:  # the engine is gone; close() commits
            _log.debug("%s: the turn is committed when the NPC is closed", self.name)

    def _restore(self) -> list[Turn]:
        """The last turns of the save. `_next` is the place of the first of them, or of what is said first."""
        kept = self.save.turns(self.id, _KEPT) if self.save else []
        self._next = self.save.turn_count(self.id) - len(kept) if self.save else 0
        return [restored(turn, self.persona.name, self._next + n) for n, turn in enumerate(kept)]

    def _let_go(self) -> None:
        """Leave what left the prompt long ago to the save: a character of a persistent world is spoken to for years."""
        old = self._first - self._turns[0].place - _KEPT if self._turns else 0
        if old >= _KEPT // 4:
            del self._turns[:old]

    # On the helper thread.

    def _messages(self, turn: Turn, earlier: list[Turn], room: int) -> list[Message]:
        """The prompt of `turn` after `earlier`. Runs off the frame; turns before it have their content by now."""
        if turn.chosen is not None:
            turn.memories = turn.chosen
        elif self.memories > 0 or self.recollections > 0:
            question = turn.words
            telling = [word for word in tokens(question) if word not in STOP_WORDS]
            if len(telling) < 1 and earlier:
                question = f"{earlier[-1].words} {question}"  # "And why?" asks about what was just spoken of
            turn.memories = self._remember_for(question, turn, earlier) if question.strip() else ()
        turn.facts = (*self._inner_facts(turn, earlier), *turn.facts)
        complete(turn, self.name)
        self._make_room(prompt.system_message(self.persona.card, self.language)["content"], earlier, turn, room)
        messages = self._so_far(earlier)
        if turn.tools:
            messages[0]["tools"] = turn.tools
        messages.append(prompt.user_message(turn.content or ""))
        turn.first = self._first
        turn.prompt_bytes = sum(len(message["content"].encode("utf-8", "replace")) for message in messages)
        return messages

    def _so_far(self, earlier: list[Turn]) -> list[Message]:
        """The card and the turns that are still in the prompt."""
        messages = [prompt.system_message(self.persona.card, self.language)]
        for past in self._visible(earlier):
            complete(past, self.name)
            messages.append(prompt.user_message(past.content or ""))
            own = past.tokens if past.finish in ("stop", "length") else ()
            messages.append(prompt.assistant_message(past.raw or past.reply or _SILENCE, own))
        return messages

    def _remember_for(self, question: str, turn: Turn, earlier: list[Turn]) -> tuple[Memory, ...]:
        if self.memories < 1:
            return self._with_experiences(question, turn, earlier, (), None)
        found = self.persona.search(question, self.memories, embedder=self.embedder, state=turn.state)
        self.last_retrieval = found
        if found.reason and found.reason != self._said_why:
            self._said_why = found.reason
            _log.info("%s: memories are found by words alone: %s", self.name, found.reason)
        return self._with_experiences(question, turn, earlier, tuple(found.memories), found.vector)

    def _make_room(self, card: str, earlier: list[Turn], turn: Turn, room: int) -> None:
        """Let the oldest turns go when the prompt would not fit; half of it at once, so that this is rare."""
        context = int(getattr(self.engine, "context", 0) or 0)
        if context <= 0 or getattr(self.engine, "drops_turns", False):  # such an engine counts exactly
            return
        new = self._estimate(turn.content or "") + room
        fixed = self._estimate(card) + new
        visible = self._visible(earlier)
        total = guess = fixed + sum(map(self._estimate_turn, visible))
        last = earlier[-1] if earlier else None
        if last is not None and last.cost and last.first == self._first:
            total = last.cost + _PER_MESSAGE + new  # counted by the engine, for just these turns
        if total <= context:
            return
        for past in visible:
            if guess <= max(context // 2, fixed):
                break
            guess -= self._estimate_turn(past)
            self._first = past.place + 1

    def _estimate_turn(self, turn: Turn) -> int:
        return self._estimate(turn.content or turn.words) + self._estimate(turn.reply)

    def _estimate(self, text: str) -> int:
        return int(len(text.encode("utf-8", "replace")) / self._bytes_per_token) + _PER_MESSAGE

    def _learn(self, turn: Turn) -> None:
        """Take this model's bytes per token from a measured prompt; a little less, to be on the safe side."""
        if turn.prompt_tokens >= 32 and turn.prompt_bytes:
            self._bytes_per_token = min(6.0, max(0.5, 0.95 * turn.prompt_bytes / turn.prompt_tokens))

    def _commit(self) -> None:
        """Write what is not yet in the save. A turn that cannot be written is tried again with the next."""
        with self._saving:
            turns = self._unsaved[:]
            if not turns:
                return
            self.mind.save = self._store()
            lived = [self.mind.rows(self._experiences(turn)) for turn in turns]

            def also(connection: Any, numbers: list[int]) -> None:
                for number, rows in zip(numbers, lived, strict=True):
                    self.mind.insert(connection, self._numbered(rows, number))
                self.mind.put_in(connection, "self", turns[-1].inner)

            try:
                numbers = self._store().add_turns(self.id, [to_save(turn, self.name) for turn in turns], also)
            except SaveError as error:
                self.save_error = error
                _log.error("%s: %s", self.name, error)
                return
            for turn, number in zip(turns, numbers, strict=True):
                turn.number = number
            self.save_error = None
            del self._unsaved[: len(turns)]
