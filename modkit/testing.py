"""Public tools for testing mods and games without a model: scripted words, a clock moved by hand, frames by
the dozen.

    from modkit.testing import FakeEngine, load_mod, run_ticks

    host, mod = load_mod("mods/harbour", engine=FakeEngine(["The lamp is lit."]))
    host.emit("player_near", text="Good evening.")
    run_ticks(host, 60)

A `FakeEngine` keeps the protocol of `modkit.Engine`, so an `NPC`, a host and a mod cannot tell it from one.
It has no thread and no clock: its words advance by its own `tick()` alone, so the same test gives the same
words in the same frames, every time. Everything here belongs to the thread that calls it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from modkit.errors import EngineClosed, EngineDied, EngineError, ModkitError, OptionError, StreamTimeout

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from modkit.host import Host, Mod

__all__ = ["FakeEngine", "FakeRequest", "FakeStats", "FakeStream", "ManualClock", "load_mod", "run_ticks"]

Reply = str | ModkitError | tuple[str, ModkitError]
_WORD = re.compile(r"\s*\S+\s*\Z|\s*\S+")


class ManualClock:
    """A clock that stands still until it is moved. Call it for the time in seconds.

    `step` seconds (default 0) pass with each reading, which makes "time spent" visible in a test.
    """

    def __init__(self, start: float = 0.0, *, step: float = 0.0) -> None:
        self.now = start
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock on by `seconds`; a negative number raises `OptionError`."""
        if seconds < 0:
            raise OptionError(
                f"A clock cannot go back: advance({seconds!r}) needs a number of seconds, 0 or more."
            )
        self.now += seconds


@dataclass(frozen=True)
class FakeStats:
    """The same names as the stats of a real stream; a word counts as a token, a tick as a hundredth of a
    second."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    time_to_first_token: float = 0.0
    tokens_per_second: float = 0.0


@dataclass(frozen=True)
class FakeRequest:
    """What the engine was asked: `messages` of a chat (or `prompt` of a generate) and the options as
    given."""

    messages: tuple[dict[str, Any], ...] = ()
    prompt: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The last message's content, or the prompt: what the model would answer to."""
        return str(self.messages[-1].get("content", "")) if self.messages else self.prompt or ""


class _When:
    """The waitable that a coroutine yields to its host."""

    __slots__ = ("ready",)

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.ready = ready


class FakeStream:
    """The face of `modkit.Stream`. Made by `FakeEngine`; only its `tick()` changes it."""

    def __init__(self, engine: FakeEngine, ident: int) -> None:
        self.id = ident
        self.text = ""
        self.finish: str | None = None
        self.error: ModkitError | None = None
        self.tokens: tuple[int, ...] = ()
        self.stats = FakeStats()
        self._engine = engine
        self._taken = 0
        self._cancelled = False
        self._callbacks: list[Callable[[Any], None]] = []
        self._words: list[str] = []
        self._spoken = 0
        self._due = 0.0
        self._ticks = 0
        self._end = "stop"
        self._fault: ModkitError | None = None

    @property
    def done(self) -> bool:
        """True once `finish` is set; no text arrives after that."""
        return self.finish is not None

    def take(self) -> str:
        """The text since the last take."""
        piece = self.text[self._taken :]
        self._taken = len(self.text)
        return piece

    def cancel(self) -> None:
        """Ask for the end; no text arrives any more and the next tick sets `finish` to "cancelled"."""
        self._cancelled = True

    def result(self, timeout: float | None = None) -> str:
        """Tick the engine until the stream is done and return its text; raises `error` when it failed.

        A fake engine has no time, so `timeout` is counted in its ticks, a hundredth of a second each
        (default: 600 s).
        """
        for _ in range(round((600.0 if timeout is None else timeout) * 100)):
            if self.done:
                break
            self._engine.tick()
        if not self.done:
            raise StreamTimeout(f"Stream {self.id} was not done in time; it goes on, or cancel() it.")
        if self.error is not None:
            raise self.error
        return self.text

    def on_done(self, fn: Callable[[Any], None]) -> None:
        """Call `fn(stream)` once, inside the tick that ends the stream; at once when it is done already."""
        if self.done:
            fn(self)
        else:
            self._callbacks.append(fn)

    def __await__(self) -> Generator[Any, None, str]:
        while not self.done:
            yield _When(lambda: self.done)
        if self.error is not None:
            raise self.error
        return self.text

    def __aiter__(self) -> _Pieces:
        return _Pieces(self)

    def _advance(self, pace: float) -> None:
        if self.done:  # a callback of another stream in this very tick may have closed the engine
            return
        self._ticks += 1
        if self._cancelled:
            self._finish("cancelled")
            return
        self._due += pace
        while self._due >= 1 and self._spoken < len(self._words):
            self._due -= 1
            self.text += self._words[self._spoken]
            self._spoken += 1
        if self._spoken == len(self._words):
            self._finish(self._end, self._fault)

    def _finish(self, how: str, error: ModkitError | None = None) -> None:
        seconds = self._ticks / 100
        self.stats = FakeStats(
            prompt_tokens=self.stats.prompt_tokens,
            generated_tokens=self._spoken,
            time_to_first_token=min(seconds, 0.01),
            tokens_per_second=self._spoken / seconds if seconds else 0.0,
        )
        self.tokens = tuple(range(self._spoken))
        self.finish, self.error = how, error
        self._engine._forget(self)
        for fn in self._callbacks:
            fn(self)
        self._callbacks.clear()


