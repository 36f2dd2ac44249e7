"""What an engine was asked, on its way: a reply whose text arrives in pieces, or an answer that arrives whole.

Made by an engine, fed inside its `tick()`; everything here is called on the thread that ticks, and
nothing here waits, except `result()`, which is for scripts.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from modkit.errors import EngineError, ModkitError, StreamTimeout

if TYPE_CHECKING:
    from modkit.engine.protocol import AnyEngine

__all__ = ["Answer", "Pending", "Stats", "Stream"]

T = TypeVar("T")


@dataclass
class Stats:
    """Counts in tokens, times in seconds. Zero until known; final once the stream is done."""

    prompt_tokens: int = 0
    """tokens of the whole prompt"""
    cached_tokens: int = 0
    """of them already in the KV cache, so not computed again"""
    generated_tokens: int = 0
    time_to_first_token: float = 0.0
    """from submit to the first sampled token"""
    tokens_per_second: float = 0.0
    """of generation, first token excluded"""


class _Arrival:
    """What a coroutine yields while it waits for a stream; the host asks ready() each frame."""

    __slots__ = ("_ready",)

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready

    def ready(self) -> bool:
        return self._ready()


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
            yield _Arrival(lambda: self.finish is not None)
        if self.error is not None:
            raise self.error
        return self._value()

    def _value(self) -> T:
        raise NotImplementedError

    # ---- for engines: called inside tick() ----

    def _started(self, prompt_tokens: int, cached_tokens: int) -> None:
        self.stats.prompt_tokens = prompt_tokens
        self.stats.cached_tokens = cached_tokens

    def _feed(self, text: str, token: int = -1) -> None:
        """A piece of text; what has none ignores it."""

    def _end(self, finish: str, error: ModkitError | None = None, *, keep_tokens: bool = True) -> None:
        if self.finish is not None:
            return
        if self._cancelled and finish != "error":
            finish = "cancelled"  # it may have ended by itself before the cancel reached the worker
        self.error = error
        self.finish = finish
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


class Stream(Pending[str]):
    """One reply. Poll it (`take`, `done`), or await it in a host's coroutine, or `result()` it in a script.

    Attributes: id, finish (None while running, then "stop", "length", "cancelled" or "error"),
    error (set when finish is "error"), stats, tokens (the generated token ids; empty when a stop string
    cut the reply, because tokens and text then differ).
    """

    def __init__(self, engine: AnyEngine, stream_id: int) -> None:
        super().__init__(engine, stream_id)
        self._parts: list[str] = []
        self._taken = 0
        self._tokens: list[int] = []

    @property
    def text(self) -> str:
        """Everything that has arrived."""
        return "".join(self._parts)

    @property
    def tokens(self) -> tuple[int, ...]:
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
                await _Wait(lambda: self.finish is not None or self._taken < len(self._parts))
        if self.error is not None:
            raise self.error

    # ---- for engines: called inside tick() ----

    def _feed(self, text: str, token: int = -1) -> None:
        if self._cancelled or self.finish is not None:
            return
        if token >= 0:
            self._tokens.append(token)
            self.stats.generated_tokens += 1
        if text:
            self._parts.append(text)

    def _end(self, finish: str, error: ModkitError | None = None, *, keep_tokens: bool = True) -> None:
        if self.finish is None and not keep_tokens:
            self._tokens.clear()
        super()._end(finish, error)

    def _value(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Stream {self.id} {self.finish or 'running'} {len(self.text)} characters>"


class _Wait:
    """An awaitable around one condition."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready

    def __await__(self) -> Generator[Any, None, None]:
        yield _Arrival(self._ready)
