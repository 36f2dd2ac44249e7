"""Compiles and runs plain_loop.c: as a program, and as a function called once through cffi.

A library made for Python (xllamacpp's) wants the symbols of a Python process before it opens. None of
them is used by the llama_* functions, so the program brings stand-ins for exactly those, and a plain C
process with no interpreter in it can open it after all. Where that does not work, the call through cffi
is the baseline: it gives up the interpreter's lock, and nothing else runs in its process either.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.models import FOLDER

__all__ = ["Unavailable", "compile_program", "compile_shared", "params", "run_program", "run_shared"]

SOURCE = Path(__file__).with_name("plain_loop.c")
FLAGS = ["-O2", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra"]


class Unavailable(Exception):
    """This baseline cannot be had here; the message says why."""


def params(library: Any, context: int, threads: int = 1) -> bytes:
    """The two params structs as the engine fills them for one slot (see modkit.native.settings)."""
    from modkit.native.settings import BATCH

    model_block, model = library.model_params()
    model.n_gpu_layers = 0
    context_block, ctx = library.context_params()
    ctx.n_ctx = context
    ctx.n_batch = ctx.n_ubatch = min(BATCH, context)
    ctx.n_seq_max = ctx.n_outputs_max = 1
    ctx.n_threads = ctx.n_threads_batch = threads
    ctx.no_perf = True
    return bytes(library.ffi.buffer(model_block)) + bytes(library.ffi.buffer(context_block))


def _compile(output: Path, arguments: list[str]) -> Path:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Unavailable("no C compiler")
    FOLDER.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [compiler, *FLAGS, str(SOURCE), *arguments, "-o", str(output)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise Unavailable(f"the C compiler failed: {done.stderr.strip()[:300]}")
    return output


def _stand_ins(library: Path) -> list[str]:
    """Compiler arguments that give the program the Python symbols the library wants, if it wants any."""
    if shutil.which("nm") is None:
        return []
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", str(library)], capture_output=True, text=True
    ).stdout
    wanted = sorted(set(re.findall(r"\s[UwV]\s+(_?Py\w+)\s*$", listed, re.MULTILINE)))
    if not wanted:
        return []
    source = FOLDER / "stand_ins.c"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("".join(f"char {name}[1024];\n" for name in wanted), encoding="ascii")
    return [str(source), "-rdynamic"]


def compile_program(library: Path) -> Path:
    """The program that can open this library; raises Unavailable."""
    return _compile(FOLDER / "plain_loop", [*_stand_ins(library), "-ldl"])


def compile_shared() -> Path:
    return _compile(FOLDER / "plain_loop.so", ["-DPLAIN_SHARED", "-shared", "-fPIC"])


def start_program(
    program: Path, library: Path, blobs: bytes, model: Path, prompt: str, tokens: int
) -> subprocess.Popen[str]:
    """Starts a measurement in a process of its own. It writes "warm" to stderr when the reply that counts begins."""
    params_file = FOLDER / "params.bin"
    params_file.write_bytes(blobs)
    command = [str(program), str(library), str(params_file), str(model), prompt, str(tokens)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result_of(started: subprocess.Popen[str]) -> dict[str, Any]:
    """What it measured; raises Unavailable when the library does not open there."""
    out, err = started.communicate()
    if started.returncode != 0:
        raise Unavailable(f"the plain C program failed: {err.strip()[:300] or started.returncode}")
    measured: dict[str, Any] = json.loads(out)
    measured["token_ids"] = measured.pop("tokens")
    return {**measured, "tokens": len(measured["token_ids"])}


def run_program(
    program: Path, library: Path, blobs: bytes, model: Path, prompt: str, tokens: int
) -> dict[str, Any]:
    """One measurement in a process of its own, with nothing beside it; raises Unavailable."""
    return result_of(start_program(program, library, blobs, model, prompt, tokens))


def run_shared(
    shared: Path, library: Any, blobs: bytes, model: Path, prompt: str, tokens: int
) -> dict[str, Any]:
    """The same loop, in this process. `library` is a modkit.native Library."""
    from cffi import FFI

    ffi = FFI()
    ffi.cdef("""
        const char *plain_name(int index);
        typedef struct result {
            int32_t n_tokens; double tokens_per_second; int64_t faults; int64_t rss_kib; int32_t tokens[4096];
        } result;
        int plain_loop(void *const *functions, const char *params, const char *model, const char *prompt,
                       int32_t n, result *out);
    """)
    c = ffi.dlopen(str(shared))
    addresses: list[Any] = []
    while (name := c.plain_name(len(addresses))) != ffi.NULL:
        found = getattr(library.raw, ffi.string(name).decode())
        addresses.append(ffi.cast("void *", int(library.ffi.cast("uintptr_t", found))))
    out = ffi.new("result *")
    code = c.plain_loop(
        ffi.new("void *[]", addresses), blobs, os.fsencode(model), prompt.encode(), tokens, out
    )
    if code != 0:
        raise Unavailable(f"the loop failed at step {code}")
    return {
        "tokens_per_second": out.tokens_per_second,
        "faults": out.faults,
        "rss_kib": out.rss_kib,
        "tokens": list(out.tokens[0 : out.n_tokens]),
    }