class _Pieces:
    """`async for words in stream`, with a cursor of its own so that `take()` elsewhere steals nothing."""

    def __init__(self, stream: FakeStream) -> None:
        self._stream = stream
        self._seen = 0

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> str:
        stream = self._stream
        if len(stream.text) == self._seen and not stream.done:
            await _Suspend(_When(lambda: stream.done or len(stream.text) > self._seen))
        piece = stream.text[self._seen :]
        self._seen = len(stream.text)
        if piece:
            return piece
        if stream.error is not None:
            raise stream.error
        raise StopAsyncIteration


class _Suspend:
    def __init__(self, waitable: _When) -> None:
        self._waitable = waitable

    def __await__(self) -> Generator[Any, None, None]:
        yield self._waitable


class FakeEngine:
    """An engine that speaks a script.

    `replies` are used one after another and start over when they run out; each is a text, an error to end
    with, or a (text, error) pair that fails after the text. A function gets the `FakeRequest` and returns one
    of these. `pace` is words per tick for each speaking stream (0.5: a word every other tick). `slots`
    streams speak at once, the rest wait their turn (None: all of them). `loading` ticks pass before it is
    ready. What it was asked is kept in `requests`. Callables given to `chat` and `background` run at once, in
    the caller's thread.
    """

    def __init__(
        self,
        replies: Iterable[Reply] | Callable[[FakeRequest], Reply] = (
            "The lamp is lit, and the sea is quiet.",
        ),
        *,
        pace: float = 1.0,
        slots: int | None = None,
        loading: int = 0,
        context: int = 4096,
        name: str = "fake",
    ) -> None:
        self._answer = replies if callable(replies) else None
        self._replies: list[Reply] = [] if callable(replies) else list(replies)
        if not callable(replies) and not self._replies:
            raise OptionError("FakeEngine has nothing to say: give it at least one reply.")
        self.pace = pace
        self.slots = slots
        self.context = context
        self.name = name
        self.requests: list[FakeRequest] = []
        self.ticks = 0
        self._load_ticks = loading
        self._streams: list[FakeStream] = []
        self._next_id = 1
        self._closed = False
        self._death: EngineDied | None = None

    @property
    def loading(self) -> bool:
        """True until as many ticks have passed as `loading` asked for."""
        return self.ticks < self._load_ticks

    @property
    def ready(self) -> bool:
        """True when it can speak: loaded, not closed, not dead."""
        return not (self.loading or self._closed or self._death)

    @property
    def progress(self) -> float:
        """How much is loaded, 0.0 to 1.0."""
        return min(1.0, self.ticks / self._load_ticks) if self._load_ticks else 1.0

    def tick(self) -> None:
        """One step of the script for every speaking stream; raises `EngineDied` after `die()`."""
        if self._death is not None:
            raise self._death
        self.ticks += 1
        if self.loading:
            return
        for stream in self._streams[: self.slots]:
            stream._advance(self.pace)

    def generate(self, prompt: str, **options: Any) -> FakeStream:
        """Speak the next reply; `max_tokens` (in words) and `stop` are kept, other options only recorded."""
        return self._submit(FakeRequest(prompt=prompt, options=options))

    def chat(self, messages: Sequence[Any] | Callable[[], Sequence[Any]], **options: Any) -> FakeStream:
        """As `generate`. An error of the package raised by a callable ends the stream, as in a real
        engine."""
        try:
            given = messages() if callable(messages) else messages
        except ModkitError as error:
            return self._submit(FakeRequest(options=options), error)
        return self._submit(FakeRequest(messages=tuple(dict(m) for m in given), options=options))

    def background(self, fn: Callable[[], None]) -> None:
        """Run `fn` at once: a fake engine has no helper thread."""
        fn()

    def die(self, message: str = "The engine died on purpose.") -> None:
        """Behave as if llama.cpp had failed an assertion: every stream ends with an error, `tick()`
        raises."""
        self._death = EngineDied(message)
        self._end_all(self._death)

    def close(self) -> None:
        """End every stream with `EngineClosed`. May be called twice."""
        self._closed = True
        self._end_all(EngineClosed("The engine was closed while this stream was speaking."))

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self, request: FakeRequest, failed: ModkitError | None = None) -> FakeStream:
        if self._closed:
            raise EngineClosed("The engine is closed; make a new one.")
        if self._death is not None:
            raise self._death
        stream = FakeStream(self, self._next_id)
        self._next_id += 1
        said = " ".join(str(m.get("content", "")) for m in request.messages) or request.prompt or ""
        stream.stats = FakeStats(prompt_tokens=len(said.split()))
        reply = failed if failed is not None else self._next_reply(request)
        text, stream._fault = _split(reply)
        stream._words, stream._end = _script(text, request.options)
        if stream._fault is not None:
            stream._end = "error"
        self.requests.append(request)
        self._streams.append(stream)
        return stream

    def _next_reply(self, request: FakeRequest) -> Reply:
        if self._answer is not None:
            return self._answer(request)
        return self._replies[len(self.requests) % len(self._replies)]

    def _end_all(self, error: EngineError) -> None:
        for stream in list(self._streams):
            stream._finish("error", error)

    def _forget(self, stream: FakeStream) -> None:
        self._streams.remove(stream)


