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

import math
import re
import zlib
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modkit.engine.pending import Answer, Pending
from modkit.engine.protocol import check_pace
from modkit.engine.stream import Stream
from modkit.errors import EngineClosed, EngineDied, EngineError, ModkitError, OptionError

if TYPE_CHECKING:
    from modkit.host import Host, Mod
    from modkit.native.vocab import Vocab

__all__ = ["FakeEngine", "FakeRequest", "ManualClock", "load_mod", "run_ticks"]

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


@dataclass
class _Speech:
    """What is still to be said on a stream, and how it will end."""

    words: list[str]
    finish: str
    error: ModkitError | None
    spoken: int = 0
    due: float = 0.0
    ticks: int = 0


class FakeEngine:
    """An engine that speaks a script; its streams are real `modkit.Stream` objects.

    `replies` are used one after another and start over when they run out; each is a text, an error to end with,
    or a (text, error) pair that fails after the text. A function gets the `FakeRequest` and returns one of these.
    `pace` is words per tick for each speaking stream (0.5: a word every other tick). `slots` streams speak at
    once, the rest wait their turn (None: all of them). `loading` ticks pass before it is ready. What it was asked
    is kept in `requests`. Callables given to `chat` and `background` run at once, in the caller's thread. In the
    stats a word counts as a token, and a tick as a hundredth of a second.
    """

    drops_turns = False
    tool_format = ""
    library = None

    def __init__(
        self,
        replies: Iterable[Reply] | Callable[[FakeRequest], Reply] = ("The lamp is lit, the sea is quiet.",),
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
        self._pace = pace
        self.paced = 0.0
        self.paused = False
        self.lateness = 0.0
        self.slots = slots
        self.context = context
        self.name = name
        self.requests: list[FakeRequest] = []
        self.ticks = 0
        self._load_ticks = loading
        self._streams: dict[Stream, _Speech] = {}
        self._answers: list[Answer[Any]] = []
        self._next_id = 1
        self._closed = False
        self._death: EngineDied | None = None
        self._told = False

    @property
    def loading(self) -> bool:
        """True until as many ticks have passed as `loading` asked for."""
        return self.ticks < self._load_ticks and not self._closed and self._death is None

    @property
    def ready(self) -> bool:
        """True when it can speak: loaded, not closed, not dead."""
        return not (self.loading or self._closed or self._death)

    @property
    def progress(self) -> float:
        """How much is loaded, 0.0 to 1.0."""
        return min(1.0, self.ticks / self._load_ticks) if self._load_ticks else 1.0

    @property
    def info(self) -> dict[str, Any]:
        """What the "model" is: its name and context. Empty until ready."""
        return {"name": self.name, "context": self.context} if self.ready else {}

    @property
    def metadata(self) -> dict[str, str]:
        """Empty: there is no file."""
        return {}

    @property
    def vocab(self) -> Vocab:
        """Raises EngineError: a script has words, and no tokens."""
        raise EngineError("a FakeEngine has no vocabulary: test what looks into tokens with an Engine on a small model")

    def perf(self) -> dict[str, float]:
        """Empty: nothing is computed."""
        self._check_alive()
        return {}

    def tick(self) -> None:
        """One step of the script for every speaking stream; raises `EngineDied` once after `die()`."""
        if self._death is not None:
            if not self._told:
                self._told = True
                raise self._death
            return
        if self.paused:
            return
        self.ticks += 1
        speaking = list(self._streams.items())
        if self.loading:
            return
        answers, self._answers = self._answers, []
        for answer in answers:
            answer._end("stop")
        for stream, speech in speaking[: self.slots]:
            if stream in self._streams:  # a callback of another stream in this very tick may have ended it
                self._advance(stream, speech)

    def generate(self, prompt: str, **options: Any) -> Stream:
        """Speak the next reply; `max_tokens` (in words) and `stop` are kept, other options only recorded."""
        return self._submit(FakeRequest(prompt=prompt, options=options))

    def chat(self, messages: Sequence[Any] | Callable[[], Sequence[Any]], **options: Any) -> Stream:
        """As `generate`. An error of the package raised by a callable ends the stream, as in a real engine."""
        try:
            given = messages() if callable(messages) else messages
        except ModkitError as error:
            return self._submit(FakeRequest(options=options), error)
        return self._submit(FakeRequest(messages=tuple(dict(m) for m in given), options=options))

    def embed(
        self, texts: Sequence[str], *, pooling: str | None = None, normalise: bool = True, trim: bool = True
    ) -> Answer[memoryview[float]]:
        """Bags of words, hashed into 64 dimensions: texts that share words are near. Ends in the next tick."""
        return self._answer_later(lambda: _bags(texts, normalise))

    def rank(self, query: str, texts: Sequence[str], *, trim: bool = True) -> Answer[list[float]]:
        """The share of the query's words that a text has. Ends in the next tick."""
        asked = set(_words(query))
        return self._answer_later(lambda: [len(asked & set(_words(t))) / max(1, len(asked)) for t in texts])

    def ask(
        self,
        question: str | Sequence[Any] | Callable[[], Sequence[Any]],
        choices: Sequence[str],
        **options: Any,
    ) -> Answer[dict[str, float]]:
        """The next reply decides: the choice that it is, or the first one, has 0.9. Ends in the next tick."""
        self._check_alive()
        given: Any = question() if callable(question) else question
        request = (
            FakeRequest(prompt=given, options=options)
            if isinstance(given, str)
            else FakeRequest(messages=tuple(dict(m) for m in given), options=options)
        )
        said, error = _split(self._next_reply(request))
        self.requests.append(request)
        best = said.strip() if said.strip() in choices else choices[0]
        rest = 0.1 / max(1, len(choices) - 1)
        answer = self._answer_later(lambda: {choice: 0.9 if choice == best else rest for choice in choices})
        if error is not None:
            self._answers.remove(answer)
            answer._end("error", error)
        return answer

    def _answer_later(self, value: Callable[[], Any]) -> Answer[Any]:
        self._check_alive()
        answer: Answer[Any] = Answer(self, self._next_id, value)
        self._next_id += 1
        self._answers.append(answer)
        return answer

    def background(self, function: Callable[[], None]) -> None:
        """Run `function` at once: a fake engine has no helper thread."""
        function()

    def die(self, message: str = "The engine died on purpose.") -> None:
        """Behave as if llama.cpp had failed an assertion: every stream ends with an error, `tick()` raises."""
        self._death = EngineDied(message)
        self._end_all(self._death)

    def pause(self) -> None:
        """Ticks do nothing until resume(); streams stay where they are."""
        self.paused = True

    def resume(self) -> None:
        """Goes on where pause() stopped."""
        self.paused = False

    def attach(self) -> None:
        """Of no effect: a fake engine belongs to no thread."""

    def pace(self, tokens_per_second: float | None = None) -> None:
        """Checked and kept as `paced`; the script goes on as it did."""
        self.paced = check_pace(tokens_per_second)

    def late(self, ms: float) -> None:
        """Counted in `lateness`, in milliseconds."""
        self.lateness += ms

    def close(self) -> None:
        """End every stream with `EngineClosed`. May be called twice."""
        self._closed = True
        self._end_all(EngineClosed("the engine was closed while this reply was under way"))

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _submit(self, request: FakeRequest, failed: ModkitError | None = None) -> Stream:
        self._check_alive()
        text, error = _split(failed if failed is not None else self._next_reply(request))
        words, finish = _script(text, request.options)
        stream = Stream(self, self._next_id)
        self._next_id += 1
        said = " ".join(str(m.get("content", "")) for m in request.messages) or request.prompt or ""
        stream._started(len(said.split()), 0)
        self.requests.append(request)
        self._streams[stream] = _Speech(words, "error" if error else finish, error)
        return stream

    def _check_alive(self) -> None:
        if self._closed:
            raise EngineClosed("the engine is closed; make a new one")
        if self._death is not None:
            raise self._death

    def _next_reply(self, request: FakeRequest) -> Reply:
        if self._answer is not None:
            return self._answer(request)
        return self._replies[len(self.requests) % len(self._replies)]

    def _advance(self, stream: Stream, speech: _Speech) -> None:
        speech.ticks += 1
        speech.due += self._pace
        while speech.due >= 1 and speech.spoken < len(speech.words):
            stream._feed(speech.words[speech.spoken], speech.spoken)
            speech.due -= 1
            speech.spoken += 1
        if stream._cancelled:
            self._end(stream, "cancelled")
        elif speech.spoken == len(speech.words):
            stream.stats.time_to_first_token = 0.01
            stream.stats.tokens_per_second = 100 * speech.spoken / speech.ticks
            self._end(stream, speech.finish, speech.error)

    def _cancel(self, stream: Pending[Any]) -> None:
        """The stream is marked already; the next tick ends it."""

    def _end(self, stream: Stream, finish: str, error: ModkitError | None = None) -> None:
        del self._streams[stream]
        stream._end(finish, error)

    def _end_all(self, error: ModkitError) -> None:
        answers, self._answers = self._answers, []
        for answer in answers:
            answer._end("error", error)
        for stream in list(self._streams):
            self._end(
                stream, "cancelled" if stream._cancelled else "error", None if stream._cancelled else error
            )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _bags(texts: Sequence[str], normalise: bool) -> memoryview[float]:
    rows = array("f")
    for text in texts:
        row = [0.0] * 64
        for word in _words(text):
            row[zlib.crc32(word.encode()) % 64] += 1.0
        length = math.sqrt(sum(x * x for x in row)) if normalise else 1.0
        rows.extend(x / (length or 1.0) for x in row)
    return memoryview(rows).cast("B").cast("f", shape=[len(texts), 64])


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
    folder: str | Path,
    *,
    engine: Any = None,
    save: str | Path | None = None,
    clock: Any = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Host, Mod]:
    """Load one mod's folder or zip into a host of its own and return both; raises `ModError` when it does not load.

    The clock is a `ManualClock` unless given. `settings` are the mod's, by name.
    """
    from modkit.host import Host
    from modkit.host.loading import prepare_manifest

    files, manifest = prepare_manifest(Path(folder))
    files.close()
    host = Host(None, engine=engine, save=save, clock=clock or ManualClock(), settings={manifest.id: settings or {}})
    try:
        return host, host.load(folder)
    except BaseException:
        host.close()
        raise
