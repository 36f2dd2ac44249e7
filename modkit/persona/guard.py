"""Guards at run time: a reply that breaks character is said anew, or cut, before it is shown.

    npc.guard = Guard(words=("internet", "smartphone"))
    stream = npc.say("Are you a computer?")
    stream.caught          # what was caught in this reply, why, and what was done about it

With a guard the text is shown sentence by sentence, each when it has been looked at; nothing that was caught is
ever shown. A policy is plain data that the mod can read and replace. Belongs to the thread that ticks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from modkit.engine.pending import Pending
from modkit.engine.stream import Stream
from modkit.errors import ModkitError, OptionError

if TYPE_CHECKING:
    from modkit.engine.protocol import AnyEngine

__all__ = ["ASSISTANT_PHRASES", "Caught", "Guard", "WatchedStream"]

ASSISTANT_PHRASES = (
    "as an ai", "as a language model", "as a large language model", "i am an ai", "i'm an ai", "i'm just an ai",
    "i am just an ai", "an ai assistant", "an ai language model", "a language model", "artificial intelligence model",
    "my training data", "i was trained on", "trained by openai", "openai", "chatgpt", "my knowledge cutoff",
    "how can i assist you", "how may i assist you", "i'm here to help", "i am here to help you with",
    "i cannot fulfill", "i can't fulfill", "i cannot assist with", "i can't assist with",
    "i can't help with that request", "i'm unable to provide",
    "i do not have personal", "i don't have personal", "i do not have feelings",
    "in this roleplay", "in this role-play", "as your character", "out of character", "(ooc", "[ooc",
    "this conversation is fictional", "is there anything else i can help",
)  # fmt: skip
"""What assistants say and characters do not, folded to lower case."""

_TEMPLATE = re.compile(
    r"<\|[a-z_]{2,24}\|>|<(?:start|end)_of_turn>|\[/?INST\]|</?s>|<<SYS>>|^#{2,3} (?:Instruction|Response|System)",
    re.IGNORECASE | re.MULTILINE,
)
_MARK = re.compile(r"<(?:do|mood|gesture):[^\n]{0,2000}?>")
_ENDS = re.compile(r"[.!?…]+[\"”’»)\]*]*\s+|[。！？]+|\n+")
_POLICIES = ("resample", "cut", "keep")


@dataclass(frozen=True)
class Caught:
    """One catch: the text, why, at which attempt (from 1), and what was done: "resample", "cut" or "keep"."""

    text: str
    reason: str
    attempt: int
    done: str


@dataclass(frozen=True)
class Guard:
    """What a reply must not have, and what happens when it has.

    phrases     texts in which case does not count; default: what assistants say
    words       whole words that do not belong into this world
    others      whether a line that speaks for somebody else ("Player: …") is caught
    check       a function of the mod's own: takes the text so far and the new sentence, returns a reason or None
    on_break    "resample": say it anew while nothing was shown, else cut; "cut": end the reply before the sentence;
                "keep": show it all the same, and tell
    tries       attempts in all, with "resample"
    fallback    what is shown when no attempt holds and nothing was shown; "" for silence
    """

    phrases: tuple[str, ...] = ASSISTANT_PHRASES
    words: tuple[str, ...] = ()
    others: bool = True
    check: Callable[[str, str], str | None] | None = None
    on_break: str = "resample"
    tries: int = 3
    fallback: str = "..."

    def __post_init__(self) -> None:
        if self.on_break not in _POLICIES:
            raise OptionError(f"on_break={self.on_break!r}: give one of {', '.join(_POLICIES)}")
        if not isinstance(self.tries, int) or not 1 <= self.tries <= 10:
            raise OptionError(f"tries={self.tries!r}: give 1 to 10")
        for name in ("phrases", "words"):
            given: Any = getattr(self, name)
            if isinstance(given, str):
                raise OptionError(f"{name} is a tuple of texts: write {name}=({given!r},)")

    def broken(self, text: str, names: Iterable[str] = (), before: str = "") -> str | None:
        """Why `text` breaks character, None when it does not. `names` are those it must not speak for."""
        plain = _MARK.sub("", text)
        folded = re.sub(r"\s+", " ", plain.replace("’", "'")).casefold()
        for phrase in self.phrases:
            if phrase.casefold() in folded:
                return f"an assistant speaks: {phrase!r}"
        found = _words(tuple(self.words)).search(plain) if self.words else None
        if found:
            return f"not of this world: {found.group()!r}"
        found = _TEMPLATE.search(plain)
        if found:
            return f"a template's mark: {found.group()!r}"
        if self.others:
            for name in names:
                if re.search(rf"^\s*\**{re.escape(name)}\**\s*:", plain, re.IGNORECASE | re.MULTILINE):
                    return f"speaks for {name}"
        if self.check is not None:
            return self.check(before, text)
        return None


@lru_cache(maxsize=64)
def _words(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(word) for word in words)})(?!\w)", re.IGNORECASE)


class _Through:
    """The engine as a watched stream sees it: ticks go to the real one, a cancel to the attempt under way."""

    def __init__(self, engine: AnyEngine) -> None:
        self._real = engine

    def tick(self) -> None:
        self._real.tick()

    def _cancel(self, stream: Pending[Any]) -> None:
        if isinstance(stream, WatchedStream):
            stream._attempt.cancel()


class WatchedStream(Stream):
    """A reply under a guard. `caught` tells what was caught, and what was done about it."""

    def __init__(
        self, engine: AnyEngine, ask: Callable[..., Stream], guard: Guard, names: Iterable[str] = (), seed: Any = None
    ) -> None:
        through: Any = _Through(engine)
        super().__init__(through, 0)
        self.caught: tuple[Caught, ...] = ()
        self._ask = ask
        self._guard = guard
        self._names = tuple(names)
        self._seed = seed
        self._number = 0
        self._held = ""
        self._shown = ""
        self._cut = False
        self._begin({})

    def _begin(self, changed: dict[str, Any]) -> None:
        self._number += 1
        self._held = ""
        stream = self._ask(**changed)
        self._attempt = stream
        self.id, self.stats = stream.id, stream.stats
        feed = stream._feed

        def watch(text: str, token: int = -1) -> None:
            feed(text, token)
            if text and stream is self._attempt and not stream._cancelled:
                self._held += text
                self._release(stream)

        stream._feed = watch  # type: ignore[method-assign]
        stream.on_done(self._over)

    def _release(self, stream: Stream, last: bool = False) -> None:
        """Show the sentences that are whole and hold. Another attempt may begin in here."""
        while stream is self._attempt and not self._cut and self._held:
            ends = _ENDS.search(self._held)
            if ends is None and not last:
                return
            end = ends.end() if ends is not None else len(self._held)
            sentence, rest = self._held[:end], self._held[end:]
            reason = self._guard.broken(sentence, self._names, self._shown)
            if reason is not None and not self._break(sentence, reason):
                return
            self._held = rest
            self._shown += sentence
            Stream._feed(self, sentence)

    def _break(self, sentence: str, reason: str) -> bool:
        """What the policy says; returns whether the sentence is shown all the same."""
        policy = self._guard.on_break
        again = policy == "resample" and not self._shown.strip() and self._number < self._guard.tries
        done = "keep" if policy == "keep" else "resample" if again else "cut"
        self.caught += (Caught(sentence.strip(), reason, self._number, done),)
        if done == "keep":
            return True
        attempt = self._attempt
        if done == "resample":
            changed: dict[str, Any] = {"temperature": 0.9} if self._number > 1 else {}
            if self._seed is not None:
                changed["seed"] = (int(self._seed) + self._number) % 2**32
                changed.setdefault("temperature", 0.9)
            try:
                self._begin(changed)
            except ModkitError:  # the engine takes no more: what there is, is cut
                self._cut = True
        else:
            self._cut = True
        attempt.cancel()
        return False

    def _over(self, stream: Stream) -> None:
        if stream is not self._attempt or self.finish is not None:
            return
        if stream.finish in ("stop", "length") and not self._cancelled:
            self._release(stream, last=True)
            if stream is not self._attempt:
                return
        if self._cut:
            if not self._shown.strip() and self._guard.fallback:
                Stream._feed(self, self._guard.fallback)
            self._end("stop", keep_tokens=False)
            return
        whole = stream.finish in ("stop", "length") and self._shown == stream.text
        if whole:
            self._tokens = list(stream.tokens)
        self._end(stream.finish or "stop", stream.error, keep_tokens=whole)
