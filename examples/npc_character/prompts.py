"""An engine that passes everything on and keeps what it was asked, so that it can be asked the same again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Recorder:
    """The face of the engine it wraps. `prompts` holds (messages, options) of every chat, in order."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.prompts: list[tuple[list[Any], dict[str, Any]]] = []
        self.recording = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def chat(self, messages: Sequence[Any] | Callable[[], Sequence[Any]], **options: Any) -> Any:
        """As the engine's; the messages are kept when they are made, on the engine's helper thread."""

        def made() -> Sequence[Any]:
            found = list(messages() if callable(messages) else messages)
            if self.recording:
                self.prompts.append((found, options))
            return found

        return self.engine.chat(made, **options)
