"""Everything that touches C: find a llama.cpp, check it, call it, run the worker on it.

`load()` gives a `Library`, whose `raw` reaches every `llama_*` function; `doctor` says what is on this
machine. Games use `modkit.Engine`; this room is for tools and for the engine itself.
"""

from modkit.native.doctor import Finding, report
from modkit.native.library import Device, Library, load
from modkit.native.loading import LoadOptions
from modkit.native.model import Model, fit, quantise
from modkit.native.plan import Plan
from modkit.native.raw import Raw
from modkit.native.sampling import Options
from modkit.native.settings import Settings, default_threads, parse_bytes
from modkit.native.vocab import Vocab

__all__ = [
    "Device",
    "Finding",
    "Library",
    "LoadOptions",
    "Model",
    "Options",
    "Plan",
    "Raw",
    "Settings",
    "Vocab",
    "default_threads",
    "fit",
    "load",
    "parse_bytes",
    "quantise",
    "report",
]
