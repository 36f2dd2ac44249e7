"""A sampler written in Python: the slow road, one request for each token.

The worker gives the likeliest tokens, the function chooses among them on the engine's helper thread, and the next
request begins behind its choice; the KV cache makes that one decode a token, as ever. Nothing waits for anything: the
game's thread only hands over, so a slow function makes slow speech and no slow frame. Two ticks pass for each token.
"""

from __future__ import annotations

import codecs
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modkit.engine.stream import Stream, TokenLogprob
from modkit.errors import EngineError, ModkitError, OptionError
from modkit.native.sampling import MAX_LOGPROBS, Options

if TYPE_CHECKING:
    from modkit.engine.asking import Asking
    from modkit.engine.template import Segment

__all__ = ["Choose", "start"]

log = logging.getLogger("modkit.engine")

Choose = Callable[[Sequence[TokenLogprob], Sequence[int]], int]
"""(the likeliest tokens, best first; the tokens said so far) -> the id of one of them. On the helper thread."""


def start(engine: Asking, stream: Stream, segments: list[Segment], options: Options, **named: Any) -> None:
    """Begins to speak on `stream`; raises what a submit raises. Inside tick() or the asking call."""
    if options.grammar is not None:
        raise OptionError("grammar: a sampler in Python chooses freely; hold it to a grammar with a Sampler instead")
    _Speaker(engine, stream, segments, options, named).ask()


class _Speaker:
    def __init__(
        self, engine: Asking, stream: Stream, segments: list[Segment], options: Options, named: dict[str, Any]
    ) -> None:
        self._engine, self._stream, self._segments, self._named = engine, stream, segments, named
        self._choose: Choose = options.sampler  # type: ignore[assignment]
        self._stops = [stop.decode("utf-8") for stop in options.stops()]
        self._most = options.max_tokens
        self._step = replace(
            options, sampler=None, max_tokens=1, temperature=0, stop=(), logprobs=MAX_LOGPROBS, thinking=None
        )
        self._vocab = engine.vocab if engine.ready else None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tokens: list[int] = []
        self._held = ""
        self._trim = bool(named.get("trim_start"))

    def ask(self) -> None:
        """One request for the next token's candidates."""
        step = self._engine._new_stream()
        said: list[Segment] = [(tuple(self._tokens), False)] if self._tokens else []
        self._engine._worker.submit(step.id, [*self._segments, *said], self._step, **self._named)
        self._engine._streams[step.id] = step
        step.on_done(self._answered)

    def _answered(self, step: Stream) -> None:
        """Inside a tick: the candidates are there."""
        if self._stream.finish is not None:
            return
        if step.error is not None or not step.logprobs:
            self._stream._end("error", step.error or EngineError("the model gave no candidates"))
            return
        if not self._tokens:
            self._stream._started(step.stats.prompt_tokens, step.stats.cached_tokens)
        candidates, said = step.logprobs[0].top, tuple(self._tokens)
        self._engine._helper.run(lambda: self._decide(candidates, said))

    def _decide(self, candidates: tuple[TokenLogprob, ...], said: tuple[int, ...]) -> None:
        """Helper thread."""
        failure: ModkitError | None = None
        token = -1
        try:
            token = self._choose(candidates, said)
            if type(token) is not int or token not in {candidate.token for candidate in candidates}:
                failure = EngineError(f"the sampler in Python chose {token!r}, which is none of its candidates")
        except Exception as error:
            log.exception("the sampler in Python failed")
            failure = EngineError(f"the sampler in Python failed: {type(error).__name__}: {error}")
        self._engine._prepared.append(lambda: self._say(token, failure))

    def _say(self, token: int, failure: ModkitError | None) -> None:
        """Inside a tick."""
        if self._stream.finish is not None:
            return
        try:
            if failure is not None:
                raise failure
            self._vocab = self._vocab or self._engine.vocab
            if self._vocab.is_eog(token):
                self._end("stop")
                return
            self._tokens.append(token)
            if self._show(self._decoder.decode(self._vocab.piece(token)), token):
                self._stream._end("stop", keep_tokens=False)
            elif len(self._tokens) >= self._most:
                self._end("length")
            else:
                self.ask()
        except ModkitError as error:
            self._stream._end("error", error)

    def _end(self, finish: str) -> None:
        self._stream._feed(self._held)
        self._stream._end(finish)

    def _show(self, text: str, token: int) -> bool:
        """Feeds what can be no part of a stop string; True when one was met."""
        if self._trim:
            text = text.lstrip()
            self._trim = not text
        text = self._held + text
        found = min((at for at in map(text.find, self._stops) if at >= 0), default=-1)
        if found >= 0:
            self._stream._feed(text[:found], token)
            return True
        keep = max(
            (n for stop in self._stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0
        )
        self._stream._feed(text[: len(text) - keep], token)
        self._held = text[len(text) - keep :]
        return False
