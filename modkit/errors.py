"""Every exception that modkit raises on purpose.

ModkitError                 the root; catch this to catch them all
├─ LibraryError             no usable llama.cpp: not found, too old, or an unknown struct layout
├─ ModelError               the model file is missing, damaged, or not something llama.cpp can run
├─ EngineError              the engine cannot do what was asked
│  ├─ EngineDied            llama.cpp failed an assertion; this engine is dead, the process is not
│  ├─ EngineClosed          the engine was closed before or while it was asked
│  ├─ QueueFull             more requests are waiting than the engine accepts
│  ├─ OutOfMemory           the model, its context or what it computes with does not fit (also a MemoryError)
│  ├─ ContextOverflow       the prompt is longer than a slot's context
│  └─ WrongThread           called from a thread other than the one that owns the engine
├─ StreamTimeout            `Stream.result(timeout)` ran out of time (also a TimeoutError)
├─ TemplateError            the chat template is broken or asks for something unsafe
├─ OptionError              an argument is out of range or of the wrong type (also a ValueError)
├─ GrammarError             a grammar, schema or pattern is wrong or cannot be expressed (also a ValueError)
├─ DumpError                a dialogue dump could not be read
├─ CardError                a character card or a lorebook cannot be read or written
├─ PersonaError             a .persona file is missing, damaged, or from another version
├─ SaveError                a save file is damaged, from another version, or cannot be written
├─ ProtocolError            another process sent what is not modkit's protocol, or speaks another version of it
├─ ActionRefused            raised by an action's own function to say no; the character is told why
└─ ModError                 a mod's manifest or script cannot be used

Each message is one sentence that says what was wrong, where, and what to do. Bad input never
raises anything else.
"""

from __future__ import annotations

__all__ = [
    "ActionRefused",
    "CardError",
    "ContextOverflow",
    "DumpError",
    "EngineClosed",
    "EngineDied",
    "EngineError",
    "GrammarError",
    "LibraryError",
    "ModError",
    "ModelError",
    "ModkitError",
    "OptionError",
    "OutOfMemory",
    "PersonaError",
    "ProtocolError",
    "QueueFull",
    "SaveError",
    "StreamTimeout",
    "TemplateError",
    "WrongThread",
]


class ModkitError(Exception):
    """The root of the tree; never raised itself."""


class LibraryError(ModkitError):
    """No usable llama.cpp was found, or the one found is not safe to call."""


class ModelError(ModkitError):
    """A model file is missing, damaged, or not something this llama.cpp can run."""


class EngineError(ModkitError):
    """The engine cannot do what was asked."""


class EngineDied(EngineError):
    """llama.cpp failed an assertion. Its thread is parked for good; make a new engine."""


class EngineClosed(EngineError):
    """The engine was closed before, or while, it was asked."""


class QueueFull(EngineError):
    """More requests are waiting than the engine accepts; tick, or cancel some."""


class ContextOverflow(EngineError):
    """The prompt has more tokens than a slot's context holds."""


class OutOfMemory(EngineError, MemoryError):
    """The model, its context or its compute buffers fit neither the budget nor the memory there is."""


class WrongThread(EngineError):
    """Called from a thread that does not own the engine."""


class StreamTimeout(ModkitError, TimeoutError):
    """`Stream.result(timeout)` ran out of time; the stream goes on."""


class TemplateError(ModkitError):
    """The chat template is broken or asks for something unsafe."""


class OptionError(ModkitError, ValueError):
    """An argument is out of range or of the wrong type."""


class GrammarError(ModkitError, ValueError):
    """A grammar, a schema or a pattern is wrong, or asks for what no grammar can express.

    `line` and `column` count from 1 and are None where there is no text to point into; `rule` is the rule's name.
    """

    def __init__(
        self, message: str, *, line: int | None = None, column: int | None = None, rule: str | None = None
    ) -> None:
        super().__init__(message)
        self.line, self.column, self.rule = line, column, rule


class DumpError(ModkitError):
    """A dialogue dump could not be read."""


class CardError(ModkitError):
    """A character card or a lorebook cannot be read, or cannot be written."""


class PersonaError(ModkitError):
    """A .persona file is missing, damaged, or from another version."""


class SaveError(ModkitError):
    """A save file is damaged, from another version, or cannot be written."""


class ProtocolError(ModkitError):
    """Another process sent what is not modkit's protocol, or speaks another version of it."""


class ActionRefused(ModkitError):
    """Raised by the function of an action to say no; its message is what the character notices."""


class ModError(ModkitError):
    """A mod's manifest or script cannot be used."""
