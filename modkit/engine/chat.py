"""A conversation with any engine: an append-only list of turns, cut at the oldest when the context fills."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modkit.engine.protocol import AnyEngine, Message
from modkit.engine.stream import Stream

__all__ = ["Chat"]


class Chat:
    """`chat.say(text)` returns the reply as a Stream; both become part of `chat.messages` when it ends.

    Earlier turns are never changed, so each turn prefills only its own tokens. When the context is full the
    oldest turns leave it (never the system message), also in mid-sentence, and then `messages`; the stream's
    on_dropped() tells. A turn that ends with an error before a word was said is taken back.
    One reply at a time: saying more interrupts the one under way and keeps what it has said.
    """

    def __init__(self, engine: AnyEngine, system: str | None = None, messages: Iterable[Message] = ()) -> None:
        self.engine = engine
        self.messages: list[Message] = [*messages]
        if system is not None:
            self.messages.insert(0, {"role": "system", "content": system})
        self._reply: Stream | None = None
        self._used = 0  # tokens of the conversation after the last reply, 0 when unknown

    def say(self, text: str, **options: Any) -> Stream:
        """Asks for the reply to `text`. Options as Engine.generate(). Returns at once."""
        if self._reply is not None and not self._reply.done:
            self._reply.cancel()
            self._finish(self._reply)
        self._make_room(text, int(options.get("max_tokens", 256)))
        self.messages.append({"role": "user", "content": text})
        try:
            stream = self.engine.chat(list(self.messages), **options)
        except BaseException:
            self.messages.pop()  # a turn that was refused was not said
            raise
        self._reply = stream
        stream.on_done(self._finish)
        return stream

    def _finish(self, stream: Stream) -> None:
        if stream is not self._reply:
            return
        self._reply = None
        self._forget(stream.stats.dropped_turns)
        if stream.finish == "error" and not stream.text:
            self.messages.pop()  # what was asked: nothing came of it, and it may be what was wrong
            return
        message: Message = {"role": "assistant", "content": stream.text}
        if stream.tokens and stream.finish in ("stop", "length"):
            message["tokens"] = stream.tokens
        self.messages.append(message)
        self._used = stream.stats.prompt_tokens + stream.stats.generated_tokens

    def _forget(self, turns: int) -> None:
        """The first turns, from what the user said to before what the user said next, left the engine's context."""
        asked = [i for i, message in enumerate(self.messages) if message["role"] == "user"]
        if 0 < turns < len(asked):
            del self.messages[asked[0] : asked[turns]]

    def _make_room(self, text: str, reply: int) -> None:
        """For an engine that does not do it: drops oldest turns when the next one might not fit. A token is taken
        as 2 bytes, which no vocabulary in use exceeds on running text by much; too early a cut costs one prefill."""
        need = len(text.encode("utf-8", "replace")) // 2 + 32 + reply
        if getattr(self.engine, "drops_turns", False) or self._used == 0 or self._used + need <= self.engine.context:
            return
        first = 1 if self.messages and self.messages[0]["role"] == "system" else 0
        total = sum(len(m["content"]) + 8 for m in self.messages) or 1
        per_character = self._used / total
        room = max(0, self.engine.context // 2 - need)
        kept = self._used
        while len(self.messages) - first >= 2 and kept > room:
            for _ in range(2):
                kept -= int((len(self.messages[first]["content"]) + 8) * per_character)
                del self.messages[first]
        self._used = max(kept, 0)
