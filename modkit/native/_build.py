"""Builds the two cffi modules of this folder; setup.py names them, nothing imports this at run time.

`_core`   API mode, limited API: core.c and its neighbours, compiled once for every Python from 3.10.
`_llama`  ABI mode, out of line: plain Python with llama.cpp's declarations, opened at run time on
          whatever library is found. No compiler, no header of llama.cpp, no link against it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
SOURCES = (
    *("core.c", "callbacks.c", "job.c", "block.c", "group.c"),
    *("worker.c", "request.c", "schedule.c", "prefill.c", "cache.c", "speak.c", "load.c", "text.c", "gguf.c"),
    *("tools.c", "store.c", "embed.c", "fit.c", "tune.c", "curve.c", "calibrate.c", "draft.c", "guess.c"),
    *("disk.c", "files.c", "shift.c", "seat.c", "adapter.c", "interrupt.c"),
    *("thought.c", "chain.c", "score.c", "sample.c", "hold.c", "words.c", "grammar.c", "gbnf.c", "network.c"),
)


def _flags() -> list[str]:
    if sys.platform == "win32":
        return ["/std:c11", "/experimental:c11atomics", "/O2"]
    return ["-O2", "-Wall", "-Wextra", "-fvisibility=hidden"]


core = FFI()
core.cdef((HERE / "core.cdef.txt").read_text(encoding="utf-8"))
core.set_source(
    "modkit.native._core",
    '#include "core.h"',
    sources=[f"modkit/native/{name}" for name in SOURCES],
    depends=[f"modkit/native/{path.name}" for path in sorted(HERE.glob("*.h"))],
    include_dirs=["modkit/native"],
    extra_compile_args=_flags(),
    libraries=["dl", "m"] if sys.platform.startswith("linux") else [],
    py_limited_api=True,
)

llama = FFI()
llama.cdef((HERE / "llama.cdef.txt").read_text(encoding="utf-8"))
llama.set_source("modkit.native._llama", None)
