"""The face that every kind of engine shows: in this process, in a child process, on a cluster, in a test.

An NPC or a mod uses only what is named here, so it cannot tell the engines apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from modkit.errors import OptionError

if TYPE_CHECKING:
    from modkit.engine.pending import Answer, Pending
    from modkit.engine.stream import Stream
    from modkit.native.vocab import Vocab

__all__ = ["AnyEngine", "Message", "check_pace"]


def check_pace(tokens_per_second: float | None) -> float:
    """As a number, 0 for no limit; raises OptionError."""
    if tokens_per_second is None:
        return 0.0
    if isinstance(tokens_per_second, bool) or not 0.01 <= tokens_per_second < 1e6:
        raise OptionError(f"pace({tokens_per_second!r}): give tokens a second, 0.01 or more, or None for no limit")
    return float(tokens_per_second)


class _Said(TypedDict):
    role: str
    content: str


class Message(_Said, total=False):
    """One turn of a conversation. `content` is data: no text in it can become a special token.

    role is "system", "user" or "assistant". An assistant's message may carry `tokens`, the
    `Stream.tokens` it was made of; the KV cache is then reused exactly. The first message may carry `tools`, which the
    model's template is given: the game's own words, not a player's.
    """

    tokens: tuple[int, ...]
    tools: list[dict[str, Any]]


class AnyEngine(Protocol):
    """What an engine can be asked. One thread for everything: the one that ticks."""

    name: str
    """the model's own name, "" until it is loaded"""
    context: int
    """tokens that one conversation may have, prompt and reply together"""

    drops_turns: bool
    """whether the oldest turns leave a full context by themselves"""

    @property
    def tool_format(self) -> str:
        """How the model's template writes calls of tools; "" when that is not known."""

    @property
    def info(self) -> dict[str, Any]:
        """What the model is, as far as it is known; empty until ready. See Engine.info."""

    @property
    def metadata(self) -> dict[str, str]:
        """The model's own keys and values; empty where they cannot be had."""

    @property
    def vocab(self) -> Vocab:
        """Raises EngineError where the tokens are not in this process."""

    @property
    def loading(self) -> bool:
        """True until it is ready or has failed."""

    @property
    def ready(self) -> bool:
        """True while it can speak."""

    @property
    def progress(self) -> float:
        """How much is loaded, 0.0 to 1.0."""

    def tick(self) -> None:
        """Hands over what has arrived. Once a frame; never waits. Raises ModelError or EngineDied, once."""

    def generate(self, prompt: str, **options: Any) -> Stream:
        """A reply to a bare prompt; see Engine.generate()."""

    def chat(self, messages: Sequence[Message] | Callable[[], Sequence[Message]], **options: Any) -> Stream:
        """The assistant's next turn; see Engine.chat()."""

    def embed(
        self, texts: Sequence[str], *, pooling: str | None = None, normalise: bool = True, trim: bool = True
    ) -> Answer[memoryview[float]]:
        """Texts as rows of float32; see Engine.embed()."""

    def rank(self, query: str, texts: Sequence[str], *, trim: bool = True) -> Answer[list[float]]:
        """A score for each text; see Engine.rank()."""

    def ask(
        self,
        question: str | Sequence[Message] | Callable[[], Sequence[Message]],
        choices: Sequence[str],
        **options: Any,
    ) -> Answer[dict[str, float]]:
        """How likely each choice is; see Engine.ask()."""

    def background(self, function: Callable[[], None]) -> None:
        """Runs function on the engine's helper thread, off the frame, in order."""

    def pace(self, tokens_per_second: float | None = None) -> None:
        """Lets each stream say at most so many tokens a second; None takes the limit away."""

    def late(self, ms: float) -> None:
        """Says that a frame came so many milliseconds late, so that the engine makes room."""

    def pause(self) -> None:
        """Streams stay where they are until resume()."""

    def resume(self) -> None:
        """Goes on where pause() stopped."""

    def perf(self) -> dict[str, float]:
        """llama.cpp's counters; empty where they cannot be had."""

    def attach(self) -> None:
        """Makes the calling thread the owner."""

    def close(self) -> None:
        """Ends what is under way and lets go of everything. May be called twice."""

    def _cancel(self, stream: Pending[Any]) -> None: ...