def _split(reply: Reply) -> tuple[str, ModkitError | None]:
    if isinstance(reply, tuple):
        return reply
    if isinstance(reply, str):
        return reply, None
    return "", reply


def _script(text: str, options: dict[str, Any]) -> tuple[list[str], str]:
    stop = options.get("stop", ())
    places = [text.find(s) for s in ((stop,) if isinstance(stop, str) else stop)]
    text = text[: min((p for p in places if p >= 0), default=len(text))]
    words = _WORD.findall(text)
    limit = options.get("max_tokens") or len(words)
    return words[:limit], "length" if limit < len(words) else "stop"


class _Ticks(Protocol):
    def tick(self, dt: float, /) -> None: ...


def run_ticks(host: _Ticks, n: int, dt: float = 1 / 60) -> None:
    """Run `n` frames of `dt` seconds. A `ManualClock` that the host was given moves with them."""
    clock = getattr(host, "clock", None)
    for _ in range(n):
        if isinstance(clock, ManualClock):
            clock.advance(dt)
        host.tick(dt)


def load_mod(
    folder: str | Path, *, engine: Any = None, save: str | Path | None = None, clock: Any = None
) -> tuple[Host, Mod]:
    """Load one mod's folder into a host of its own and return both; raises `ModError` when it does not load.

    The clock is a `ManualClock` unless given.
    """
    from modkit.host import Host

    host = Host(None, engine=engine, save=save, clock=clock or ManualClock())
    return host, host.load(folder)
