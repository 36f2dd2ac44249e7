"""`Stream`: a reply whose text arrives in pieces, with the marks, sentences and thoughts in it.

Made by an engine, fed inside its `tick()`; everything here is called on the thread that ticks.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from modkit.engine.marks import Call, MarkReader, Sentence, Tag
from modkit.engine.pending import Arrival, LiveStats, Pending
from modkit.engine.sentences import Sentences
from modkit.errors import ModkitError

if TYPE_CHECKING:
    from modkit.engine.protocol import AnyEngine

__all__ = ["Stream", "TokenLogprob"]

_log = logging.getLogger("modkit.engine")


class TokenLogprob(NamedTuple):
    """A token as the model saw it, before any sampler: its id, the logarithm of its probability, its text (bytes that
    are no whole character as "?"), and, for the token that was chosen, the likeliest ones instead of it."""

    token: int
    logprob: float
    text: str
    top: tuple[TokenLogprob, ...] = ()


class Stream(Pending[str]):
    """One reply. Poll it (`take`, `done`), or await it in a host's coroutine, or `result()` it in a script.

    Attributes: id, finish (None while running, then "stop", "length", "cancelled" or "error"),
    error (set when finish is "error"), stats, tokens (the generated token ids; empty when a stop string
    cut the reply, because tokens and text then differ). It belongs to the thread that ticks the engine.

    With `expect()` marks such as `<mood:wary>` are read out of the words: `text` and `take()` then never show one,
    and they come as events, in order, inside `tick()`.
    """

    def __init__(self, engine: AnyEngine, stream_id: int) -> None:
        super().__init__(engine, stream_id)
        self._parts: list[str] = []
        self._taken = 0
        self._tokens: list[int] = []
        self.stats = LiveStats(self._tokens)
        self._logprobs: list[TokenLogprob] = []
        self._thoughts: list[str] = []
        self._thoughts_taken = 0
        self._raw: list[str] = self._parts
        self._reader: MarkReader | None = None
        self._sentences: Sentences | None = None
        self._events: list[Tag | Call | Sentence] = []
        self._listeners: list[Callable[[Tag | Call | Sentence], None]] = []
        self._said = 0  # characters of sentences that have come as events

    @property
    def text(self) -> str:
        """Everything that has arrived, without marks."""
        return "".join(self._parts)

    @property
    def raw(self) -> str:
        """Everything that the model wrote, marks included."""
        return "".join(self._raw)

    @property
    def thoughts(self) -> str:
        """What a thinking model has said to itself so far: no part of the text, and of no later turn."""
        return "".join(self._thoughts)

    def take_thoughts(self) -> str:
        """The thoughts since the last call, as take() gives the text."""
        new = "".join(self._thoughts[self._thoughts_taken :])
        self._thoughts_taken = len(self._thoughts)
        return new

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]:
        """One for each token, when `logprobs=` asked for them."""
        return tuple(self._logprobs)

    @property
    def events(self) -> tuple[Tag | Call | Sentence, ...]:
        """What has happened beside words so far, in order."""
        return tuple(self._events)

    def expect(
        self,
        moods: Collection[str] = (),
        gestures: Collection[str] = (),
        *,
        calls: bool = False,
        tools: bool = False,
    ) -> Stream:
        """Read marks out of the words: moods and gestures from these sets, `<do:...>` with `calls`,
        `<tool_call>` with `tools`. To be asked before the first tick; returns the stream.

        A mood or gesture that is in no set is dropped: a model that was taught some shows none of them by accident."""
        reads = moods or gestures or calls or tools
        tags = {"mood": moods, "gesture": gestures}
        self._reader = MarkReader(tags, calls=calls, tools=tools) if reads else None
        self._raw = [] if self._reader else self._parts
        return self

    def on_mood(self, function: Callable[[str], None]) -> None:
        """Calls function(name) for each mood of the reply, inside the tick that brings it."""
        self._listen(lambda event: function(event.name) if isinstance(event, Tag) and event.kind == "mood" else None)

    def on_gesture(self, function: Callable[[str], None]) -> None:
        """Calls function(name) for each gesture, as on_mood() does."""
        self._listen(lambda event: function(event.name) if isinstance(event, Tag) and event.kind == "gesture" else None)

    def on_sentence(self, function: Callable[[str], None]) -> None:
        """Calls function(sentence) inside the tick that makes a sentence whole: for subtitles by the line, and for
        voices."""
        self._split_sentences()
        self._listen(lambda event: function(event.text) if isinstance(event, Sentence) else None)

    async def sentences(self) -> AsyncIterator[str]:
        """In a host's coroutine: the sentences, each as soon as it is whole. Raises the stream's error at the end."""
        self._split_sentences()
        at = 0
        while True:
            while at < len(self._events):
                event = self._events[at]
                at += 1
                if isinstance(event, Sentence):
                    yield event.text
            if self.finish is not None:
                break
            known = at
            await Arrival(lambda known=known: self.finish is not None or len(self._events) > known)  # type: ignore[misc]
        if self.error is not None:
            raise self.error

    def _listen(self, function: Callable[[Tag | Call | Sentence], None]) -> None:
        """Calls function(event) for what has happened already, and for what happens."""
        for event in self._events:
            function(event)
        self._listeners.append(function)

    def _split_sentences(self) -> None:
        if self._sentences is None:
            self._sentences = Sentences()
            self._say(self._sentences.feed(self.text))
            if self.finish is not None:
                self._say(self._sentences.end())

    def _say(self, sentences: list[str]) -> None:
        for text in sentences:
            self._happen(Sentence(text, self._said))
            self._said += len(text)

    def _happen(self, event: Tag | Call | Sentence) -> None:
        self._events.append(event)
        for function in list(self._listeners):
            try:
                function(event)
            except Exception:  # a mistake in a game's function must not lose the rest of the tick
                _log.exception("a function that listens to stream %s failed", self.id)

    @property
    def tokens(self) -> tuple[int, ...]:
        """The generated token ids so far; empty when a stop string cut the reply."""
        return tuple(self._tokens)

    def take(self) -> str:
        """The text since the last take, whole characters only; "" when nothing is new."""
        if self._taken == len(self._parts):
            return ""
        new = "".join(self._parts[self._taken :])
        self._taken = len(self._parts)
        return new

    async def __aiter__(self) -> AsyncIterator[str]:
        """In a host's coroutine: the text in pieces, as they arrive, frame by frame."""
        while True:
            piece = self.take()
            if piece:
                yield piece
            elif self.finish is not None:
                break
            else:
                await Arrival(lambda: self.finish is not None or self._taken < len(self._parts))
        if self.error is not None:
            raise self.error

    # ---- for engines: called inside tick() ----

    def _thought(self, text: str) -> None:
        if not self._cancelled:
            self.stats.thought_tokens += 1
            if text:
                self._thoughts.append(text)

    def _told(self, records: list[list[Any]]) -> None:
        if not self._cancelled:
            chosen, *likeliest = (TokenLogprob(*record) for record in records)
            self._logprobs.append(chosen._replace(top=tuple(likeliest)))

    def _feed(self, text: str, token: int = -1) -> None:
        if self._cancelled or self.finish is not None:
            return
        if token >= 0:
            self._tokens.append(token)
        if text:
            if self._reader is not None:
                self._raw.append(text)
                self._show(*self._reader.feed(text))
            elif self._sentences is not None:
                self._show(text, ())
            else:
                self._parts.append(text)

    def _show(self, text: str, marks: Iterable[Tag | Call]) -> None:
        if text:
            self._parts.append(text)
            if self._sentences is not None:
                self._say(self._sentences.feed(text))
        for mark in marks:
            self._happen(mark)

    def _end(self, finish: str, error: ModkitError | None = None, *, keep_tokens: bool = True) -> None:
        if self.finish is None:
            if not keep_tokens:
                self._tokens.clear()
            if not self._cancelled:
                if self._reader is not None:
                    self._show(*self._reader.end())
                if self._sentences is not None:
                    self._say(self._sentences.end())
            super()._end(finish, error)

    def _value(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Stream {self.id} {self.finish or 'running'} {len(self.text)} characters>"
