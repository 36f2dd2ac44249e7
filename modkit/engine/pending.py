"""What an engine was asked, on its way: what every request has, and an answer that arrives whole.

Made by an engine, fed inside its `tick()`; everything here is called on the thread that ticks, and
nothing here waits, except `result()`, which is for scripts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from modkit.errors import EngineError, ModkitError, StreamTimeout

if TYPE_CHECKING:
    from modkit.engine.protocol import AnyEngine

__all__ = ["Answer", "Arrival", "Choice", "Pending", "Stats"]

T = TypeVar("T")


@dataclass
class Stats:
    """Counts in tokens, times in seconds. Zero until known; final once the stream is done."""

    prompt_tokens: int = 0
    """tokens of the whole prompt"""
    cached_tokens: int = 0
    """of them already in the KV cache, so not computed again"""
    generated_tokens: int = 0
    thought_tokens: int = 0
    """of them, what a thinking model said to itself"""
    time_to_first_token: float = 0.0
    """from submit to the first sampled token"""
    tokens_per_second: float = 0.0
    """of generation, first token excluded"""
    dropped_turns: int = 0
    """turns (what the player said, and the reply to it) that left the context, from the oldest on, to make room"""
    dropped_tokens: int = 0


class LiveStats(Stats):
    """A stream's: until it is set, `generated_tokens` is how many tokens the stream has. A token that arrives costs the
    frame no way to this object: with sixteen speakers in one tick, a tenth of the tick."""

    def __init__(self, tokens: Sequence[int]) -> None:
        super().__init__()
        self._tokens = tokens
        self._final: int | None = None

    @property
    def generated_tokens(self) -> int:
        return len(self._tokens) if self._final is None else self._final

    @generated_tokens.setter
    def generated_tokens(self, value: int) -> None:
        self._final = value


class Arrival:
    """What a coroutine yields while it waits for a stream; the host asks ready() each frame."""

    __slots__ = ("ready",)

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.ready = ready

    def __await__(self) -> Generator[Arrival, None, None]:
        yield self


class Pending(Generic[T]):
    """Something that an engine was asked. Poll `done`, or await it in a host's coroutine, or `result()` it in a script.

    Attributes: id, finish (None while running, then "stop", "length", "cancelled" or "error"), error (set when
    finish is "error"), stats.
    """

    def __init__(self, engine: AnyEngine, stream_id: int) -> None:
        self.id = stream_id
        self.finish: str | None = None
        self.error: ModkitError | None = None
        self.stats = Stats()
        self._engine = engine
        self._callbacks: list[Callable[[Any], None]] = []
        self._drop_callbacks: list[Callable[[int, int], None]] = []
        self._cancelled = False

    @property
    def tokens(self) -> tuple[int, ...]:
        """The generated token ids, where there are any."""
        return ()

    @property
    def done(self) -> bool:
        """True once it has ended, in whatever way."""
        return self.finish is not None

    def cancel(self) -> None:
        """Stops it: nothing arrives after this; it is done within a few ticks, finish "cancelled"."""
        if self.finish is None and not self._cancelled:
            self._cancelled = True
            self._engine._cancel(self)

    def on_done(self, function: Callable[[Any], None]) -> None:
        """Calls function(self) once, inside the tick that ends it (at once if it is over)."""
        if self.finish is not None:
            function(self)
        else:
            self._callbacks.append(function)

    def on_dropped(self, function: Callable[[int, int], None]) -> None:
        """Calls function(turns, tokens), inside a tick, each time the context was full and the oldest turns left it."""
        self._drop_callbacks.append(function)

    def result(self, timeout: float | None = None) -> T:
        """For scripts: ticks the engine until it is over and returns what was asked for.

        timeout in seconds (None: no limit). Raises StreamTimeout (it goes on), or its error.
        Blocks: never call it inside a game's frame.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.finish is None:
            self._engine.tick()
            if self.finish is None:
                if deadline is not None and time.monotonic() >= deadline:
                    raise StreamTimeout(f"the reply was not finished after {timeout:g} s; it goes on")
                time.sleep(0.001)
        if self.error is not None:
            raise self.error
        return self._value()

    def __await__(self) -> Generator[Any, None, T]:
        """In a host's coroutine: resumes when it is over; its value is what was asked for."""
        if self.finish is None:
            yield Arrival(lambda: self.finish is not None)
        if self.error is not None:
            raise self.error
        return self._value()

    def _value(self) -> T:
        raise NotImplementedError

    # ---- for engines: called inside tick() ----

    def _started(self, prompt_tokens: int, cached_tokens: int) -> None:
        self.stats.prompt_tokens = prompt_tokens
        self.stats.cached_tokens = cached_tokens

    def _dropped(self, turns: int, tokens: int) -> None:
        self.stats.dropped_turns += turns
        self.stats.dropped_tokens += tokens
        for function in list(self._drop_callbacks):
            function(turns, tokens)

    def _told(self, records: list[list[Any]]) -> None:
        """Log-probabilities: of the token chosen, then of the likeliest."""

    def _thought(self, text: str) -> None:
        """A piece of a thought; what has no words ignores it."""

    def _feed(self, text: str, token: int = -1) -> None:
        """A piece of text; what has none ignores it."""

    def _end(self, finish: str, error: ModkitError | None = None, *, keep_tokens: bool = True) -> None:
        if self.finish is not None:
            return
        if self._cancelled and finish != "error":
            finish = "cancelled"  # it may have ended by itself before the cancel reached the worker
        self.error = error
        self.finish = finish
        if self._callbacks:
            callbacks, self._callbacks = self._callbacks, []
            for function in callbacks:
                function(self)


class Answer(Pending[T]):
    """What arrives whole: vectors, scores, probabilities. A cancelled one raises EngineError from result()."""

    def __init__(self, engine: AnyEngine, stream_id: int, value: Callable[[], T] | None = None) -> None:
        super().__init__(engine, stream_id)
        self._make = value
        self._made: T | None = None

    def _value(self) -> T:
        if self.finish != "stop" or self._make is None:
            raise EngineError("it was cancelled, so there is no result")
        if self._made is None:
            self._made = self._make()
        return self._made

    def __repr__(self) -> str:
        return f"<Answer {self.id} {self.finish or 'running'}>"


class Choice(Answer[dict[str, float]]):
    """An `ask()` on its way: how likely the model finds each choice."""

    choices: Sequence[str] = ()

    def weighed_by(self, logarithms: Callable[[], list[float]]) -> None:
        """For engines: where the log-probabilities come from, once it is done."""

        def shares() -> dict[str, float]:
            found = logarithms()
            most = max(found)
            weights = [math.exp(value - most) for value in found]
            return {choice: weight / math.fsum(weights) for choice, weight in zip(self.choices, weights)}

        self._make = shares
