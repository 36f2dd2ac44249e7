"""Engines and streams: submit, tick, take. The door of the room; what is behind it may move.

`Engine` runs llama.cpp in this process. `AnyEngine` is the face it shares with engines elsewhere.
"""

from modkit.engine.chat import Chat
from modkit.engine.engine import Engine
from modkit.engine.marks import Call, Sentence, Tag
from modkit.engine.pending import Answer, Stats
from modkit.engine.protocol import AnyEngine, Message
from modkit.engine.stream import Stream, TokenLogprob
from modkit.native.samplers import Sampler
from modkit.native.sampling import Options

__all__ = [
    "Answer",
    "AnyEngine",
    "Call",
    "Chat",
    "Engine",
    "Message",
    "Options",
    "Sampler",
    "Sentence",
    "Stats",
    "Stream",
    "Tag",
    "TokenLogprob",
]
